"""Pairs whose batches have other symbols at the ends: the language behind the source, or in front of the target."""

from typing import Any, Optional

import numpy as np

from fairseq.data.fairseq_dataset import FairseqDataset


class TransformEosLangPairDataset(FairseqDataset):
    """Replaces, in batches of `dataset`, the source's last symbol and the first of `prev_output_tokens`.

    Args:
        src_eos: what every source ends in.
        new_src_eos: what takes its place; None: nothing.
        tgt_bos: what every decoder input begins with.
        new_tgt_bos: what takes its place; None: nothing.
    """

    def __init__(
        self,
        dataset: Any,
        src_eos: int,
        new_src_eos: Optional[int] = None,
        tgt_bos: Optional[int] = None,
        new_tgt_bos: Optional[int] = None,
    ):
        super().__init__()
        self.dataset, self.src_eos, self.new_src_eos = dataset, src_eos, new_src_eos
        self.tgt_bos, self.new_tgt_bos = tgt_bos, new_tgt_bos

    def __getitem__(self, index: int) -> Any:
        return self.dataset[index]

    def __len__(self) -> int:
        return len(self.dataset)

    def collater(self, samples: list, **extra_args: Any) -> Any:
        batch = self.dataset.collater(samples, **extra_args)
        if not batch:
            return batch
        net_input = batch["net_input"]
        if self.new_src_eos is not None:
            source = net_input["src_tokens"]
            last = source.size(1) - 1 if self.dataset.left_pad_source else net_input["src_lengths"] - 1
            self._replace(source, last, self.src_eos, self.new_src_eos)
        if self.new_tgt_bos is not None and "prev_output_tokens" in net_input:
            previous = net_input["prev_output_tokens"]
            first = 0
            if self.dataset.left_pad_target:
                first = previous.size(1) - batch["target"].ne(self.dataset.tgt_dict.pad()).sum(1)
            self._replace(previous, first, self.tgt_bos, self.new_tgt_bos)
        return batch

    @staticmethod
    def _replace(tokens: Any, places: Any, old: Optional[int], new: int) -> None:
        rows = np.arange(len(tokens))
        assert (tokens[rows, places] == old).all(), f"not all sequences have {old} where {new} should be"
        tokens[rows, places] = new

    def num_tokens(self, index: int) -> int:
        return self.dataset.num_tokens(index)

    def size(self, index: int) -> Any:
        return self.dataset.size(index)

    @property
    def sizes(self) -> Any:
        return self.dataset.sizes  # the numbers of tokens stay

    def ordered_indices(self) -> np.ndarray:
        return self.dataset.ordered_indices()

    @property
    def supports_prefetch(self) -> bool:
        return getattr(self.dataset, "supports_prefetch", False)

    def prefetch(self, indices: Any) -> None:
        return self.dataset.prefetch(indices)
