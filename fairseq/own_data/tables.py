"""Columns of a table in a file: CSV, TSV, JSON lines, JSON, Parquet; also with `.gz` behind it.

    table = read_table(Path("train.csv"), ["question", "answer", "label"])
    table.columns["label"], table.places[0]         # (["yes", None], "line 2")

An empty cell is None. CSV is read as spreadsheets write it: a field in double quotes may hold the delimiter, line
breaks and doubled quotes. A TSV file has no quotes unless it is asked for, as a `"` is an ordinary character in GLUE's
files. Only columns that are asked for need to be clean.
"""

import csv
import gzip
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Optional

from fairseq.data.errors import MissingDataError
from fairseq.errors import ConfigError, DataError, nearest, reason, shortened

Cell = Optional[str]
FORMATS = {
    ".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl",
    ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip


@dataclass
class Table:
    """Columns by name, all of one length, and where each row stands in the file: `line 2`, `row 1`."""

    path: Path
    columns: dict[str, list[Cell]]
    places: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.places)

    def where(self, row: int) -> str:
        """Where a row stands, for messages."""
        return f"{self.path}, {self.places[row]}"


def read_table(
    path: Path,
    wanted: Sequence[str],
    optional: Sequence[str] = (),
    *,
    delimiter: Optional[str] = None,
    quotes: Optional[bool] = None,
    first: Optional[int] = None,
) -> Table:
    """The columns `wanted` of a file, and those of `optional` that it has.

    Args:
        delimiter: between fields of CSV and TSV (default: a comma or a tab, by the file's name).
        quotes: whether quotes enclose fields (default: in CSV).
        first: read so many rows only.

    Raises:
        DataError: the file cannot be read, has no rows, lacks a column or has it twice, or a row is malformed.
        ConfigError: a kind of file that is not known.
    """
    kind = kind_of(path)
    if not path.is_file():
        raise MissingDataError(f"there is no file {path}; check its name")
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
        raise ConfigError(f"--delimiter takes one character, not {delimiter!r}")
    if kind == "parquet":
        table = _read_parquet(path, wanted, optional, first)
    elif kind == "jsonl":
        table = _read_json(path, wanted, optional, first)
    else:
        separator = delimiter or ("\t" if kind == "tsv" else ",")
        quoted = kind == "csv" if quotes is None else quotes
        table = _read_delimited(path, wanted, optional, separator, quoted, first)
    if not table.places:
        raise DataError(f"{path} has no examples")
    return table


