"""Read a table of numbers with a class in each row from a CSV file, as it is or packed with gzip.

mean,width,class        a first line that holds no numbers is a header
140.5,55.6,0            features, then the class, from 0 on; another column may hold it, see `label_column`
"""

import csv
import gzip
import io
import math
import zlib
from pathlib import Path

import numpy as np

from fairseq.errors import ConfigError, DataError, reason, shortened, unknown

Table = tuple[np.ndarray, np.ndarray]  # (N, features) float32 and (N,) int64


def read_text(path: Path) -> str:
    """The content of a text file, unpacked if it begins like a gzip file.

    Raises:
        DataError: missing, damaged, or not UTF-8.
    """
    try:
        content = path.read_bytes()
        return (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({reason(error)}); copy it again") from None


def read_table(path: Path, num_features: int, num_classes: int, label_column: str = "-1") -> Table:
    """Features and classes of a CSV file.

    Args:
        num_features, num_classes: what the file must have.
        label_column: number of the column with the class, from 0 on, or -1 for the last; or its name in the header.

    Raises:
        DataError: with the number of the line that is not like that.
        ConfigError: no such column.
    """
    rows = csv.reader(io.StringIO(read_text(path), newline=""))
    features: list[list[float]] = []
    labels: list[int] = []
    column = None
    for row in rows:
        if not row:
            continue
        where = f"{path}, line {rows.line_num}"
        is_header = column is None and not any(map(is_number, row))
        if column is None:
            column = position(label_column, row if is_header else [], len(row), path)
        if len(row) != num_features + 1:
            raise DataError(
                f"{where}: {len(row)} columns, expected {num_features} features and the class; change the file or "
                "task.num_features (--num-features)"
            )
        if is_header:
            continue
        numbers = [number(text, where) for text in row]
        label = numbers.pop(column)
        if label not in range(num_classes):
            raise DataError(
                f"{where}: class {shortened(row[column])} is none of 0 to {num_classes - 1}; change the file or "
                "task.num_classes (--num-classes)"
            )
        features.append(numbers)
        labels.append(int(label))
    if not features:
        raise DataError(f"{path} has no rows")
    return np.array(features, dtype=np.float32), np.array(labels, dtype=np.int64)


def position(label_column: str, header: list[str], width: int, path: Path) -> int:
    """The place of `label_column`, a name in `header` or a number, in a row of `width` columns."""
    names = [name.strip() for name in header]
    if label_column in names:
        return names.index(label_column)
    try:
        index = int(label_column)
    except ValueError:
        described = unknown("column", label_column, names, where=str(path))
        raise ConfigError(f"task.label_column (--label-column): {described}") from None
    if not -width <= index < width:
        raise ConfigError(f"task.label_column={index} (--label-column): {path} has {width} columns")
    return index % width


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def number(text: str, where: str) -> float:
    if not is_number(text) or not math.isfinite(value := float(text)):
        raise DataError(f"{where}: expected a number, found {shortened(text)}")
    return value
