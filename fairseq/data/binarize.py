"""Text files -> indexed datasets: what `fairseq-preprocess` does with each file, with any number of processes.

A binarizer turns one line into one item; `FileBinarizer` runs it over a file. The file is cut at line ends into one
piece per worker, a small one into fewer; each worker writes its own data set, and the pieces are joined in order, so
the bytes do not depend on the number of workers. The result gets its final name only when it is complete.

    summary = FileBinarizer.multiprocess_dataset(
        "train.txt", "mmap", VocabularyDatasetBinarizer(dictionary), "bin/train", len(dictionary), num_workers=4
    )
    print(summary)  # 2490 sents, 168632 tokens, 0.0% replaced (by <unk>)
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import repeat
from typing import Any, Optional, Protocol, TypeGuard

import numpy as np
import torch

from fairseq.data.dictionary import Dictionary
from fairseq.data.file_work import over_pieces, pieces_of
from fairseq.data.indexed.mmap_builder import MMapIndexedDatasetBuilder
from fairseq.data.indexed_dataset import data_file_path, index_file_path, make_builder
from fairseq.errors import DataError
from fairseq.file_chunker_utils import Chunker
from fairseq.tokenizer import tokenize_line

_IDS_AT_ONCE = 1 << 16


@dataclass
class BinarizeSummary:
    """Counts over the lines of a file or of a piece of it; `replaced` holds the words that the dictionary lacks.

    >>> print(BinarizeSummary(Counter({"zyzzyva": 1}), num_seq=2, num_tok=8))
    2 sents, 8 tokens, 12.5% replaced
    """

    replaced: Optional[Counter] = None
    num_seq: int = 0
    num_tok: int = 0

    @property
    def num_replaced(self) -> int:
        return sum(self.replaced.values()) if self.replaced is not None else 0

    @property
    def replaced_percent(self) -> float:
        return 100 * self.num_replaced / self.num_tok if self.num_tok else 0.0

    def merge(self, other: "BinarizeSummary") -> None:
        """Add the counts of another piece."""
        if other.replaced is not None:
            self.replaced = (self.replaced or Counter()) + other.replaced
        self.num_seq += other.num_seq
        self.num_tok += other.num_tok

    def __str__(self) -> str:
        counts = f"{self.num_seq} sents, {self.num_tok} tokens"
        if self.replaced is None:
            return counts
        percent = self.replaced_percent
        return f"{counts}, {percent:.3}% replaced" if percent < 99.95 else f"{counts}, 100% replaced"


class Binarizer(Protocol):
    """Turns one line into one item and counts it in `summary`; must be picklable for several workers."""

    def binarize_line(self, line: str, summary: BinarizeSummary) -> torch.Tensor: ...


@dataclass
class VocabularyDatasetBinarizer:
    """A line of words -> int32 ids `(T,)` by a dictionary; words that are not in it become `<unk>` and are counted.

    Args:
        append_eos: end each item with eos.
        reverse_order: last word first (eos stays last).
        already_numberized: the line holds ids, not words.
    """

    dict: Dictionary
    tokenize: Callable[[str], list[str]] = tokenize_line
    append_eos: bool = True
    reverse_order: bool = False
    already_numberized: bool = False

    def binarize_line(self, line: str, summary: BinarizeSummary) -> torch.Tensor:
        return torch.tensor(self.ids(line, summary), dtype=torch.int32)

    def ids(self, line: str, summary: BinarizeSummary) -> list[int]:
        """`binarize_line` as a list."""
        if summary.replaced is None:
            summary.replaced = Counter()
        words = self.tokenize(line)
        if self.reverse_order:
            words.reverse()
        if self.already_numberized:
            ids = _numbers(words, line)
        else:
            unk = self.dict.unk()
            ids = list(map(self.dict.indices.get, words, repeat(unk)))
            if unk in ids:
                unknown = (word for word, idx in zip(words, ids, strict=True) if idx == unk)
                summary.replaced.update(word for word in unknown if word != self.dict.unk_word)
        if self.append_eos:
            ids.append(self.dict.eos())
        summary.num_seq += 1
        summary.num_tok += len(ids)
        return ids


@dataclass
class AlignmentDatasetBinarizer:
    """A line of word alignments (`0-0 1-2`) -> what `alignment_parser` makes of it."""

    alignment_parser: Callable[[str], torch.Tensor]

    def binarize_line(self, line: str, summary: BinarizeSummary) -> torch.Tensor:
        item = self.alignment_parser(line)
        summary.num_seq += 1
        summary.num_tok += len(item)
        return item


@dataclass
class FileBinarizer:
    """Runs a binarizer over a file; see `multiprocess_dataset`."""

    binarizer: Binarizer
    dataset_impl: str = "mmap"
    vocab_size: Optional[int] = None

    @classmethod
    def multiprocess_dataset(
        cls,
        input_file: str,
        dataset_impl: str,
        binarizer: Binarizer,
        output_prefix: str,
        vocab_size: Optional[int] = None,
        num_workers: int = 1,
    ) -> BinarizeSummary:
        """Write `output_prefix.bin` and `.idx` with one item for each line of `input_file`.

        Args:
            vocab_size: number of ids, from which `mmap` picks its element type; None for data that are no ids.

        Raises:
            DataError: the file is missing or not UTF-8, or a line cannot be read.
        """
        return cls(binarizer, dataset_impl, vocab_size)._run(input_file, output_prefix, num_workers)

    def _run(self, input_file: str, output_prefix: str, num_workers: int) -> BinarizeSummary:
        if not os.path.isfile(input_file):
            raise DataError(f"no file {input_file}; check the prefix and the language suffix")
        chunks = pieces_of(input_file, num_workers)
        pieces = [_worker_prefix(output_prefix, number) for number in range(len(chunks))]
        try:
            words = [(input_file, piece, *chunk) for piece, chunk in zip(pieces, chunks, strict=True)]
            summaries = over_pieces(self._binarize_chunk, words, f"binarizing {os.path.basename(input_file)}")
            self._join(pieces, output_prefix)
        finally:
            for piece in (*pieces, f"{output_prefix}.part"):
                _remove(piece)
        total = summaries[0]
        for summary in summaries[1:]:
            total.merge(summary)
        return total

    def _binarize_chunk(
        self, input_file: str, piece: str, start: int, end: int, seen: Callable[[int], None]
    ) -> BinarizeSummary:
        summary = BinarizeSummary()
        builder = make_builder(data_file_path(piece), impl=self.dataset_impl, vocab_size=self.vocab_size)
        with Chunker(input_file, start, end, seen) as lines:
            if isinstance(builder, MMapIndexedDatasetBuilder) and _takes_lines_as_they_are(self.binarizer):
                _add_ids(builder, (self.binarizer.ids(line, summary) for line in lines))
            else:
                for line in lines:
                    builder.add_item(self.binarizer.binarize_line(line, summary))
        builder.finalize(index_file_path(piece))
        return summary

    def _join(self, pieces: list[str], output_prefix: str) -> None:
        complete = pieces[0]
        if len(pieces) > 1:
            complete = f"{output_prefix}.part"
            builder = make_builder(data_file_path(complete), impl=self.dataset_impl, vocab_size=self.vocab_size)
            for piece in pieces:
                builder.merge_file_(piece)
                _remove(piece)
            builder.finalize(index_file_path(complete))
        os.replace(data_file_path(complete), data_file_path(output_prefix))
        os.replace(index_file_path(complete), index_file_path(output_prefix))


class LegacyBinarizer:
    """The binarizers as functions that hand each item to `consumer`, and return counts."""

    @classmethod
    def binarize(
        cls,
        filename: str,
        dico: Dictionary,
        consumer: Callable[[torch.Tensor], Any],
        tokenize: Callable[[str], list[str]] = tokenize_line,
        append_eos: bool = True,
        reverse_order: bool = False,
        offset: int = 0,
        end: int = -1,
        already_numberized: bool = False,
    ) -> dict[str, Any]:
        """The lines of a file, or of a piece of it, by a dictionary."""
        binarizer = VocabularyDatasetBinarizer(dico, tokenize, append_eos, reverse_order, already_numberized)
        return cls._consume_file(filename, binarizer, consumer, offset, end)

    @classmethod
    def binarize_alignments(
        cls,
        filename: str,
        alignment_parser: Callable[[str], torch.Tensor],
        consumer: Callable[[torch.Tensor], Any],
        offset: int = 0,
        end: int = -1,
    ) -> dict[str, Any]:
        return cls._consume_file(filename, AlignmentDatasetBinarizer(alignment_parser), consumer, offset, end)

    @staticmethod
    def _consume_file(
        filename: str, binarizer: Binarizer, consumer: Callable, offset_start: int, offset_end: int
    ) -> dict[str, Any]:
        summary = BinarizeSummary()
        with Chunker(filename, offset_start, offset_end) as lines:
            for line in lines:
                consumer(binarizer.binarize_line(line, summary))
        return {
            "nseq": summary.num_seq,
            "nunk": summary.num_replaced,
            "ntok": summary.num_tok,
            "replaced": summary.replaced,
        }


def _takes_lines_as_they_are(binarizer: Binarizer) -> TypeGuard[VocabularyDatasetBinarizer]:
    """True unless a class of a user's own makes other items of the lines."""
    return getattr(type(binarizer), "binarize_line", None) is VocabularyDatasetBinarizer.binarize_line


