"""Blocks of text with the targets of a language model: the next token, the token itself, or the one before.

block 5 6 7      net_input.src_tokens 2 5 6      target (future) 5 6 7
"""

from collections.abc import Sequence
from typing import Any, Optional

import numpy as np
import torch

from fairseq.data.collating import collate_tokens
from fairseq.data.fairseq_dataset import FairseqDataset
from fairseq.errors import ConfigError, unknown

_TARGETS = ("self", "future", "past")


def collate(
    samples: list[dict[str, Any]],
    pad_idx: int,
    eos_idx: int,
    fixed_pad_length: Optional[int] = None,
    pad_to_bsz: Optional[int] = None,
) -> dict[str, Any]:
    """A batch from items `{"id", "source", "target"}`; `target` may be a list of targets."""
    if not samples:
        return {}

    def merge(values: Sequence[torch.Tensor]) -> torch.Tensor:
        return collate_tokens(values, pad_idx, eos_idx, pad_to_length=fixed_pad_length, pad_to_bsz=pad_to_bsz)

    sources = [sample["source"] for sample in samples]
    targets = [sample["target"] for sample in samples]
    src_tokens = merge(sources)
    target: Any = src_tokens
    if targets[0] is not None:
        several = isinstance(targets[0], list)
        target = [merge(one) for one in zip(*targets, strict=True)] if several else merge(targets)
    return {
        "id": torch.tensor([sample["id"] for sample in samples]),
        "nsentences": len(samples),
        "ntokens": sum(len(source) for source in sources),
        "net_input": {"src_tokens": src_tokens, "src_lengths": torch.tensor([len(source) for source in sources])},
        "target": target,
    }


class MonolingualDataset(FairseqDataset):
    """Wraps blocks, see `TokenBlockDataset`, for language modelling.

    Args:
        dataset: blocks; with `targets` the tuples that `include_targets` gives.
        sizes: their lengths.
        src_vocab, tgt_vocab: dictionaries; target ids outside a smaller `tgt_vocab` become `<unk>`.
        add_eos_for_other_targets: end sources in eos if "self" or "past" targets are requested.
        shuffle: batch blocks of equal length in random order.
        targets: some of "future", "self", "past"; None: no targets.
        add_bos_token: begin source and target with bos.
        fixed_pad_length, pad_to_bsz: least width and number of rows of batches.
    """

    def __init__(
        self,
        dataset: Any,
        sizes: Any,
        src_vocab: Any,
        tgt_vocab: Any = None,
        add_eos_for_other_targets: bool = False,
        shuffle: bool = False,
        targets: Optional[Sequence[str]] = None,
        add_bos_token: bool = False,
        fixed_pad_length: Optional[int] = None,
        pad_to_bsz: Optional[int] = None,
        src_lang_idx: Optional[int] = None,
        tgt_lang_idx: Optional[int] = None,
    ):
        super().__init__()
        self.dataset = dataset
        self.sizes = np.array(sizes)
        self.vocab = src_vocab
        self.tgt_vocab = tgt_vocab or src_vocab
        self.add_eos_for_other_targets = add_eos_for_other_targets
        self.shuffle = shuffle
        self.add_bos_token = add_bos_token
        self.fixed_pad_length, self.pad_to_bsz = fixed_pad_length, pad_to_bsz
        self.src_lang_idx, self.tgt_lang_idx = src_lang_idx, tgt_lang_idx
        for target in targets or ():
            if target not in _TARGETS:
                raise ConfigError(unknown("language model target", target, _TARGETS))
        self.targets = targets or None

    def __getitem__(self, index: int) -> dict[str, Any]:
        target: Any = None
        if self.targets is not None:
            source, future, past = self.dataset[index]
            source, target = self._make_source_target(source, future, past)
        else:
            source = self.dataset[index]
        source, target = self._maybe_add_bos(source, target)
        return {"id": index, "source": source, "target": target}

    def __len__(self) -> int:
        return len(self.dataset)

    def _make_source_target(self, source: torch.Tensor, future: torch.Tensor, past: torch.Tensor) -> tuple:
        assert self.targets is not None
        eos = self.vocab.eos()
        if self.add_eos_for_other_targets and {"self", "past"} & set(self.targets) and source[-1] != eos:
            source = torch.cat([source, source.new_tensor([eos])])
            future = torch.cat([future, future.new_tensor([self.vocab.pad()])])
            past = torch.cat([past.new_tensor([self.vocab.pad()]), past[1:], source[-2:-1]])
        available = {"self": source, "future": future, "past": past}
        chosen = [self._filter_vocab(available[name]) for name in self.targets]
        return source, chosen[0] if len(chosen) == 1 else chosen

    def _maybe_add_bos(self, source: torch.Tensor, target: Any) -> tuple:
        if self.add_bos_token:
            source = torch.cat([source.new_tensor([self.vocab.bos()]), source])
            if target is not None:
                target = torch.cat([target.new_tensor([self.tgt_vocab.bos()]), target])
        return source, target

    def _filter_vocab(self, target: torch.Tensor) -> torch.Tensor:
        if len(self.tgt_vocab) == len(self.vocab):
            return target
        return torch.where(target < len(self.tgt_vocab), target, self.tgt_vocab.unk())

    def collater(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        """A batch: `id`, `nsentences`, `ntokens`, `net_input` of `src_tokens` `(B, T)` and `src_lengths`; `target`."""
        return collate(samples, self.vocab.pad(), self.vocab.eos(), self.fixed_pad_length, self.pad_to_bsz)

    def num_tokens(self, index: int) -> int:
        return int(self.sizes[index])

    def num_tokens_vec(self, indices: Any) -> np.ndarray:
        return self.sizes[indices]

    def size(self, index: int) -> int:
        return int(self.sizes[index])

    def ordered_indices(self) -> np.ndarray:
        """By length; blocks of equal length in random order if `shuffle`."""
        order = np.random.permutation(len(self)) if self.shuffle else np.arange(len(self))
        return np.lexsort([order, self.sizes])

    @property
    def supports_prefetch(self) -> bool:
        return getattr(self.dataset, "supports_prefetch", False)

    def prefetch(self, indices: Any) -> None:
        self.dataset.prefetch(indices)
