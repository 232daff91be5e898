"""Items drawn at random for each epoch, with or without replacement."""

from typing import Any, Optional

import numpy as np

from fairseq.data.base_wrapper_dataset import BaseWrapperDataset


class ResamplingDataset(BaseWrapperDataset):
    """`size_ratio` times as many items as `dataset` has, drawn anew in each epoch.

    Args:
        weights: of the items; default: all the same.
        replace: an item may be drawn again; without, `size_ratio` is below 1.
        batch_by_size: order by size, so that batches have items of similar length.
    """

    def __init__(
        self,
        dataset: Any,
        weights: Optional[Any] = None,
        replace: bool = True,
        size_ratio: float = 1.0,
        batch_by_size: bool = True,
        seed: int = 0,
        epoch: int = 1,
    ):
        super().__init__(dataset)
        self.weights = None
        if weights is not None:
            assert len(weights) == len(dataset), f"{len(weights)} weights for {len(dataset)} items"
            weights = np.asarray(weights, dtype=np.float64)
            self.weights = weights / weights.sum()
        assert size_ratio > 0.0 and (replace or size_ratio < 1.0), f"size_ratio={size_ratio}, replace={replace}"
        self.replace, self._by_size, self.seed = replace, batch_by_size, seed
        self.size_ratio = float(size_ratio)
        self.actual_size = int(np.ceil(len(dataset) * self.size_ratio))
        self._cur_epoch: Optional[int] = None
        self._cur_indices = np.empty(0, dtype=np.int64)
        self.set_epoch(epoch)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[int(self._cur_indices[index])]

    def __len__(self) -> int:
        return self.actual_size

    @property
    def sizes(self) -> Any:  # type: ignore[override]
        if isinstance(self.dataset.sizes, list):
            return [sizes[self._cur_indices] for sizes in self.dataset.sizes]
        return self.dataset.sizes[self._cur_indices]

    def num_tokens(self, index: int) -> int:
        return self.dataset.num_tokens(int(self._cur_indices[index]))

    def size(self, index: int) -> Any:
        return self.dataset.size(int(self._cur_indices[index]))

    def ordered_indices(self) -> np.ndarray:
        if not self._by_size:
            return np.arange(len(self))
        sizes = self.sizes if isinstance(self.sizes, list) else [self.sizes]
        return np.lexsort([np.arange(len(self)), *sizes])

    def prefetch(self, indices: Any) -> None:
        self.dataset.prefetch(self._cur_indices[indices])

    @property
    def can_reuse_epoch_itr_across_epochs(self) -> bool:
        return False

    def set_epoch(self, epoch: int) -> None:
        super().set_epoch(epoch)
        if epoch == self._cur_epoch:
            return
        self._cur_epoch = epoch
        # fairseq's seed, so that the same items are drawn
        rng = np.random.RandomState([42, self.seed % (2**32), epoch])
        self._cur_indices = rng.choice(len(self.dataset), self.actual_size, replace=self.replace, p=self.weights)
