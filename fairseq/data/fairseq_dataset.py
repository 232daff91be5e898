"""What a dataset must offer to be batched by token count, shuffled and resumed.

A map-style dataset implements `__getitem__`, `__len__`, `collater`, `num_tokens` and `size`; the rest has defaults:

    class Numbers(FairseqDataset):
        def __getitem__(self, index): return torch.arange(index + 1)
        def __len__(self): return 100
        def num_tokens(self, index): return index + 1
        size = num_tokens
        def collater(self, samples): return collate_tokens(samples, pad_idx=0)
"""

from collections.abc import Iterator
from typing import Any, Optional

import numpy as np
import torch.utils.data

from fairseq.data.batching import batch_by_size, shapes_of_buckets
from fairseq.data.filtering import filter_indices
from fairseq.data.ragged import can_gather


class EpochListening:
    """Mixin for datasets that change from epoch to epoch."""

    @property
    def can_reuse_epoch_itr_across_epochs(self) -> bool:
        """False if batches must be made in each epoch (their sizes change)."""
        return True

    def set_epoch(self, epoch: int) -> None:
        """Called at the start of each epoch."""


class FairseqDataset(torch.utils.data.Dataset, EpochListening):
    """A dataset of items with sizes, and their collation into a batch."""

    def __getitem__(self, index: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__}.__getitem__")

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__}.__len__")

    def collater(self, samples: list) -> Any:
        """A batch from a list of items (an empty list gives an empty batch)."""
        raise NotImplementedError(f"{type(self).__name__}.collater")

    def num_tokens(self, index: int) -> int:
        """Tokens in item `index`, for `--max-tokens`."""
        raise NotImplementedError(f"{type(self).__name__}.num_tokens")

    def num_tokens_vec(self, indices: Any) -> np.ndarray:
        """`num_tokens` of many items at once."""
        raise NotImplementedError(f"{type(self).__name__}.num_tokens_vec")

    def size(self, index: int) -> Any:
        """Size of item `index` as `--max-positions` sees it: a number, or a tuple for several inputs."""
        raise NotImplementedError(f"{type(self).__name__}.size")

    def ordered_indices(self) -> np.ndarray:
        """All indices in the order in which they are batched."""
        return np.arange(len(self), dtype=np.int64)

    @property
    def supports_prefetch(self) -> bool:
        return False

    def attr(self, attr: str, index: int) -> Any:
        return getattr(self, attr, None)

    def prefetch(self, indices: Any) -> None:
        """Read the items an epoch will use ahead of time."""
        raise NotImplementedError(f"{type(self).__name__}.prefetch")

    def get_batch_shapes(self) -> Optional[list]:
        """The lengths, or `(source, target)` lengths, that batches may have (bucketed data), or None for any."""
        return None

    def batch_by_size(
        self,
        indices: Any,
        max_tokens: Optional[int] = None,
        max_sentences: Optional[int] = None,
        required_batch_size_multiple: int = 1,
    ) -> Any:
        """Cut `indices` into batches, see `fairseq.data.batching`."""
        fixed_shapes = None
        if (buckets := self.get_batch_shapes()) is not None:
            fixed_shapes = shapes_of_buckets(buckets, max_tokens, max_sentences, required_batch_size_multiple)
        try:
            num_tokens_vec = np.asarray(self.num_tokens_vec(indices)).astype(np.int64)
        except NotImplementedError:
            num_tokens_vec = None
        return batch_by_size(
            indices,
            num_tokens_fn=self.num_tokens,
            num_tokens_vec=num_tokens_vec,
            max_tokens=max_tokens,
            max_sentences=max_sentences,
            required_batch_size_multiple=required_batch_size_multiple,
            fixed_shapes=fixed_shapes,
        )

    def filter_indices_by_size(self, indices: np.ndarray, max_sizes: Any) -> tuple[np.ndarray, list]:
        """`(indices that fit, list of those that do not)`, see `fairseq.data.filtering`."""
        return filter_indices(indices, self, max_sizes)

    @property
    def supports_fetch_outside_dataloader(self) -> bool:
        """Whether items can be read in the main process as well."""
        return True

    # ---- the fast way of reading batches, see fairseq.data.ragged

    def sources(self) -> tuple:
        """The datasets that `gather` reads."""
        return ()

    def can_collate_batch(self) -> bool:
        """Whether the datasets `collate_batch` reads allow it."""
        return all(map(can_gather, self.sources()))


class FairseqIterableDataset(torch.utils.data.IterableDataset, EpochListening):
    """A dataset that is read from start to end, in shards."""

    def __iter__(self) -> Iterator:
        raise NotImplementedError(f"{type(self).__name__}.__iter__")
