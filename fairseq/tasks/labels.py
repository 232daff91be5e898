"""Labels of sentence prediction: the numbers of a regression, the classes of a classification.

>>> parse_number("2.5", 1, "train.label", 7)
[2.5]
>>> parse_number("high", 1, "train.label", 7)
Traceback (most recent call last):
...
fairseq.errors.DataError: train.label, line 7: 'high' is not a number
"""

import math
from typing import Any

import numpy as np

from fairseq.data import Dictionary
from fairseq.data.ragged import BatchReader, can_gather
from fairseq.errors import DataError

MAX_FLOAT = float(np.finfo(np.float32).max)


def read_numbers(path: str, num_targets: int) -> list[list[float]]:
    """The targets of a regression: `num_targets` numbers on each line.

    Raises:
        DataError: the file cannot be read, or a line holds something else; says which.
    """
    try:
        with open(path, encoding="utf-8") as file:
            return [parse_number(line, num_targets, path, number) for number, line in enumerate(file, 1)]
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8; prepare the data again") from None


def parse_number(line: str, num_targets: int, path: str, number: int) -> list[float]:
    """The numbers on one line.

    Raises:
        DataError: too few or too many, or not numbers; says in which file and line.
    """
    words = line.split()
    if len(words) != num_targets:
        raise DataError(f"{path}, line {number}: expected {num_targets} number(s), found {line.strip()[:80]!r}")
    values = []
    for word in words:
        try:
            values.append(float(word))
        except ValueError:
            raise DataError(f"{path}, line {number}: {word[:80]!r} is not a number") from None
        if not math.isfinite(values[-1]):
            raise DataError(f"{path}, line {number}: {word[:80]!r} is not a finite number")
        if abs(values[-1]) > MAX_FLOAT:
            raise DataError(f"{path}, line {number}: {word[:80]!r} is beyond single precision, in which models compute")
    return values


def read_choices(path: str, num_choices: int) -> list[int]:
    """The number, from 0, of the right candidate: one on each line.

    Raises:
        DataError: something else; says in which file and line.
    """
    choices = [value for (value,) in read_numbers(path, 1)]
    for number, value in enumerate(choices, 1):
        if value not in range(num_choices):
            raise DataError(
                f"{path}, line {number}: {value:g} is none of the candidates 0 to {num_choices - 1} "
                f"(task.num_classes={num_choices})"
            )
    return [int(value) for value in choices]


def read_classes(labels: Any, dictionary: Dictionary, num_classes: int, path: str) -> list[list[int]]:
    """The classes of a classification, one for each example: symbols of the label dictionary less its special ones.

    Args:
        labels: indexed dataset of label symbols, with or without eos.
        path: where it lies, for messages.

    Raises:
        DataError: an example without exactly one label, or with one that is not among `num_classes`.
    """
    tokens, lengths = _tokens(labels)
    ended = lengths > 0  # an example without any token has no last one
    without_eos = np.array(lengths)
    without_eos[ended] -= tokens[np.cumsum(lengths)[ended] - 1] == dictionary.eos()
    if (without_eos != 1).any():
        example = int(np.flatnonzero(without_eos != 1)[0])
        raise DataError(f"{path}: example {example} has {without_eos[example]} labels instead of one")
    classes = tokens[np.cumsum(lengths) - lengths].astype(np.int64) - dictionary.nspecial
    wrong = (classes < 0) | (classes >= num_classes)
    if wrong.any():
        example = int(np.flatnonzero(wrong)[0])
        label = dictionary[int(classes[example]) + dictionary.nspecial]
        raise DataError(
            f"{path}: label {label!r} of example {example} is class {classes[example]}, out of range for "
            f"task.num_classes={num_classes}: label/dict.txt does not fit --num-classes"
        )
    return classes[:, None].tolist()


def _tokens(labels: Any) -> tuple[np.ndarray, np.ndarray]:
    """All tokens of a dataset in one array, and the number of tokens of each item."""
    if not len(labels):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    if can_gather(labels):
        ragged = BatchReader(range(len(labels))).gather(labels)
        return ragged.flat, np.asarray(ragged.lengths)
    items = [labels[index].numpy() for index in range(len(labels))]
    return np.concatenate(items), np.array([len(item) for item in items])
