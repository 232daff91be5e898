"""Blocks of text with the tokens before them as context, which is read and not predicted.

    block 7 8 9, context of 2      net_input.src_tokens 5 6 7 8 9      target <pad> <pad> 8 9 10

What precedes an example is looked up in the data set, so batches can be loaded in any order and by several processes.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from fairseq.data.collating import collate_tokens
from fairseq.data.fairseq_dataset import FairseqDataset


class LMContextWindowDataset(FairseqDataset):
    """Wraps a `MonolingualDataset` for evaluation.

    Args:
        dataset: blocks in the order of the text.
        tokens_per_sample: tokens of a block at most; a longer one gets less context.
        context_window: tokens of context at most.
        pad_idx: padding.
    """

    def __init__(self, dataset: Any, tokens_per_sample: int, context_window: int, pad_idx: int):
        super().__init__()
        if context_window <= 0:
            raise ValueError("context_window must be positive; without context, use the data set itself")
        self.dataset = dataset
        self.tokens_per_sample, self.context_window = tokens_per_sample, context_window
        self.pad_idx = pad_idx

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.dataset[index]  # type: ignore[no-any-return]

    def __len__(self) -> int:
        return len(self.dataset)

    def context(self, index: int, length: int) -> Tensor:
        """The last `length` tokens before example `index`, or all that there are."""
        parts: list[Tensor] = []
        while length > 0 and index > 0:
            index -= 1
            part = self.dataset[index]["source"][-length:]
            parts.insert(0, part)
            length -= len(part)
        return torch.cat(parts) if parts else torch.empty(0, dtype=torch.long)

    def collater(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        """The batch of the examples, with context; `start_indices` has its length for each."""
        batch: dict[str, Any] = self.dataset.collater(samples)
        if not batch:
            return batch
        longest = self.tokens_per_sample + self.context_window
        sources, targets, starts = [], [], []
        for sample in samples:
            source = sample["source"]
            room = max(min(self.context_window, longest - len(source)), 0)
            context = self.context(int(sample["id"]), room).to(source.dtype)
            sources.append(torch.cat([context, source]))
            targets.append(torch.cat([torch.full_like(context, self.pad_idx), sample["target"]]))
            starts.append(len(context))
        width = batch["net_input"]["src_tokens"].size(1) + self.context_window
        batch["net_input"] = {
            "src_tokens": collate_tokens(sources, self.pad_idx, pad_to_length=width),
            "src_lengths": torch.tensor([len(source) for source in sources]),
        }
        batch["target"] = collate_tokens(targets, self.pad_idx, pad_to_length=width)
        batch["start_indices"] = starts
        return batch

    def num_tokens(self, index: int) -> int:
        return int(self.dataset.num_tokens(index))

    def num_tokens_vec(self, indices: Any) -> np.ndarray:
        return np.asarray(self.dataset.num_tokens_vec(indices))

    def size(self, index: int) -> int:
        return int(self.dataset.size(index))

    def ordered_indices(self) -> np.ndarray:
        """The order of the text."""
        return np.arange(len(self.dataset))

    @property
    def supports_prefetch(self) -> bool:
        return getattr(self.dataset, "supports_prefetch", False)

    def prefetch(self, indices: Any) -> None:
        self.dataset.prefetch(indices)
