"""Reading `dict.txt`, and counting the words of a text to make one; the format: see `fairseq.data.dictionary`.

>>> parse_entries(["the 30", "a b 7", "the 1 #fairseq:overwrite"], 0, "dict.txt")
Entries(symbols=['the', 'a b', 'the'], counts=[30, 7, 1], overwrites={2})
"""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain, islice
from typing import NamedTuple, Optional, TextIO, Union

from fairseq.data.errors import DuplicateSymbolError, MissingDataError
from fairseq.errors import DataError
from fairseq.file_chunker_utils import iter_lines

OVERWRITE = "#fairseq:overwrite"
_LINES_AT_ONCE = 1024


class Entries(NamedTuple):
    """Symbols and counts of a file; `overwrites`: positions of those that may be there already."""

    symbols: list[str]
    counts: list[int]
    overwrites: set[int]


def read_lines(f: Union[str, os.PathLike, TextIO]) -> tuple[str, list[str]]:
    """Name and lines of a dictionary file.

    Raises:
        DataError: it is missing, unreadable or not UTF-8.
    """
    if not isinstance(f, (str, os.PathLike)):
        name, text = getattr(f, "name", "dictionary"), f.read()
    else:
        name = os.fspath(f)
        try:
            with open(f, encoding="utf-8") as file:
                text = file.read()
        except FileNotFoundError:
            raise MissingDataError(f"no dictionary {name}; check the data folder") from None
        except OSError as error:
            raise DataError(f"cannot read dictionary {name}: {error.strerror}") from None
        except UnicodeDecodeError as error:
            raise DataError(f"{name} is not UTF-8 (byte {error.start}); rebuild the data set") from None
    lines = text.split("\n")
    return name, lines if lines[-1] else lines[:-1]


def parse_entries(lines: Sequence[str], first: int, name: str) -> Entries:
    """The entries from the line with index `first` on; a malformed line is a DataError with its number."""
    entries = Entries([], [], set())
    for number, line in enumerate(lines[first:], first + 1):
        symbol, space, count = line.rstrip().rpartition(" ")
        if count == OVERWRITE:
            symbol, space, count = symbol.rpartition(" ")
            entries.overwrites.add(len(entries.symbols))
        try:
            entries.counts.append(int(count))
        except ValueError:
            space = ""
        if not space:
            raise DataError(f"{name}, line {number}: expected '<symbol> <count>', found {line[:80]!r}")
        entries.symbols.append(symbol)
    return entries


def check_duplicates(entries: Entries, known: set[str], first: int, name: str) -> None:
    """DuplicateSymbolError for the first symbol that is known, or in the file, already and does not overwrite."""
    for position, symbol in enumerate(entries.symbols):
        if symbol in known and position not in entries.overwrites:
            raise DuplicateSymbolError(
                f"{name}, line {first + position + 1}: duplicate symbol {symbol!r}; remove the line, or end it with "
                f"{OVERWRITE} to let it replace the earlier one"
            )
        known.add(symbol)


def count_words(
    filename: str,
    tokenize: Callable[[str], list[str]],
    eos_word: str,
    start: int = 0,
    end: int = -1,
    seen: Optional[Callable[[int], None]] = None,
) -> Counter[str]:
    """How often each word occurs between two offsets of `find_offsets`, with one `eos_word` a line.

    Args:
        seen: told how many bytes have been read.
    """
    counter: Counter[str] = Counter()
    lines = iter_lines(filename, start, end, seen)
    num_lines = 0
    while block := list(islice(lines, _LINES_AT_ONCE)):
        counter.update(chain.from_iterable(map(tokenize, block)))
        num_lines += len(block)
    if num_lines:
        counter[eos_word] += num_lines
    return counter
