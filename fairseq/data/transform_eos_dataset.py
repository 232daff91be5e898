"""Pairs whose sources or targets get eos, or lose it, when they are collated."""

from typing import Any

import numpy as np
import torch

from fairseq.data.fairseq_dataset import FairseqDataset


class TransformEosDataset(FairseqDataset):
    """Changes the ends of `source` and `target` of the items of a pair dataset, in `collater`. Sizes follow; items are
    handed out as they are.

    Args:
        eos: its id.
        append_eos_to_src, remove_eos_from_src: at most one of them; what they say of every source is asserted.
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
        self.eos = torch.LongTensor([eos])
        self.has_target = has_target
        # by how much a source and a target grow
        self._source_change = int(append_eos_to_src) - int(remove_eos_from_src)
        self._target_change = int(append_eos_to_tgt) - int(remove_eos_from_tgt)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[index]

    def __len__(self) -> int:
        return len(self.dataset)

    def _changed(self, sequence: torch.Tensor, change: int) -> torch.Tensor:
        ends_in_eos = bool(sequence[-1] == self.eos)
        assert change == 0 or ends_in_eos == (change < 0), (
            f"{sequence} {'ends' if ends_in_eos else 'does not end'} in eos"
        )
        if change > 0:
            return torch.cat([sequence, self.eos.to(sequence)])
        return sequence[:-1] if change < 0 else sequence

    def collater(self, samples: list) -> Any:
        changed = []
        for sample in samples:
            item = {**sample, "source": self._changed(sample["source"], self._source_change)}
            if self.has_target:
                item["target"] = self._changed(sample["target"], self._target_change)
            changed.append(item)
        return self.dataset.collater(changed)

    def num_tokens(self, index: int) -> int:
        return self.dataset.num_tokens(index)

    def size(self, index: int) -> Any:
        source, target = self.dataset.size(index)
        if not self.has_target:  # as in fairseq
            return source, target
        return source + self._source_change, target + self._target_change

    def ordered_indices(self) -> np.ndarray:
        # length differences from one eos more or less are too small to matter
        return self.dataset.ordered_indices()

    @property
    def supports_prefetch(self) -> bool:
        return getattr(self.dataset, "supports_prefetch", False)

    def prefetch(self, indices: Any) -> None:
        return self.dataset.prefetch(indices)
