"""Pairs of several languages one after the other, whose batches have each language's token at the ends.

fairseq 0.12 gives the tokens to the rows of a batch before it orders them by length, so that they meet other languages.
"""

from collections.abc import Sequence
from typing import Any, Optional

import torch

from fairseq.data.concat_dataset import ConcatDataset


class TransformEosConcatLangPairDataset(ConcatDataset):
    """`datasets` (LanguagePairDatasets) joined; items are `(number of the data set, item)`.

    Args:
        src_eos: what every source ends in.
        tgt_bos: what every decoder input begins with.
        new_src_eos: for each data set what takes its place; None: nothing.
        new_tgt_bos: the same for `tgt_bos`.
    """

    def __init__(
        self,
        datasets: Sequence[Any],
        src_eos: int,
        tgt_bos: int,
        new_src_eos: Optional[Sequence[int]] = None,
        new_tgt_bos: Optional[Sequence[int]] = None,
    ):
        super().__init__(datasets)
        for name, tokens in (("new_src_eos", new_src_eos), ("new_tgt_bos", new_tgt_bos)):
            if tokens is not None and len(tokens) != len(datasets):
                raise ValueError(f"{name} has {len(tokens)} tokens for {len(datasets)} data sets")
        sides = {(dataset.left_pad_source, dataset.left_pad_target) for dataset in datasets}
        if len(sides) > 1:
            raise ValueError("all data sets have to be padded on the same sides")
        self.left_pad_source, self.left_pad_target = sides.pop()
        self.pad_idx = self.src_dict_pad()
        self.src_eos, self.tgt_bos = src_eos, tgt_bos
        self.new_src_eos, self.new_tgt_bos = new_src_eos, new_tgt_bos

    def src_dict_pad(self) -> int:
        return self.datasets[0].src_dict.pad()

    def __getitem__(self, idx: int) -> tuple[int, Any]:
        part, index = self._get_dataset_and_sample_index(int(idx))
        return part, self.datasets[part][index]

    def collater(self, samples: list[tuple[int, Any]], **extra_args: Any) -> Any:
        if not samples:
            return None
        batch = super().collater([item for _, item in samples], **extra_args)
        lengths = torch.tensor([len(item["source"]) for _, item in samples])
        order = lengths.sort(descending=True, stable=True).indices  # that of the rows
        parts = torch.tensor([part for part, _ in samples])[order]
        net_input = batch["net_input"]
        rows = torch.arange(len(samples))
        if self.new_src_eos is not None:
            source = net_input["src_tokens"]
            last = source.size(1) - 1 if self.left_pad_source else net_input["src_lengths"] - 1
            self._replace(source, rows, last, self.src_eos, torch.tensor(self.new_src_eos)[parts])
        if self.new_tgt_bos is not None and "prev_output_tokens" in net_input:
            previous = net_input["prev_output_tokens"]
            first: Any = 0
            if self.left_pad_target:
                first = previous.size(1) - batch["target"].ne(self.pad_idx).sum(1)
            self._replace(previous, rows, first, self.tgt_bos, torch.tensor(self.new_tgt_bos)[parts])
        return batch

    @staticmethod
    def _replace(tokens: torch.Tensor, rows: torch.Tensor, places: Any, old: int, new: torch.Tensor) -> None:
        assert (tokens[rows, places] == old).all(), f"not all sequences have {old} where a language's token should be"
        tokens[rows, places] = new
