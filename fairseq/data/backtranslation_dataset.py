"""Pairs whose sources a model writes: sentences of the target language are translated when they are collated (Sennrich
et al., arXiv:1511.06709).
"""

from collections.abc import Callable
from typing import Any, Optional

import numpy as np
import torch

from fairseq import utils
from fairseq.data.fairseq_dataset import FairseqDataset


def backtranslate_samples(samples: list, collate_fn: Callable, generate_fn: Callable, cuda: bool = True) -> list:
    """Pairs (`id`, `source`, `target`) of `samples`' sources as targets, and their translations as sources.

    Args:
        collate_fn: samples -> batch.
        generate_fn: batch -> for each sentence, hypotheses with `tokens`, the best first.
    """
    batch = collate_fn(samples)
    hypotheses = generate_fn(utils.move_to_cuda(batch) if cuda else batch)
    pairs = []
    for number, hypos in zip(batch["id"].tolist(), hypotheses, strict=True):
        original = next(sample for sample in samples if int(sample["id"]) == number)
        pairs.append({"id": number, "source": hypos[0]["tokens"].cpu(), "target": original["source"].cpu()})
    return pairs


class BacktranslationDataset(FairseqDataset):
    """Items are those of `tgt_dataset`; batches are made of translated pairs.

    Args:
        tgt_dataset: sentences, whose `collater` makes batches for the model.
        src_dict, tgt_dict: of the pairs.
        backtranslation_fn: a generator's `generate`; may be set later.
        output_collater: pairs -> batch; default: that of `tgt_dataset`.
        cuda: batches go to the GPU, where there is one.
    """

    def __init__(
        self,
        tgt_dataset: Any,
        src_dict: Any,
        tgt_dict: Optional[Any] = None,
        backtranslation_fn: Optional[Callable] = None,
        output_collater: Optional[Callable] = None,
        cuda: bool = True,
        **kwargs: Any,
    ):
        super().__init__()
        self.tgt_dataset, self.backtranslation_fn = tgt_dataset, backtranslation_fn
        self.output_collater = output_collater if output_collater is not None else tgt_dataset.collater
        self.cuda = cuda and torch.cuda.is_available()
        self.src_dict, self.tgt_dict = src_dict, tgt_dict

    def __getitem__(self, index: int) -> Any:
        return self.tgt_dataset[index]

    def __len__(self) -> int:
        return len(self.tgt_dataset)

    def set_backtranslation_fn(self, backtranslation_fn: Callable) -> None:
        self.backtranslation_fn = backtranslation_fn

    def collater(self, samples: list) -> Any:
        if not samples or samples[0].get("is_dummy", False):
            return samples
        assert self.backtranslation_fn is not None, "set a backtranslation_fn first"
        pairs = backtranslate_samples(
            samples,
            collate_fn=self.tgt_dataset.collater,
            generate_fn=lambda batch: self.backtranslation_fn(batch),  # type: ignore[misc]
            cuda=self.cuda,
        )
        return self.output_collater(pairs)

    def num_tokens(self, index: int) -> int:
        return self.tgt_dataset.num_tokens(index)

    def ordered_indices(self) -> np.ndarray:
        return self.tgt_dataset.ordered_indices()

    def size(self, index: int) -> tuple[Any, Any]:
        """The length of the target for both: the source is not written yet."""
        size = self.tgt_dataset.size(index)
        size = size[0] if isinstance(size, tuple) else size
        return size, size

    @property
    def supports_prefetch(self) -> bool:
        return getattr(self.tgt_dataset, "supports_prefetch", False)

    def prefetch(self, indices: Any) -> None:
        return self.tgt_dataset.prefetch(indices)
