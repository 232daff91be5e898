"""Noise on words, as unsupervised translation uses it (Lample et al., arXiv:1711.00043): words are dropped, blanked and
moved a little. A word is all its subwords.

    noisy, lengths = UnsupervisedMTNoising(dictionary, 3, 0.1, 0.2).noising(tokens, lengths)    # tokens (T, B)

All draws are from NumPy's global generator, which `NoisingDataset` seeds for each item.
"""

from collections.abc import Callable
from typing import Any, Optional

import numpy as np
import torch
from torch import Tensor

from fairseq.data.seeding import numpy_seed


class WordNoising:
    """Base: which word each token belongs to.

    Args:
        bpe_cont_marker: ends a subword that its word goes on after.
        bpe_end_marker: ends the last subword of a word; the other convention.
    """

    def __init__(self, dictionary: Any, bpe_cont_marker: Optional[str] = "@@", bpe_end_marker: Optional[str] = None):
        self.dictionary = dictionary
        marker = bpe_cont_marker or bpe_end_marker
        size = len(dictionary)
        self.bpe_end: Optional[np.ndarray] = None
        if bpe_cont_marker:
            self.bpe_end = np.array([not dictionary[i].endswith(bpe_cont_marker) for i in range(size)])
        elif bpe_end_marker:
            self.bpe_end = np.array([dictionary[i].endswith(bpe_end_marker) for i in range(size)])
        self.get_word_idx: Callable[[Tensor], np.ndarray] = self._get_bpe_word_idx if marker else self._get_token_idx

    def noising(self, x: Tensor, lengths: Tensor, noising_prob: float = 0.0) -> tuple[Tensor, Tensor]:
        """`x` (T, B) and lengths (B,), changed; sentences end where `lengths` says."""
        raise NotImplementedError

    def _get_bpe_word_idx(self, x: Tensor) -> np.ndarray:
        """The number of each token's word, (T, B)."""
        assert self.bpe_end is not None
        ends = self.bpe_end[x.numpy()]
        if x.size(0) == 1 and x.size(1) == 1:
            return np.array([[0]])
        starts = ends[::-1].cumsum(0)[::-1]  # words that end here or later
        return starts.max(0)[None, :] - starts

    def _get_token_idx(self, x: Tensor) -> np.ndarray:
        return np.tile(np.arange(x.size(0))[:, None], (1, x.size(1)))

    def _sentences(self, x: Tensor, lengths: Tensor) -> list[tuple[list[int], np.ndarray, bool]]:
        """Tokens, the number of each one's word, and whether eos ends it, for each sentence."""
        words = self.get_word_idx(x)
        result = []
        for column, length in enumerate(lengths.tolist()):
            tokens = x[:length, column].tolist()
            result.append((tokens, words[:length, column], tokens[-1] == self.dictionary.eos()))
        return result

    def _batch(self, sentences: list[list[int]]) -> tuple[Tensor, Tensor]:
        """(T, B), padded on the right, and lengths."""
        lengths = torch.tensor([len(tokens) for tokens in sentences])
        batch = torch.full((int(lengths.max()), len(sentences)), self.dictionary.pad(), dtype=torch.long)
        for column, tokens in enumerate(sentences):
            batch[: len(tokens), column] = torch.tensor(tokens)
        return batch, lengths


class WordDropout(WordNoising):
    """Drops words, or puts a blank in place of each of their tokens. A word stays in every sentence."""

    def __init__(
        self,
        dictionary: Any,
        default_dropout_prob: float = 0.1,
        bpe_cont_marker: Optional[str] = "@@",
        bpe_end_marker: Optional[str] = None,
    ):
        super().__init__(dictionary, bpe_cont_marker, bpe_end_marker)
        self.default_dropout_prob = default_dropout_prob

    def noising(  # type: ignore[override]
        self, x: Tensor, lengths: Tensor, dropout_prob: Optional[float] = None, blank_idx: Optional[int] = None
    ) -> tuple[Tensor, Tensor]:
        probability = self.default_dropout_prob if dropout_prob is None else dropout_prob
        if probability == 0:
            return x, lengths
        assert 0 < probability < 1, f"not a probability: {probability}"
        changed = []
        for tokens, words, has_eos in self._sentences(x, lengths):
            number = int(words.max()) + 1
            keep = np.random.rand(number - has_eos) >= probability
            keep = np.append(keep, True) if has_eos else keep
            kept = [token if keep[word] else blank_idx for token, word in zip(tokens, words, strict=True)]
            rest = [token for token in kept if token is not None]
            if len(rest) <= 1:  # nothing but eos, or, as in fairseq, one token without it
                rest.insert(0, tokens[np.random.randint(0, len(tokens))])
            changed.append(rest)
        return self._batch(changed)


