"""Rows of a table -> examples: one or two texts and a label, checked.

    examples = read_examples(read_table(path, columns), ["question", "answer"], "label", regression=False)
    examples.texts[0], examples.labels[0]       # ("Is it on?", "The lamp is lit."), "yes"

An empty text is a text without words. A row without a label is an error, or left out where that is asked for.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

from fairseq.data.dictionary import Dictionary
from fairseq.errors import DataError, shortened
from fairseq.own_data.tables import Table
from fairseq.tasks.labels import MAX_FLOAT

MOST_CLASSES = 1000  # of a column that holds classes and not numbers or texts


@dataclass
class Examples:
    """Texts and label of each example; `labels` is None where the table has none.

    Attributes:
        table, rows: where they come from.
        unlabelled: how many rows without a label were left out.
    """

    table: Table
    rows: list[int]
    texts: list[tuple[str, ...]]
    labels: Optional[list[str]]
    unlabelled: int = 0

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def empty(self) -> int:
        """How many examples have no text at all."""
        return sum(not any(text) for text in self.texts)

    def where(self, index: int) -> str:
        """Where an example stands, for messages."""
        return self.table.where(self.rows[index])

    def part(self, indices: Sequence[int]) -> "Examples":
        """Some of the examples."""
        labels = None if self.labels is None else [self.labels[index] for index in indices]
        rows, texts = [self.rows[index] for index in indices], [self.texts[index] for index in indices]
        return Examples(self.table, rows, texts, labels, self.unlabelled)


def read_examples(
    table: Table, text: Sequence[str], label: str, *, regression: bool, skip_unlabelled: bool = False
) -> Examples:
    """The examples of a table.

    Raises:
        DataError: a row has no label, or one that no label dictionary can hold, or, in a regression, no number.
    """
    texts = list(zip(*([cell or "" for cell in table.columns[name]] for name in text), strict=True))
    cells = table.columns.get(label)
    if cells is None:
        return Examples(table, list(range(len(table))), texts, None)
    rows, labels = [], []
    for row, cell in enumerate(cells):
        if cell is None and skip_unlabelled:
            continue
        if cell is None:
            raise DataError(f"{table.where(row)}: no {label!r}; add it, or leave such rows out by --skip-unlabelled")
        name = " ".join(cell.split())
        if regression:
            _check_number(table, row, name)
        elif not _is_class(name):
            raise DataError(f"{table.where(row)}: {shortened(name)} cannot be the name of a class; rename the class")
        rows.append(row)
        labels.append(name)
    if not rows:
        raise DataError(f"{table.path} has no example with a {label!r}")
    return Examples(table, rows, [texts[row] for row in rows], labels, len(cells) - len(rows))


def check_classes(train: Examples, label: str) -> None:
    """Raise DataError where the labels of a training set are no classes."""
    counts = Counter(train.labels or [])
    if len(counts) < 2:
        raise DataError(f"{train.table.path}: all of {label!r} is {next(iter(counts))!r}; two classes are the fewest")
    many = len(counts) > 20 and len(counts) * 2 > len(train)
    if len(counts) > MOST_CLASSES or many:
        advice = "numbers take --regression" if all(map(_is_number, counts)) else "name another column by --label"
        raise DataError(f"{train.table.path}: {label!r} has {len(counts)} values in {len(train)} rows; {advice}")


def check_known(examples: Examples, names: Sequence[str], train: Examples) -> None:
    """Raise DataError where a label does not occur in the training set."""
    known = set(names)
    for index, name in enumerate(examples.labels or []):
        if name not in known:
            listed = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
            raise DataError(
                f"{examples.where(index)}: the label {shortened(name)} does not occur in {train.table.path} ({listed})"
                "; correct it, or leave the row out"
            )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _check_number(table: Table, row: int, text: str) -> None:
    if not _is_number(text):
        raise DataError(f"{table.where(row)}: {shortened(text)} is not a number; leave out --regression for classes")
    if not abs(float(text)) <= MAX_FLOAT:
        raise DataError(f"{table.where(row)}: {shortened(text)} is no finite number of single precision")


def _is_class(name: str) -> bool:
    """Whether a label dictionary can hold the name."""
    return name not in Dictionary() and name != "<mask>" and not name.startswith("madeupword")