def kind_of(path: Path) -> str:
    """csv, tsv, jsonl or parquet, by the name of a file.

    Raises:
        ConfigError: another one.

    >>> kind_of(Path("reviews.tsv.gz"))
    'tsv'
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    kind = FORMATS.get(suffixes[-1]) if suffixes else None
    if kind is None:
        raise ConfigError(f"{path}: the name of a table ends in {', '.join(FORMATS)}, also with .gz behind it")
    return kind


# -- CSV and TSV -----------------------------------------------------------------------------------------------------


def _read_delimited(
    path: Path, wanted: Sequence[str], optional: Sequence[str], delimiter: str, quoted: bool, first: Optional[int]
) -> Table:
    lines = _Lines(path)
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    limit = csv.field_size_limit(sys.maxsize)  # the library's 131072 characters are a long review's
    try:
        reader = csv.reader(lines, delimiter=delimiter, quoting=quoting, strict=quoted)
        header = [name.strip() for name in next(reader, [])]
        found = _choose(path, header, wanted, optional, delimiter)
        table = Table(path, {name: [] for name in found})
        while first is None or len(table) < first:
            line = reader.line_num + 1
            row = next(reader, None)
            if row is None:
                break
            if not row:
                continue
            if len(row) != len(header):
                advice = "; give --quotes if quotes enclose fields" if not quoted and any('"' in c for c in row) else ""
                raise DataError(f"{path}, line {line}: {len(row)} fields, {len(header)} in the header{advice}")
            for name, index in found.items():
                table.columns[name].append(row[index] if row[index].strip() else None)
            table.places.append(f"line {line}")
    except csv.Error as error:
        advice = "a quote in a field is written twice" if quoted else "get the file again"
        raise DataError(f"{path}, line {lines.number}: {reason(error)}; {advice}") from None
    finally:
        csv.field_size_limit(limit)
        lines.close()
    return table


def _choose(
    path: Path, header: Sequence[str], wanted: Sequence[str], optional: Sequence[str], delimiter: str = ""
) -> dict[str, int]:
    """Name -> index of the columns to read."""
    counts = Counter(header)
    for name in wanted:
        if name not in counts:
            names = ", ".join(header[:12]) + (", ..." if len(header) > 12 else "")
            guess = nearest(name, header)
            other = next((d for d in ";\t,|" if d != delimiter and len(header) == 1 and d in header[0]), None)
            advice = f"; did you mean {guess!r}?" if guess else ""
            if other is not None and delimiter:
                advice = f"; fields seem to be separated by {other!r}: give --delimiter {shell_character(other)}"
            raise DataError(f"{path} has no column {name!r}, but {names or 'none at all'}{advice}")
    for name in (*wanted, *optional):
        if counts[name] > 1:
            raise DataError(f"{path} has {counts[name]} columns {name!r}; rename all but the one to read")
    return {name: list(header).index(name) for name in (*wanted, *optional) if name in counts}


def shell_character(character: str) -> str:
    """How a delimiter is written on a command line.

    >>> shell_character(";"), shell_character("\\t")
    ("';'", "$'\\\\t'")
    """
    return "$'\\t'" if character == "\t" else f"'{character}'"


class _Lines:
    """Lines of a file in UTF-8, as they are, with the number of the last one."""

    def __init__(self, path: Path):
        self.path, self.number = path, 0
        self._file: Any = None
        self._lines = self._read()

    def __iter__(self) -> Iterator[str]:
        return self._lines

    def _read(self) -> Iterator[str]:
        start = "utf-8-sig"  # spreadsheets put a byte order mark in front
        try:
            opened: Any = gzip.open if self.path.suffix.lower() == ".gz" else open
            self._file = opened(self.path, "rt", encoding=start, newline="")
            for line in self._file:
                self.number += 1
                yield line
        except UnicodeDecodeError:
            advice = "save it as UTF-8, for example by iconv -f latin1 -t utf-8"
            raise DataError(f"{self.path} is not UTF-8 (after line {self.number}); {advice}") from None
        except (OSError, EOFError) as error:  # BadGzipFile is an OSError
            raise DataError(f"cannot read {self.path}: {reason(error)}; get the file again") from None

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


# -- JSON and Parquet --------------------------------------------------------------------------------------------------


def _read_json(path: Path, wanted: Sequence[str], optional: Sequence[str], first: Optional[int]) -> Table:
    rows = list(_json_rows(path, first))
    seen = {key for _, row in rows for key in row}
    found = _choose(path, sorted(seen), wanted, optional) if rows else {}
    table = Table(path, {name: [] for name in found})
    for place, row in rows:
        for name in found:
            table.columns[name].append(_scalar(row.get(name), f"{path}, {place}: {name!r}"))
        table.places.append(place)
    return table


def _json_rows(path: Path, first: Optional[int]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a file of JSON lines, or of a file that is one list of them, and their places."""
    lines = _Lines(path)
    count = 0
    try:
        for line in lines:
            if not line.strip():
                continue
            if count == 0 and line.lstrip().startswith("["):
                whole = _parse(line + "".join(lines), f"{path}")
                yield from ((f"row {n}", _object(row, f"{path}, row {n}")) for n, row in enumerate(whole[:first], 1))
                return
            if first is not None and count >= first:
                return
            count += 1
            where = f"{path}, line {lines.number}"
            yield f"line {lines.number}", _object(_parse(line, where), where)
    finally:
        lines.close()


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: no JSON object ({reason(error)})") from None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {twice!r} is there twice")
    return found


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DataError(f"{where}: expected an object with the columns' names, found {shortened(value)}")
    return value


def _scalar(value: Any, where: str) -> Cell:
    """A cell of JSON or Parquet as text; None where it is empty."""
    if value is None or value != value:  # NaN is how data frames keep what is missing
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if not isinstance(value, str):
        raise DataError(f"{where} is {shortened(value)}, neither text nor a number")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise DataError(f"{where} holds half of a surrogate pair, which is no text; get the file again") from None
    return value if value.strip() else None


def _read_parquet(path: Path, wanted: Sequence[str], optional: Sequence[str], first: Optional[int]) -> Table:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise DataError(f"{path}: reading Parquet needs pyarrow: pip install pyarrow, or save it as CSV") from None
    try:
        with parquet.ParquetFile(path) as file:
            header = list(file.schema_arrow.names)
            found = _choose(path, header, wanted, optional)
            table = Table(path, {name: [] for name in found})
            for batch in file.iter_batches(columns=list(found)):
                start = len(table.places)
                rows = batch.num_rows if first is None else min(batch.num_rows, first - start)
                table.places += [f"row {start + row + 1}" for row in range(rows)]
                for name in found:
                    cells: Iterable[Any] = batch.column(name).to_pylist()[:rows]
                    table.columns[name] += [_cell(cell, path, name, start + n) for n, cell in enumerate(cells, 1)]
                if first is not None and len(table.places) >= first:
                    break
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"cannot read {path}: {reason(error)}; get the file again") from None
    return table


def _cell(value: Any, path: Path, name: str, row: int) -> Cell:
    return _scalar(value, f"{path}, row {row}: {name!r}")
