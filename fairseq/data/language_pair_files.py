"""Pairs of binarised texts in a data folder, as fairseq-preprocess writes them.

    iwslt-bin/{dict.de.txt,dict.en.txt,train.de-en.de.bin,train.de-en.de.idx,train.de-en.en.bin,...}

A folder made for one direction serves the other one, too. A split without targets can be translated, not trained on.
"""

import itertools
import logging
import os
from typing import Any, Optional

from fairseq.data.append_token_dataset import AppendTokenDataset
from fairseq.data.concat_dataset import ConcatDataset
from fairseq.data.errors import MissingDataError
from fairseq.data.indexed.names import data_file_path, index_file_path
from fairseq.data.indexed_dataset import dataset_exists, infer_dataset_impl
from fairseq.data.language_pair_dataset import LanguagePairDataset
from fairseq.data.prepend_token_dataset import PrependTokenDataset
from fairseq.data.shorten_dataset import TruncateDataset
from fairseq.data.splits import load_indexed_dataset
from fairseq.data.strip_token_dataset import StripTokenDataset
from fairseq.errors import DataError
from fairseq.file_io import exists

logger = logging.getLogger("fairseq.tasks.translation")  # the name fairseq logs this under


def load_langpair_dataset(
    data_path: str,
    split: str,
    src: str,
    src_dict: Any,
    tgt: str,
    tgt_dict: Any,
    combine: bool,
    dataset_impl: Optional[str],
    upsample_primary: int,
    left_pad_source: bool,
    left_pad_target: bool,
    max_source_positions: int,
    max_target_positions: int,
    prepend_bos: bool = False,
    load_alignments: bool = False,
    truncate_source: bool = False,
    append_source_id: bool = False,
    num_buckets: int = 0,
    shuffle: bool = True,
    pad_to_multiple: int = 1,
    prepend_bos_src: Optional[int] = None,
) -> LanguagePairDataset:
    """The pairs of a split.

    Args:
        data_path: folder.
        split: train, valid, test, ...; with `combine` also `train1`, `train2`, ... as far as they exist.
        src, tgt: languages, as in the names of the files.
        dataset_impl: format of the files; None: what their index says.
        upsample_primary: how often the first of several combined parts occurs; -1: once.
        max_source_positions: what `truncate_source` shortens sources to, eos included.
        max_target_positions: nothing here; batches leave out what is longer.
        prepend_bos: begin sources and targets with bos; `prepend_bos_src`: sources with this id, where that is not set.
        load_alignments: add word alignments, from `SPLIT.align.SRC-TGT`.
        append_source_id: end sources with `[SRC]` and targets with `[TGT]`, which the dictionaries must have.
        num_buckets, shuffle, pad_to_multiple, left_pad_source, left_pad_target: see `LanguagePairDataset`.

    Raises:
        DataError: there is no such split, or its sides have different numbers of sentences.
    """
    sources, targets = [], []
    for k in itertools.count():
        part = f"{split}{k}" if k else split
        prefix = _prefix(data_path, part, src, tgt, dataset_impl)
        if prefix is None:
            if k == 0:
                raise _missing(data_path, split, src, tgt)
            break
        source = load_indexed_dataset(prefix + src, src_dict, dataset_impl)
        if source is None:
            raise MissingDataError(f"{prefix}{src} cannot be read as dataset_impl={dataset_impl}")
        if truncate_source:
            without_eos = StripTokenDataset(source, src_dict.eos())
            source = AppendTokenDataset(TruncateDataset(without_eos, max_source_positions - 1), src_dict.eos())
        target = load_indexed_dataset(prefix + tgt, tgt_dict, dataset_impl)
        if target is not None and len(target) != len(source):
            raise DataError(
                f"{prefix}{src} has {len(source)} sentences, {prefix}{tgt} {len(target)}; preprocess the data again"
            )
        sources.append(source)
        targets.append(target)
        logger.info(f"{data_path} {part} {src}-{tgt} {len(source)} examples")
        if not combine:
            break
    if len({target is None for target in targets}) > 1:
        raise DataError(f"{data_path}: some parts of split {split!r} have no {tgt} side; preprocess them again")

    ratios = [max(upsample_primary, 1)] + [1] * (len(sources) - 1)
    source = sources[0] if len(sources) == 1 else ConcatDataset(sources, ratios)
    target = targets[0] if len(sources) == 1 or targets[0] is None else ConcatDataset(targets, ratios)
    if prepend_bos:
        source = PrependTokenDataset(source, src_dict.bos())
        target = PrependTokenDataset(target, tgt_dict.bos()) if target is not None else None
    elif prepend_bos_src is not None:
        logger.info(f"prepending src bos: {prepend_bos_src}")
        source = PrependTokenDataset(source, prepend_bos_src)
    eos = None
    if append_source_id:
        source = AppendTokenDataset(source, src_dict.index(f"[{src}]"))
        eos = tgt_dict.index(f"[{tgt}]")
        target = AppendTokenDataset(target, eos) if target is not None else None
    return LanguagePairDataset(
        source,
        source.sizes,
        src_dict,
        target,
        target.sizes if target is not None else None,
        tgt_dict,
        left_pad_source=left_pad_source,
        left_pad_target=left_pad_target,
        align_dataset=_alignments(data_path, split, src, tgt, len(source)) if load_alignments else None,
        eos=eos,
        num_buckets=num_buckets,
        shuffle=shuffle,
        pad_to_multiple=pad_to_multiple,
    )


def pair_is_there(folder: str, split: str, src: str, tgt: str) -> bool:
    """Whether the folder has a split of this pair, made for either direction."""
    return _prefix(folder, split, src, tgt, None) is not None


def _prefix(folder: str, part: str, src: str, tgt: str, impl: Optional[str]) -> Optional[str]:
    """`folder/part.de-en.` where the files of one direction or the other are; None if there are none."""
    for pair in (f"{src}-{tgt}", f"{tgt}-{src}"):
        prefix = os.path.join(folder, f"{part}.{pair}.")
        if dataset_exists(prefix + src, impl) if impl is not None else infer_dataset_impl(prefix + src) is not None:
            return prefix
    return None


def _missing(folder: str, split: str, src: str, tgt: str) -> DataError:
    """What to say of a split that is not there: a folder, one file of a pair, or all of it is missing."""
    if not exists(folder):
        return MissingDataError(f"Dataset not found: {split} ({folder}): no such folder; check task.data")
    for pair in (f"{src}-{tgt}", f"{tgt}-{src}"):
        path = os.path.join(folder, f"{split}.{pair}.{src}")
        for there, absent in ((index_file_path, data_file_path), (data_file_path, index_file_path)):
            if exists(there(path)) and not exists(absent(path)):
                return MissingDataError(f"{there(path)} is there, but {absent(path)} is not; preprocess the data again")
    return MissingDataError(
        f"Dataset not found: {split} ({folder}): there is no {split}.{src}-{tgt}.{src}.idx; "
        "check --source-lang, --target-lang and the names of the splits"
    )


def _alignments(folder: str, split: str, src: str, tgt: str, count: int) -> Optional[Any]:
    path = os.path.join(folder, f"{split}.align.{src}-{tgt}")
    alignments = load_indexed_dataset(path)
    if alignments is None:
        logger.warning(f"{folder} has no alignments for split {split!r}: there is no {path}.idx")
    elif len(alignments) != count:
        raise DataError(f"{path} has alignments of {len(alignments)} pairs, split {split!r} has {count}")
    return alignments
