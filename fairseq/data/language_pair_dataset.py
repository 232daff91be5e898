"""Pairs of source and target sequences, for translation.

A batch is sorted by source length, longest first. The decoder reads the target shifted right by one, with eos in front:

    target              w1 w2 w3 </s>
    prev_output_tokens  </s> w1 w2 w3
"""

from typing import Any, Optional

import numpy as np
import torch

from fairseq.data.bucket_pad_length_dataset import BucketPadLengthDataset
from fairseq.data.collating import padded_size
from fairseq.data.fairseq_dataset import FairseqDataset
from fairseq.data.filtering import filter_paired_dataset_indices_by_size
from fairseq.data.language_pair_collating import collate
from fairseq.data.ragged import BatchReader, Ragged, can_gather
from fairseq.errors import DataError


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
        return self._with_languages(batch)

    def _with_languages(self, batch: dict[str, Any]) -> dict[str, Any]:
        if batch and self.src_lang_id is not None:
            batch["net_input"]["src_lang_id"] = torch.full((batch["nsentences"], 1), self.src_lang_id)
        if batch and self.tgt_lang_id is not None:
            batch["tgt_lang_id"] = torch.full((batch["nsentences"], 1), self.tgt_lang_id)
        return batch

    # ---- the same for whole batches at once, see fairseq.data.ragged

    def sources(self) -> tuple:
        return (self.src,) if self.tgt is None else (self.src, self.tgt)

    def can_collate_batch(self) -> bool:
        changed = self.append_eos_to_target or self.append_bos or self.remove_eos_from_source
        extra = self.align_dataset is not None or self.constraints is not None
        return not changed and not extra and all(map(can_gather, self.sources()))

    def collate_batch(self, reader: BatchReader) -> dict[str, Any]:
        source = reader.gather(self.src)
        order = np.argsort(-source.lengths.astype(np.int64), kind="stable")

        def merge(rows: Ragged, left_pad: bool) -> torch.Tensor:
            width = padded_size(int(rows.lengths.max()), pad_to_multiple=self.pad_to_multiple)
            return torch.from_numpy(rows.pad(self.src_dict.pad(), left_pad, width)[order])

        net_input = {
            "src_tokens": merge(source, self.left_pad_source),
            "src_lengths": torch.from_numpy(source.lengths[order].astype(np.int64)),
        }
        batch: dict[str, Any] = {
            "id": torch.from_numpy(reader.indices[order]),
            "nsentences": len(order),
            "ntokens": len(source.flat),
            "net_input": net_input,
            "target": None,
        }
        if self.tgt is not None:
            target = reader.gather(self.tgt)
            batch["ntokens"] = len(target.flat)
            batch["target"] = merge(target, self.left_pad_target)
            if self.input_feeding:
                net_input["prev_output_tokens"] = merge(target.shift(self.eos), self.left_pad_target)
        return self._with_languages(batch)

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
