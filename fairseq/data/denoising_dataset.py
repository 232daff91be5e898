"""Sequences with noise, and the same sequences without: pre-training of encoder-decoder models by denoising (BART).

    source    <s> w1 <mask> w4 w5 </s>
    target    <s> w1 w2 w3 w4 w5 </s>

The noise, see `fairseq.data.sequence_noise`, depends on (seed, epoch, index) and nothing else, so that a resumed run,
or one with other data-loading processes, makes it again. (fairseq 0.12 draws most of it from torch's global generator,
whose state nothing fixes; in the same state it makes the same noise.)
"""

import math
from collections.abc import Callable
from typing import Any, Optional

import numpy as np
import torch
from torch import Tensor

from fairseq.data import sequence_noise as noise
from fairseq.data.fairseq_dataset import FairseqDataset
from fairseq.data.language_pair_collating import collate as collate_pairs
from fairseq.data.seeding import derive_seed
from fairseq.errors import ConfigError, DataError

MASK_LENGTHS = ("subword", "word", "span-poisson")


def collate(
    samples: list[dict[str, Any]],
    pad_idx: int,
    eos_idx: Optional[int],
    vocab: Any,
    left_pad_source: bool = False,
    left_pad_target: bool = False,
    input_feeding: bool = True,
    pad_to_length: Optional[dict[str, int]] = None,
) -> dict[str, Any]:
    """A batch of items `{"id", "source", "target"}`, as `LanguagePairDataset` makes them.

    Args:
        eos_idx: what `prev_output_tokens` begin with; None: the last token of each target.
    """
    return collate_pairs(
        samples, pad_idx, eos_idx, left_pad_source, left_pad_target, input_feeding, pad_to_length=pad_to_length
    )


