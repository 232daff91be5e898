"""The base of datasets that change the items of another dataset and leave the rest to it."""

from typing import Any, Optional

import numpy as np
from torch.utils.data.dataloader import default_collate

from fairseq.data.fairseq_dataset import FairseqDataset
from fairseq.data.ragged import BatchReader, Ragged, can_collate


class BaseWrapperDataset(FairseqDataset):
    """Passes everything through to `dataset`; subclasses override what they change."""

    def __init__(self, dataset: Any):
        super().__init__()
        self.dataset = dataset

    def __getitem__(self, index: Any) -> Any:
        return self.dataset[index]

    def __len__(self) -> int:
        return len(self.dataset)

    def collater(self, samples: list) -> Any:
        if hasattr(self.dataset, "collater"):
            return self.dataset.collater(samples)
        return default_collate(samples)

    @property
    def sizes(self) -> Any:
        return self.dataset.sizes

    def num_tokens(self, index: int) -> int:
        return self.dataset.num_tokens(index)

    def num_tokens_vec(self, indices: Any) -> np.ndarray:
        # A subclass may override `num_tokens` alone; then only that is right.
        if type(self).num_tokens is not BaseWrapperDataset.num_tokens:
            raise NotImplementedError
        return self.dataset.num_tokens_vec(indices)

    def size(self, index: int) -> Any:
        return self.dataset.size(index)

    def ordered_indices(self) -> np.ndarray:
        return self.dataset.ordered_indices()

    @property
    def supports_prefetch(self) -> bool:
        return getattr(self.dataset, "supports_prefetch", False)

    def attr(self, attr: str, index: int) -> Any:
        return self.dataset.attr(attr, index)

    def prefetch(self, indices: Any) -> None:
        self.dataset.prefetch(indices)

    def get_batch_shapes(self) -> Optional[list]:
        return self.dataset.get_batch_shapes()

    # The next two use the wrapped dataset unless this class changes the sizes.

    def batch_by_size(
        self,
        indices: Any,
        max_tokens: Optional[int] = None,
        max_sentences: Optional[int] = None,
        required_batch_size_multiple: int = 1,
    ) -> Any:
        unchanged = type(self).num_tokens is BaseWrapperDataset.num_tokens and hasattr(self.dataset, "batch_by_size")
        make_batches = self.dataset.batch_by_size if unchanged else super().batch_by_size
        return make_batches(indices, max_tokens, max_sentences, required_batch_size_multiple)

    def filter_indices_by_size(self, indices: np.ndarray, max_sizes: Any) -> tuple[np.ndarray, list]:
        unchanged = type(self).size is BaseWrapperDataset.size and hasattr(self.dataset, "filter_indices_by_size")
        filter_indices = self.dataset.filter_indices_by_size if unchanged else super().filter_indices_by_size
        return filter_indices(indices, max_sizes)

    @property
    def can_reuse_epoch_itr_across_epochs(self) -> bool:
        return getattr(self.dataset, "can_reuse_epoch_itr_across_epochs", True)

    def set_epoch(self, epoch: int) -> None:
        super().set_epoch(epoch)
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(epoch)

    def sources(self) -> tuple:
        return (self.dataset,)

    def gather(self, reader: BatchReader) -> Ragged:
        return reader.gather(self.dataset)

    def can_collate_batch(self) -> bool:
        return can_collate(self.dataset)

    def collate_batch(self, reader: BatchReader) -> Any:
        return self.dataset.collate_batch(reader)
