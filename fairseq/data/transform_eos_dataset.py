"""Pairs whose sources or targets get eos, or lose it."""

from typing import Any

import numpy as np
import torch

from fairseq.data.fairseq_dataset import FairseqDataset


class TransformEosDataset(FairseqDataset):
    """Changes the ends of `source` and `target` of the items of a pair dataset.

    Args:
        eos: its id.
        append_eos_to_src, remove_eos_from_src: at most one of them; the first item says whether eos is there.
        append_eos_to_tgt, remove_eos_from_tgt: the same for targets.
        has_target: items have a target.
    """

    def __init__(
        self,
        dataset: Any,
        eos: int,
        append_eos_to_src: bool = False,
        remove_eos_from_src: bool = False,
        append_eos_to_tgt: bool = False,
        remove_eos_from_tgt: bool = False,
        has_target: bool = True,
    ):
        super().__init__()
        if (append_eos_to_src and remove_eos_from_src) or (append_eos_to_tgt and remove_eos_from_tgt):
            raise ValueError("cannot both append and remove eos")
        self.dataset = dataset
        self.eos = eos
        self.has_target = has_target
        self._changes = {
            "source": (append_eos_to_src, remove_eos_from_src),
            "target": (append_eos_to_tgt, remove_eos_from_tgt),
        }

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = dict(self.dataset[index])
        for key in ("source", "target") if self.has_target else ("source",):
            append, remove = self._changes[key]
            sequence = item[key]
            if append:
                assert sequence[-1] != self.eos, f"{key} ends in eos already"
                item[key] = torch.cat([sequence, sequence.new_tensor([self.eos])])
            elif remove:
                assert sequence[-1] == self.eos, f"{key} does not end in eos"
                item[key] = sequence[:-1]
        return item

    def __len__(self) -> int:
        return len(self.dataset)

    def collater(self, samples: list) -> Any:
        return self.dataset.collater(samples)

    def num_tokens(self, index: int) -> int:
        return self.dataset.num_tokens(index)

    def size(self, index: int) -> Any:
        return self.dataset.size(index)

    def ordered_indices(self) -> np.ndarray:
        # length differences from one eos more or less are too small to matter
        return self.dataset.ordered_indices()

    @property
    def supports_prefetch(self) -> bool:
        return getattr(self.dataset, "supports_prefetch", False)

    def prefetch(self, indices: Any) -> None:
        return self.dataset.prefetch(indices)
