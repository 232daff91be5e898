"""Masked language modelling: some tokens of each item are hidden, and the model has to say what they were.

Of an item's T tokens (or words), int(mask_prob * T / mask_multiple_length + u) are chosen, u uniform in [0, 1). They
become `<mask>`; or, with probability `leave_unmasked_prob`, are unchanged; or, with `random_token_prob`, become a
random token. The choice depends on (seed, epoch, index) only, so a resumed run makes it again. It is
the same as fairseq's.

    source, target = MaskTokensDataset.apply_mask(tokens, dictionary, pad_idx=1, mask_idx=50264, seed=1)
    source[0], target[0]      # tokens with <mask>; padding except at the tokens that were chosen
"""

from typing import Any, Optional

import numpy as np
import torch

from fairseq.data.base_wrapper_dataset import BaseWrapperDataset
from fairseq.data.lru_cache_dataset import LRUCacheDataset
from fairseq.data.ragged import BatchReader, Ragged, from_items
from fairseq.data.seeding import derive_seed
from fairseq.errors import ConfigError, DataError


class MaskTokensDataset(BaseWrapperDataset):
    """Items with tokens hidden, or (`return_masked_tokens`) the hidden tokens with `pad_idx` everywhere else.

    Args:
        dataset: int64 sequences without `<mask>`.
        vocab: dictionary of the tokens, with `<mask>` in it.
        pad_idx, mask_idx: ids of padding and `<mask>`.
        mask_prob, leave_unmasked_prob, random_token_prob: see above.
        freq_weighted_replacement: draw random tokens by their counts instead of evenly.
        mask_whole_words: per id 1 where it begins a word: whole words are chosen.
        mask_multiple_length, mask_stdev: choose runs of this many tokens (normally distributed, if stdev > 0).
        skip_masking: leave items as they are.
    """

    @classmethod
    def apply_mask(cls, dataset: Any, *args: Any, **kwargs: Any) -> tuple[LRUCacheDataset, LRUCacheDataset]:
        """The dataset of model inputs and the dataset of targets."""
        dataset = LRUCacheDataset(dataset)
        inputs = cls(dataset, *args, **{**kwargs, "return_masked_tokens": False})
        targets = cls(dataset, *args, **{**kwargs, "return_masked_tokens": True})
        return LRUCacheDataset(inputs), LRUCacheDataset(targets)

    def __init__(
        self,
        dataset: Any,
        vocab: Any,
        pad_idx: int,
        mask_idx: int,
        return_masked_tokens: bool = False,
        seed: int = 1,
        mask_prob: float = 0.15,
        leave_unmasked_prob: float = 0.1,
        random_token_prob: float = 0.1,
        freq_weighted_replacement: bool = False,
        mask_whole_words: Optional[torch.Tensor] = None,
        mask_multiple_length: int = 1,
        mask_stdev: float = 0.0,
        skip_masking: bool = False,
    ):
        super().__init__(dataset)
        for name, value in (("mask_prob", mask_prob), ("leave_unmasked_prob", leave_unmasked_prob)):
            if not 0 <= value <= 1:
                raise ConfigError(f"{name} is {value}, expected 0..1")
        if not 0 < mask_prob < 1 or not 0 <= random_token_prob <= 1 - leave_unmasked_prob:
            raise ConfigError("masking needs 0 < mask_prob < 1 and random_token_prob + leave_unmasked_prob <= 1")
        if mask_multiple_length < 1 or mask_stdev < 0 or (mask_multiple_length == 1 and mask_stdev > 0):
            raise ConfigError("mask_multiple_length must be >= 1, and > 1 for a mask_stdev > 0")
        self.vocab = vocab
        self.pad_idx, self.mask_idx = pad_idx, mask_idx
        self.return_masked_tokens = return_masked_tokens
        self.seed = seed
        self.mask_prob = mask_prob
        self.leave_unmasked_prob, self.random_token_prob = leave_unmasked_prob, random_token_prob
        self.word_begins = None if mask_whole_words is None else mask_whole_words.numpy().astype(bool)
        self.mask_multiple_length, self.mask_stdev = mask_multiple_length, mask_stdev
        self.skip_masking = skip_masking
        self.epoch = 0
        if random_token_prob > 0:
            weights = np.array(vocab.count, dtype=np.float64) if freq_weighted_replacement else np.ones(len(vocab))
            weights[: vocab.nspecial] = 0
            cumulated = (weights / weights.sum()).cumsum()
            self._cumulated = cumulated / cumulated[-1]

    @property
    def can_reuse_epoch_itr_across_epochs(self) -> bool:
        return True  # tokens change with the epoch, sizes do not

    def set_epoch(self, epoch: int, **unused: Any) -> None:
        super().set_epoch(epoch)
        self.epoch = epoch

    def __getitem__(self, index: int) -> torch.Tensor:
        tokens = self.dataset[index]
        if self.skip_masking:
            return tokens
        item = tokens.numpy()
        if (item == self.mask_idx).any():
            raise DataError(f"item {index} contains <mask> (id {self.mask_idx}) already; remove it from the data")
        rng = np.random.default_rng(derive_seed(self.seed, self.epoch, int(index)))
        word_lengths = self._word_lengths(item)
        size = len(item) if word_lengths is None else len(word_lengths)
        chosen = self._choose(rng, size)
        if self.return_masked_tokens:
            return torch.from_numpy(np.where(_per_token(chosen, word_lengths), item, self.pad_idx))
        masked, random = self._divide(rng, chosen)
        out = item.copy()
        out[_per_token(masked, word_lengths)] = self.mask_idx
        if random is not None:
            random = _per_token(random, word_lengths)
            # what rng.choice(len(vocab), n, p=weights) draws, without its check of 50,000 weights for each item
            out[random] = self._cumulated.searchsorted(rng.random(int(random.sum())), side="right")
        return torch.from_numpy(out)

    def gather(self, reader: BatchReader) -> Ragged:
        return from_items([self[index].numpy() for index in reader.indices.tolist()])

    def _word_lengths(self, item: np.ndarray) -> Optional[np.ndarray]:
        """Tokens of each word; None: words do not matter. A first token that begins no word counts as one that does."""
        if self.word_begins is None:
            return None
        begins = self.word_begins[item]
        begins[:1] = True
        return np.diff(np.append(np.flatnonzero(begins), len(item)))

    def _choose(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """Which of `size` tokens or words are hidden, bool."""
        count = int(self.mask_prob * size / self.mask_multiple_length + rng.random())
        places = rng.choice(size, count, replace=False)
        if self.mask_stdev > 0:
            drawn = rng.normal(self.mask_multiple_length, self.mask_stdev, size=count)
            runs = np.maximum(np.rint(drawn).astype(np.int64), 0)
            places = np.repeat(places, runs) + np.arange(runs.sum()) - np.repeat(np.cumsum(runs) - runs, runs)
        else:
            places = (places + np.arange(self.mask_multiple_length)[:, None]).ravel()
        chosen = np.zeros(size, dtype=bool)
        chosen[places[places < size]] = True
        return chosen

    def _divide(self, rng: np.random.Generator, chosen: np.ndarray) -> tuple[np.ndarray, Optional[np.ndarray]]:
        """Which of the chosen become `<mask>` and which a random token (None: there are none of these)."""
        different_prob = self.random_token_prob + self.leave_unmasked_prob
        if different_prob == 0:
            return chosen, None
        different = chosen & (rng.random(len(chosen)) < different_prob)
        if self.random_token_prob == 0:
            return chosen ^ different, None
        if self.leave_unmasked_prob == 0:
            return chosen, different
        unmasked = different & (rng.random(len(chosen)) < self.leave_unmasked_prob / different_prob)
        return chosen ^ unmasked, different & ~unmasked


def _per_token(per_word: np.ndarray, word_lengths: Optional[np.ndarray]) -> np.ndarray:
    return per_word if word_lengths is None else np.repeat(per_word, word_lengths)