def _add_ids(builder: MMapIndexedDatasetBuilder, items: Iterable[list[int]]) -> None:
    """`builder.add_item` for each item, many at a time: a call for every line would take most of the time."""
    ids: list[int] = []
    sizes: list[int] = []
    for item in items:
        ids += item
        sizes.append(len(item))
        if len(ids) >= _IDS_AT_ONCE:
            builder.add_items(np.array(ids), sizes)
            ids, sizes = [], []
    builder.add_items(np.array(ids, np.int64), sizes)


def _worker_prefix(output_prefix: str, worker_id: int) -> str:
    return f"{output_prefix}.pt{worker_id}"


def _numbers(words: list[str], line: str) -> list[int]:
    try:
        return [int(word) for word in words]
    except ValueError:
        raise DataError(f"expected numbers only, found {line.strip()[:80]!r}") from None


def _remove(prefix: str) -> None:
    for path in (data_file_path(prefix), index_file_path(prefix)):
        if os.path.exists(path):
            os.unlink(path)


def write_items(prefix: str, items: Iterable[Any], vocab_size: Optional[int] = None) -> None:
    """Write items (ids as tensors, arrays or lists) to `prefix.bin` and `prefix.idx` in the mmap format."""
    part = f"{prefix}.part"
    try:
        builder = make_builder(data_file_path(part), impl="mmap", vocab_size=vocab_size)
        for item in items:
            builder.add_item(item)
        builder.finalize(index_file_path(part))
        os.replace(data_file_path(part), data_file_path(prefix))
        os.replace(index_file_path(part), index_file_path(prefix))
    finally:
        _remove(part)


def parse_alignment(line: str) -> torch.Tensor:
    """`0-0 1-2` -> int32 `(2 * N,)`: source and target position of each pair in turn.

    Raises:
        DataError: a pair is not two numbers joined by `-`.

    >>> parse_alignment("0-0 1-2").tolist()
    [0, 0, 1, 2]
    """
    try:
        pairs = [tuple(map(int, pair.split("-"))) for pair in line.split()]
    except ValueError:
        pairs = [()]
    if any(len(pair) != 2 for pair in pairs):
        raise DataError(f"an alignment is a list of pairs like 0-0 1-2, found {line.strip()[:80]!r}")
    return torch.tensor([position for pair in pairs for position in pair], dtype=torch.int32)


__all__: list[Any] = [
    "AlignmentDatasetBinarizer",
    "BinarizeSummary",
    "Binarizer",
    "FileBinarizer",
    "VocabularyDatasetBinarizer",
    "parse_alignment",
    "write_items",
]