class DenoisingDataset(FairseqDataset):
    """Items `{"id", "source", "target"}` of sequences `<s> tokens </s>`.

    Args:
        dataset, sizes: int64 sequences and their lengths.
        vocab: their dictionary, with `<mask>` in it.
        mask_idx: id of `<mask>`.
        mask_whole_words: per id 1 where it begins a word (`encoders.utils.get_whole_word_mask`); None: every token is a
            word.
        shuffle: batch sequences of equal lengths in random order.
        mask: share of the words that are masked.
        mask_random: share of the masked, and of inserted tokens, that become a random token.
        insert: share of the length that is inserted.
        rotate: share of the sequences that are rotated.
        permute_sentences: share of the sentences that change places.
        bpe: name of the subword encoding; `gpt2` has a symbol for the full stop, else `</s>` ends sentences.
        replace_length: tokens that stand for a masked run: 0, 1, or -1 for as many as it has.
        mask_length: `subword` or `word`; `span-poisson`: runs of words, Poisson-distributed with mean `poisson_lambda`.
        eos: what sequences end in; default: `</s>`.
        item_transform_func: `(source, target)` -> the same, changed, once noise is in.

    Raises:
        ConfigError: settings that do not fit together.
    """

    def __init__(
        self,
        dataset: Any,
        sizes: Any,
        vocab: Any,
        mask_idx: int,
        mask_whole_words: Optional[Tensor],
        shuffle: bool,
        seed: int,
        mask: float,
        mask_random: float,
        insert: float,
        rotate: float,
        permute_sentences: float,
        bpe: Optional[str],
        replace_length: int,
        mask_length: str,
        poisson_lambda: float,
        eos: Optional[int] = None,
        item_transform_func: Optional[Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]] = None,
    ):
        super().__init__()
        if replace_length not in (-1, 0, 1):
            raise ConfigError(f"replace_length is {replace_length}, expected -1, 0 or 1")
        if mask_length not in MASK_LENGTHS:
            raise ConfigError(f"mask_length is {mask_length!r}, expected one of {', '.join(MASK_LENGTHS)}")
        if mask_length == "subword" and replace_length == -1:
            raise ConfigError("replace_length=-1 needs mask_length=word or span-poisson: a subword is one token anyway")
        self.dataset, self.sizes = dataset, sizes
        self.vocab, self.mask_idx = vocab, mask_idx
        self.mask_whole_word = mask_whole_words
        self.shuffle, self.seed = shuffle, seed
        self.mask_ratio, self.random_ratio, self.insert_ratio = mask, mask_random, insert
        self.rotate_ratio, self.permute_sentence_ratio = rotate, permute_sentences
        self.eos = vocab.eos() if eos is None else eos
        self.full_stop_index = vocab.index("13") if bpe == "gpt2" else vocab.eos()  # "13" is GPT-2's "."
        self.replace_length = replace_length
        self.mask_span_distribution = noise.poisson(poisson_lambda) if mask_length == "span-poisson" else None
        self.item_transform_func = item_transform_func
        self.epoch = 0

    @property
    def can_reuse_epoch_itr_across_epochs(self) -> bool:
        return True  # tokens change with the epoch, sizes do not

    def set_epoch(self, epoch: int, **unused: Any) -> None:
        super().set_epoch(epoch)
        self.epoch = epoch
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(epoch)

    def __getitem__(self, index: int) -> dict[str, Any]:
        tokens = self.dataset[index]
        if len(tokens) < 2 or tokens[0] != self.vocab.bos() or tokens[-1] != self.eos:
            raise DataError(
                f"item {index} is not <s> ... {self.vocab[self.eos]}, as denoising needs it: {tokens.tolist()[:20]}"
            )
        seed = derive_seed(self.seed, self.epoch, int(index))
        generator, numpy_generator = torch.Generator().manual_seed(seed), np.random.RandomState(seed)
        source, target = tokens, tokens.clone()
        if self.permute_sentence_ratio > 0:
            source = self.permute_sentences(source, self.permute_sentence_ratio, generator)
        if self.mask_ratio > 0:
            source = self.add_whole_word_mask(source, self.mask_ratio, generator)
        if self.insert_ratio > 0:
            source = self.add_insertion_noise(source, self.insert_ratio, generator)
        if self.rotate_ratio > 0 and numpy_generator.random_sample() < self.rotate_ratio:
            source = self.add_rolling_noise(source, numpy_generator)
        if self.item_transform_func is not None:
            source, target = self.item_transform_func(source, target)
        return {"id": index, "source": source, "target": target}

    def __len__(self) -> int:
        return len(self.dataset)

    # -- noise; without a generator from the global ones -------------------------------------------------------------

    def permute_sentences(self, source: Tensor, p: float = 1.0, generator: noise.Generator = None) -> Tensor:
        return torch.from_numpy(noise.shuffle_sentences(source.numpy(), self.full_stop_index, p, generator))

    def word_starts(self, source: Tensor) -> Tensor:
        """(T,), 1 where a word begins; not at the ends."""
        starts = torch.ones_like(source) if self.mask_whole_word is None else self.mask_whole_word[source].long()
        starts[0] = starts[-1] = 0
        return starts

    def add_whole_word_mask(self, source: Tensor, p: float, generator: noise.Generator = None) -> Tensor:
        starts = self.word_starts(source)
        count = math.ceil(float(starts.float().sum() * p))  # in single precision, as fairseq counts
        if count == 0:
            return source
        lengths = np.ones(count, dtype=np.int64)
        if self.mask_span_distribution is not None:
            lengths = noise.run_lengths(count, self.mask_span_distribution, generator)
        num_inserts = int((lengths == 0).sum())
        if num_inserts == len(lengths):
            return self.add_insertion_noise(source, num_inserts / len(source), generator)
        places = starts.numpy().nonzero()[0]
        masked = torch.from_numpy(
            noise.mask_words(
                source.numpy(), places, lengths[lengths > 0], self.replace_length, self._replacement, generator
            )
        )
        return self.add_insertion_noise(masked, num_inserts / len(masked), generator) if num_inserts else masked

    def add_insertion_noise(self, tokens: Tensor, p: float, generator: noise.Generator = None) -> Tensor:
        if p == 0.0:
            return tokens
        return torch.from_numpy(noise.insert_tokens(tokens.numpy(), p, self._replacement, generator))

    def add_permuted_noise(self, tokens: Tensor, p: float, generator: noise.Generator = None) -> Tensor:
        return torch.from_numpy(noise.shuffle_tokens(tokens.numpy(), p, generator))

    def add_rolling_noise(self, tokens: Tensor, generator: Any = np.random) -> Tensor:
        return torch.from_numpy(noise.rotate(tokens.numpy(), generator.randint(1, max(1, len(tokens) - 1) + 1)))

    @property
    def _replacement(self) -> noise.Replacement:
        return noise.Replacement(self.mask_idx, self.random_ratio, len(self.vocab))

    # -- batches -----------------------------------------------------------------------------------------------------

    def collater(self, samples: list[dict[str, Any]], pad_to_length: Optional[dict[str, int]] = None) -> dict[str, Any]:
        """A batch as `LanguagePairDataset` makes them: `id`, `nsentences`, `ntokens`, `net_input`, `target`.

        `prev_output_tokens` begin with the last token of each target, which may be that of its language.
        """
        return collate(samples, self.vocab.pad(), None, self.vocab, pad_to_length=pad_to_length)

    def num_tokens(self, index: int) -> int:
        return int(self.sizes[index])

    def num_tokens_vec(self, indices: Any) -> np.ndarray:
        return np.asarray(self.sizes)[indices]

    def size(self, index: int) -> int:
        return int(self.sizes[index])

    def ordered_indices(self) -> np.ndarray:
        indices = np.random.permutation(len(self)) if self.shuffle else np.arange(len(self))
        return indices[np.argsort(np.asarray(self.sizes)[indices], kind="stable")]

    def prefetch(self, indices: Any) -> None:
        self.dataset.prefetch(indices)

    @property
    def supports_prefetch(self) -> bool:
        return getattr(self.dataset, "supports_prefetch", False)
