"""Batches of source and target sequences, from items read one by one; described in `LanguagePairDataset`."""

import logging
from typing import Any, Optional

import torch

from fairseq.data.collating import collate_tokens

logger = logging.getLogger("fairseq.data.language_pair_dataset")  # the name fairseq logs this under


def collate(
    samples: list[dict[str, Any]],
    pad_idx: int,
    eos_idx: Optional[int],
    left_pad_source: bool = True,
    left_pad_target: bool = False,
    input_feeding: bool = True,
    pad_to_length: Optional[dict[str, int]] = None,
    pad_to_multiple: int = 1,
) -> dict[str, Any]:
    """A batch from items `{"id", "source", "target"}`; see `LanguagePairDataset.collater`."""
    if not samples:
        return {}
    lengths = torch.tensor([len(sample["source"]) for sample in samples])
    src_lengths, order = lengths.sort(descending=True, stable=True)
    samples = [samples[i] for i in order.tolist()]
    widths = pad_to_length or {}

    def merge(key: str, left_pad: bool, side: str, eos_first: bool = False) -> torch.Tensor:
        values = [sample[key] for sample in samples]
        return collate_tokens(values, pad_idx, eos_idx, left_pad, eos_first, widths.get(side), pad_to_multiple)

    net_input = {"src_tokens": merge("source", left_pad_source, "source"), "src_lengths": src_lengths}
    batch: dict[str, Any] = {
        "id": torch.tensor([sample["id"] for sample in samples]),
        "nsentences": len(samples),
        "ntokens": int(src_lengths.sum()),
        "net_input": net_input,
        "target": None,
    }
    if samples[0].get("target") is not None:
        batch["target"] = merge("target", left_pad_target, "target")
        tgt_lengths = torch.tensor([len(sample["target"]) for sample in samples])
        batch["ntokens"] = int(tgt_lengths.sum())
        if samples[0].get("prev_output_tokens") is not None:
            net_input["prev_output_tokens"] = merge("prev_output_tokens", left_pad_target, "target")
        elif input_feeding:
            net_input["prev_output_tokens"] = merge("target", left_pad_target, "target", eos_first=True)
        if samples[0].get("alignment") is not None:
            _add_alignments(batch, samples, tgt_lengths, left_pad_source, left_pad_target)
    if samples[0].get("constraints") is not None:
        width = max(len(sample["constraints"]) for sample in samples)
        constraints = torch.zeros(len(samples), width, dtype=torch.int64)
        for row, sample in zip(constraints, samples, strict=True):
            row[: len(sample["constraints"])] = sample["constraints"]
        batch["constraints"] = constraints
    return batch


def _add_alignments(
    batch: dict[str, Any], samples: list, tgt_lengths: torch.Tensor, left_pad_source: bool, left_pad_target: bool
) -> None:
    """`alignments` `(N, 2)`: position in the padded source row, and in the padded targets seen as one long row.

    `align_weights` `(N,)`: the pairs of one target token share a weight of 1.
    """
    src_width, tgt_width = batch["net_input"]["src_tokens"].shape[1], batch["target"].shape[1]
    src_lengths = batch["net_input"]["src_lengths"]
    shifts = torch.zeros(len(samples), 2, dtype=torch.int64)
    shifts[:, 1] = torch.arange(len(samples)) * tgt_width
    if left_pad_source:
        shifts[:, 0] += src_width - src_lengths
    if left_pad_target:
        shifts[:, 1] += tgt_width - tgt_lengths
    inside = []
    for sample, shift, src_length, tgt_length in zip(samples, shifts, src_lengths, tgt_lengths, strict=True):
        pairs = sample["alignment"].view(-1, 2)
        if len(pairs) and (pairs[:, 0].max() >= src_length - 1 or pairs[:, 1].max() >= tgt_length - 1):
            logger.warning("alignment size mismatch found, skipping alignment!")
        else:
            inside.append(pairs + shift)
    if inside and (alignments := torch.cat(inside)).numel() > 0:
        _, which, counts = alignments[:, 1].unique(return_inverse=True, return_counts=True)
        batch["alignments"] = alignments
        batch["align_weights"] = 1.0 / counts[which].float()
