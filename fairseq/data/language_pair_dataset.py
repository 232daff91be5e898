"""Pairs of source and target sequences, for translation.

A batch is sorted by source length, longest first. The decoder reads the target shifted right by one, with eos in front:

    target              w1 w2 w3 </s>
    prev_output_tokens  </s> w1 w2 w3
"""

import logging
from typing import Any, Optional

import numpy as np
import torch

from fairseq.data.bucket_pad_length_dataset import BucketPadLengthDataset
from fairseq.data.collating import collate_tokens
from fairseq.data.fairseq_dataset import FairseqDataset
from fairseq.data.filtering import filter_paired_dataset_indices_by_size
from fairseq.errors import DataError

logger = logging.getLogger(__name__)


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


class LanguagePairDataset(FairseqDataset):
    """Pairs of sequences that end in eos.

    Args:
        src, src_sizes, src_dict: the sources, their lengths and dictionary; `tgt...` the same of the targets, or None.
        left_pad_source, left_pad_target: pad on the left.
        shuffle: batch pairs of equal lengths in random order.
        input_feeding: add `prev_output_tokens` for teacher forcing.
        remove_eos_from_source, append_eos_to_target: change the ends of sequences.
        align_dataset: word alignments of each pair, `(2 * N,)`.
        constraints: sequences that the output must contain.
        append_bos: begin source and target with bos.
        eos: what `prev_output_tokens` begins with; None: eos of the source dictionary.
        num_buckets: pad to one of this many lengths.
        src_lang_id, tgt_lang_id: put into every batch.
        pad_to_multiple: for the width of batches.
    """

    def __init__(
        self,
        src: Any,
        src_sizes: Any,
        src_dict: Any,
        tgt: Any = None,
        tgt_sizes: Any = None,
        tgt_dict: Any = None,
        left_pad_source: bool = True,
        left_pad_target: bool = False,
        shuffle: bool = True,
        input_feeding: bool = True,
        remove_eos_from_source: bool = False,
        append_eos_to_target: bool = False,
        align_dataset: Any = None,
        constraints: Any = None,
        append_bos: bool = False,
        eos: Optional[int] = None,
        num_buckets: int = 0,
        src_lang_id: Optional[int] = None,
        tgt_lang_id: Optional[int] = None,
        pad_to_multiple: int = 1,
    ):
        super().__init__()
        if tgt is not None and len(src) != len(tgt):
            raise DataError(f"source has {len(src)} sentences, target {len(tgt)}; preprocess the data again")
        if tgt_dict is not None:
            assert (src_dict.pad(), src_dict.eos(), src_dict.unk()) == (tgt_dict.pad(), tgt_dict.eos(), tgt_dict.unk())
        self.src, self.tgt = src, tgt
        self.src_sizes = np.array(src_sizes)
        self.tgt_sizes = np.array(tgt_sizes) if tgt_sizes is not None else None
        self.src_dict, self.tgt_dict = src_dict, tgt_dict
        self.left_pad_source, self.left_pad_target = left_pad_source, left_pad_target
        self.shuffle = shuffle
        self.input_feeding = input_feeding
        self.remove_eos_from_source, self.append_eos_to_target = remove_eos_from_source, append_eos_to_target
        self.align_dataset = align_dataset
        self.constraints = constraints
        self.append_bos = append_bos
        self.eos = eos if eos is not None else src_dict.eos()
        self.src_lang_id, self.tgt_lang_id = src_lang_id, tgt_lang_id
        self.pad_to_multiple = pad_to_multiple
        self.buckets: Optional[list] = None
        if num_buckets > 0:
            self._use_buckets(num_buckets)

    def _use_buckets(self, num_buckets: int) -> None:
        pad = self.src_dict.pad()
        self.src = BucketPadLengthDataset(self.src, self.src_sizes, num_buckets, pad, self.left_pad_source)
        self.src_sizes = self.src.sizes
        if self.tgt is not None:
            assert self.tgt_sizes is not None
            self.tgt = BucketPadLengthDataset(self.tgt, self.tgt_sizes, num_buckets, pad, self.left_pad_target)
            self.tgt_sizes = self.tgt.sizes
        sizes = self.sizes if self.tgt is not None else self.src_sizes[:, None]
        self.buckets = [tuple(shape) for shape in np.unique(sizes, axis=0).tolist()]

    @property
    def sizes(self) -> np.ndarray:
        """`(N, 2)` lengths of source and target, or `(N,)` without targets."""
        if self.tgt_sizes is None:
            return self.src_sizes
        return np.stack([self.src_sizes, self.tgt_sizes], axis=1)

    def get_batch_shapes(self) -> Optional[list]:
        return self.buckets

    def __getitem__(self, index: int) -> dict[str, Any]:
        source = self.src[index]
        target = self.tgt[index] if self.tgt is not None else None
        eos, bos = self.src_dict.eos(), self.src_dict.bos()
        if self.append_eos_to_target and target is not None and target[-1] != eos:
            target = torch.cat([target, target.new_tensor([eos])])
        if self.append_bos:
            if source[0] != bos:
                source = torch.cat([source.new_tensor([bos]), source])
            if target is not None and target[0] != bos:
                target = torch.cat([target.new_tensor([bos]), target])
        if self.remove_eos_from_source and source[-1] == eos:
            source = source[:-1]
        item = {"id": index, "source": source, "target": target}
        if self.align_dataset is not None:
            item["alignment"] = self.align_dataset[index]
        if self.constraints is not None:
            item["constraints"] = self.constraints[index]
        return item

    def __len__(self) -> int:
        return len(self.src)

    def collater(self, samples: list[dict[str, Any]], pad_to_length: Optional[dict[str, int]] = None) -> dict[str, Any]:
        """A batch: `id` `(B,)`, `nsentences`, `ntokens` (of the targets), `net_input`, `target` `(B, T)` or None.

        `net_input` holds `src_tokens` `(B, S)`, `src_lengths` `(B,)` and, with targets, `prev_output_tokens` `(B, T)`.

        Args:
            pad_to_length: least widths, `{"source": S, "target": T}`.
        """
        batch = collate(
            samples,
            pad_idx=self.src_dict.pad(),
            eos_idx=self.eos,
            left_pad_source=self.left_pad_source,
            left_pad_target=self.left_pad_target,
            input_feeding=self.input_feeding,
            pad_to_length=pad_to_length,
            pad_to_multiple=self.pad_to_multiple,
        )
        if batch and (self.src_lang_id is not None or self.tgt_lang_id is not None):
            tokens = batch["net_input"]["src_tokens"]
            if self.src_lang_id is not None:
                batch["net_input"]["src_lang_id"] = tokens.new_full((len(tokens), 1), self.src_lang_id)
            if self.tgt_lang_id is not None:
                batch["tgt_lang_id"] = tokens.new_full((len(tokens), 1), self.tgt_lang_id)
        return batch

    def num_tokens(self, index: int) -> int:
        return int(max(self.src_sizes[index], self.tgt_sizes[index] if self.tgt_sizes is not None else 0))

    def num_tokens_vec(self, indices: Any) -> np.ndarray:
        sizes = self.src_sizes[indices]
        return sizes if self.tgt_sizes is None else np.maximum(sizes, self.tgt_sizes[indices])

    def size(self, index: int) -> tuple[int, int]:
        return int(self.src_sizes[index]), int(self.tgt_sizes[index]) if self.tgt_sizes is not None else 0

    def ordered_indices(self) -> np.ndarray:
        """By source, then target length; pairs of equal lengths in random order."""
        indices = np.random.permutation(len(self)) if self.shuffle else np.arange(len(self))
        indices = indices.astype(np.int64)
        if self.buckets is not None:
            return indices[np.argsort(self.num_tokens_vec(indices), kind="stable")]
        if self.tgt_sizes is not None:
            indices = indices[np.argsort(self.tgt_sizes[indices], kind="stable")]
        return indices[np.argsort(self.src_sizes[indices], kind="stable")]

    @property
    def supports_prefetch(self) -> bool:
        return all(getattr(side, "supports_prefetch", False) for side in (self.src, self.tgt) if side is not None)

    def prefetch(self, indices: Any) -> None:
        for side in (self.src, self.tgt, self.align_dataset):
            if side is not None:
                side.prefetch(indices)

    def filter_indices_by_size(self, indices: np.ndarray, max_sizes: Any) -> tuple[np.ndarray, list]:
        return filter_paired_dataset_indices_by_size(self.src_sizes, self.tgt_sizes, indices, max_sizes)
