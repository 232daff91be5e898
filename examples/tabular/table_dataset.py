"""`TableDataset`: rows of numbers with classes, in a new random order in each epoch if wanted."""

from typing import Any

import numpy as np
import torch

from fairseq.data import FairseqDataset


class TableDataset(FairseqDataset):
    """Rows and their classes.

    Args:
        features: (N, F) float32.
        labels: (N) int64.
        shuffle: a new order in each epoch.
    """

    def __init__(self, features: np.ndarray, labels: np.ndarray, shuffle: bool = False):
        self.features, self.labels, self.shuffle = torch.from_numpy(features), torch.from_numpy(labels), shuffle

    @property
    def can_reuse_epoch_itr_across_epochs(self) -> bool:
        return not self.shuffle

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"id": int(index), "features": self.features[index], "label": self.labels[index]}

    def collater(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        """A batch: `net_input.features` (B, F), `target` (B)."""
        if not samples:
            return {}
        return {
            "id": torch.tensor([sample["id"] for sample in samples]),
            "net_input": {"features": torch.stack([sample["features"] for sample in samples])},
            "target": torch.stack([sample["label"] for sample in samples]),
            "nsentences": len(samples),
            "ntokens": len(samples),
        }

    def num_tokens(self, index: int) -> int:
        return 1

    def num_tokens_vec(self, indices: Any) -> np.ndarray:
        return np.ones(len(indices), dtype=np.int64)

    def size(self, index: int) -> int:
        return 1

    def ordered_indices(self) -> np.ndarray:
        return np.random.permutation(len(self)) if self.shuffle else np.arange(len(self))
