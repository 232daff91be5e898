"""Pre-training by filling in spans, as T5 does (Raffel et al., arXiv:1910.10683, section 3.1.4).

Spans of a sequence are taken out; each leaves a sentinel, and the target tells what stood there:

    sequence  a b c d e </s>
    source    a b <1> d <2>
    target    <1> c <2> e </s>

Sentinels are the last ids of the dictionary, counted downwards. The last span reaches to the end, `</s>` included.
Spans depend on (seed, epoch, index) only, and are those of fairseq.

>>> segment_lengths(7, 3, np.random.RandomState(0))
array([3, 2, 2])
"""

from typing import Any, Optional

import numpy as np
import torch

from fairseq.data.denoising_dataset import collate as collate_denoising
from fairseq.data.fairseq_dataset import FairseqDataset
from fairseq.data.seeding import numpy_seed
from fairseq.errors import ConfigError, DataError


def segment_lengths(count: int, num_segments: int, random: Any = np.random) -> np.ndarray:
    """`count` divided at random into `num_segments` parts of at least 1."""
    begins = np.arange(count - 1) < num_segments - 1
    random.shuffle(begins)
    return np.diff(np.concatenate([[0], np.flatnonzero(begins) + 1, [count]]))


def collate(
    samples: list[dict[str, Any]],
    pad_idx: int,
    eos_idx: int,
    vocab: Any,
    left_pad_source: bool = False,
    left_pad_target: bool = False,
    input_feeding: bool = True,
    pad_to_length: Optional[dict[str, int]] = None,
) -> dict[str, Any]:
    """A batch of items `{"id", "source", "target"}`: as of sentence pairs, and `target_lengths` `(B,)`."""
    batch = collate_denoising(
        samples, pad_idx, eos_idx, vocab, left_pad_source, left_pad_target, input_feeding, pad_to_length
    )
    if batch and batch["target"] is not None:
        batch["target_lengths"] = batch["target"].ne(pad_idx).sum(dim=1)
    return batch


class SpanMaskedTokensDataset(FairseqDataset):
    """Items `{"id", "source", "target"}`, see above.

    Args:
        dataset: sequences of at least two tokens; it has `sizes`.
        vocab: their dictionary.
        noise_density: share of the tokens that is taken out, one token at least.
        mean_noise_span_length: mean length of a span.
        shuffle: batch sequences of equal lengths in random order.
    """

    def __init__(
        self,
        dataset: Any,
        vocab: Any,
        noise_density: float,
        mean_noise_span_length: float,
        shuffle: bool,
        seed: int = 1,
    ):
        super().__init__()
        if not 0 < noise_density < 1 or mean_noise_span_length < 1:
            raise ConfigError("span masking needs 0 < noise_density < 1 and mean_noise_span_length >= 1")
        self.dataset, self.vocab = dataset, vocab
        self.noise_density, self.mean_noise_span_length = noise_density, mean_noise_span_length
        self.shuffle, self.seed = shuffle, seed
        self.epoch = 0

    @property
    def sizes(self) -> np.ndarray:
        return np.asarray(self.dataset.sizes)

    @property
    def can_reuse_epoch_itr_across_epochs(self) -> bool:
        return True  # spans change with the epoch, sizes do not

    def set_epoch(self, epoch: int, **unused: Any) -> None:
        super().set_epoch(epoch)
        self.epoch = epoch
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(epoch)

    def __getitem__(self, index: int) -> dict[str, Any]:
        tokens = np.asarray(self.dataset[index])
        if len(tokens) < 2:
            raise DataError(f"item {index} has {len(tokens)} tokens; span masking needs two at least")
        with numpy_seed(self.seed, self.epoch, int(index)):
            mask = self.random_spans_noise_mask(len(tokens))[None]
        source = self.filter_input_ids(tokens[None], self.create_sentinel_ids(mask))
        target = self.filter_input_ids(tokens[None], self.create_sentinel_ids(~mask))
        return {"id": index, "source": torch.from_numpy(source), "target": torch.from_numpy(target)}

    def random_spans_noise_mask(self, length: int) -> np.ndarray:
        """(length,), true in spans; the first token is never in one, the last always. Draws from NumPy's generator."""
        num_noise = min(max(round(length * self.noise_density), 1), length - 1)
        num_spans = max(round(num_noise / self.mean_noise_span_length), 1)
        num_spans = min(num_spans, length - num_noise)  # there is something in front of every span
        inside = segment_lengths(num_noise, num_spans)
        between = segment_lengths(length - num_noise, num_spans)
        lengths = np.stack([between, inside], axis=1).ravel()
        return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)

    def create_sentinel_ids(self, mask_indices: np.ndarray) -> np.ndarray:
        """(B, T): a sentinel's id where a span of `mask_indices` (B, T) begins, -1 in the rest of it, else 0."""
        mask = np.asarray(mask_indices).astype(bool)
        begins = mask.copy()
        begins[:, 1:] &= ~mask[:, :-1]
        sentinels = len(self.vocab) - np.cumsum(begins, axis=1)
        return np.where(begins, sentinels, -mask.astype(np.int64))

    @staticmethod
    def filter_input_ids(input_ids: np.ndarray, sentinel_ids: np.ndarray) -> np.ndarray:
        """The ids (N,) of the rows, sentinels in place of spans."""
        ids = np.where(sentinel_ids > 0, sentinel_ids, input_ids)
        return ids[sentinel_ids >= 0]

    def collater(self, samples: list[dict[str, Any]], pad_to_length: Optional[dict[str, int]] = None) -> dict[str, Any]:
        return collate(samples, self.vocab.pad(), self.vocab.eos(), self.vocab, pad_to_length=pad_to_length)

    def __len__(self) -> int:
        return len(self.dataset)

    def num_tokens(self, index: int) -> int:
        return int(self.sizes[index])

    def num_tokens_vec(self, indices: Any) -> np.ndarray:
        return self.sizes[indices]

    def size(self, index: int) -> int:
        return int(self.sizes[index])

    def ordered_indices(self) -> np.ndarray:
        indices = np.random.permutation(len(self)) if self.shuffle else np.arange(len(self))
        return indices[np.argsort(self.sizes[indices], kind="stable")]

    def prefetch(self, indices: Any) -> None:
        self.dataset.prefetch(indices)

    @property
    def supports_prefetch(self) -> bool:
        return getattr(self.dataset, "supports_prefetch", False)