class WordShuffle(WordNoising):
    """Moves words by less than `max_shuffle_distance` places. The first word and eos stay where they are."""

    def __init__(
        self,
        dictionary: Any,
        default_max_shuffle_distance: float = 3,
        bpe_cont_marker: Optional[str] = "@@",
        bpe_end_marker: Optional[str] = None,
    ):
        super().__init__(dictionary, bpe_cont_marker, bpe_end_marker)
        self.default_max_shuffle_distance = default_max_shuffle_distance

    def noising(  # type: ignore[override]
        self, x: Tensor, lengths: Tensor, max_shuffle_distance: Optional[float] = None
    ) -> tuple[Tensor, Tensor]:
        distance = self.default_max_shuffle_distance if max_shuffle_distance is None else max_shuffle_distance
        if distance == 0:
            return x, lengths
        assert distance > 1, f"words move by less than {distance}: that is not at all"
        moves = np.random.uniform(0, distance, size=(x.size(0), x.size(1)))
        moves[0] = -1  # the first word stays
        shuffled = x.clone()
        for column, (tokens, words, has_eos) in enumerate(self._sentences(x, lengths)):
            length = len(tokens) - has_eos
            places = words[:length] + moves[words[:length], column] + 1e-6 * np.arange(length)  # subwords stay together
            shuffled[:length, column] = torch.tensor(tokens)[torch.from_numpy(places.argsort())]
        return shuffled, lengths


class UnsupervisedMTNoising(WordNoising):
    """Words moved, then dropped, then blanked (by unk)."""

    def __init__(
        self,
        dictionary: Any,
        max_word_shuffle_distance: float,
        word_dropout_prob: float,
        word_blanking_prob: float,
        bpe_cont_marker: Optional[str] = "@@",
        bpe_end_marker: Optional[str] = None,
    ):
        super().__init__(dictionary, bpe_cont_marker, bpe_end_marker)
        self.max_word_shuffle_distance = max_word_shuffle_distance
        self.word_dropout_prob, self.word_blanking_prob = word_dropout_prob, word_blanking_prob
        markers = {"bpe_cont_marker": bpe_cont_marker, "bpe_end_marker": bpe_end_marker}
        self.word_dropout = WordDropout(dictionary, **markers)  # type: ignore[arg-type]
        self.word_shuffle = WordShuffle(dictionary, **markers)  # type: ignore[arg-type]

    def noising(self, x: Tensor, lengths: Tensor, noising_prob: float = 0.0) -> Tensor:  # type: ignore[override]
        """The changed tokens alone."""
        x, lengths = self.word_shuffle.noising(x, lengths, self.max_word_shuffle_distance)
        x, lengths = self.word_dropout.noising(x, lengths, self.word_dropout_prob)
        return self.word_dropout.noising(x, lengths, self.word_blanking_prob, self.dictionary.unk())[0]


class NoisingDataset(torch.utils.data.Dataset):
    """The sentences of `src_dataset` with noise; the same at every call for one seed.

    Args:
        noiser: makes it; default: `noising_class(src_dict, **kwargs)`.
    """

    def __init__(
        self,
        src_dataset: Any,
        src_dict: Any,
        seed: int,
        noiser: Optional[WordNoising] = None,
        noising_class: type[WordNoising] = UnsupervisedMTNoising,
        **kwargs: Any,
    ):
        self.src_dataset, self.src_dict, self.seed = src_dataset, src_dict, seed
        self.noiser = noiser if noiser is not None else noising_class(dictionary=src_dict, **kwargs)
        self.sizes = src_dataset.sizes

    def __getitem__(self, index: int) -> Tensor:
        tokens = self.src_dataset[index]
        with numpy_seed(self.seed + index):
            noisy: Any = self.noiser.noising(tokens.unsqueeze(1), torch.LongTensor([len(tokens)]))
        return (noisy[0] if isinstance(noisy, tuple) else noisy).squeeze(1)

    def __len__(self) -> int:
        return len(self.src_dataset)

    @property
    def supports_prefetch(self) -> bool:
        return getattr(self.src_dataset, "supports_prefetch", False)

    def prefetch(self, indices: Any) -> None:
        if self.supports_prefetch:
            self.src_dataset.prefetch(indices)
