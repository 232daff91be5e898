"""The nine GLUE tasks: files, columns and labels; and `read_split`, which reads one file.

The TSV files are UTF-8, without quoting (a `"` is an ordinary character). Columns are found by their header; CoLA's
files have none. A line of a training file with too few columns is skipped and counted; in an evaluation file it is an
error, since every example there must be scored.

>>> TASKS["RTE"].text, TASKS["MNLI"].splits["valid1"]
(('sentence1', 'sentence2'), ('dev_mismatched',))
>>> task("SST2")
Traceback (most recent call last):
...
fairseq.errors.ConfigError: unknown GLUE task 'SST2'; did you mean 'SST-2'?
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from fairseq.data.errors import MissingDataError
from fairseq.errors import ConfigError, DataError, unknown

logger = logging.getLogger(__name__)

BINARY = frozenset({"0", "1"})
ENTAILMENT = frozenset({"entailment", "not_entailment"})


@dataclass(frozen=True)
class GlueTask:
    """One task.

    Attributes:
        text: header of the one or two sentence columns.
        label: header of the label column.
        classes: the labels that may occur; empty for a score.
        max_score: the largest score of a regression task; scores are divided by it.
        splits: split -> stems of the file that holds it, the first one found is read.
        headerless: splits without a header line, with the columns they have.
        skips_bad_lines: training files are published with malformed lines.
    """

    name: str
    text: tuple[str, ...]
    label: str = "label"
    classes: frozenset[str] = BINARY
    max_score: Optional[float] = None
    splits: Mapping[str, tuple[str, ...]] = field(
        default_factory=lambda: {"train": ("train",), "valid": ("dev",), "test": ("test",)}
    )
    headerless: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    skips_bad_lines: bool = False

    @property
    def regression(self) -> bool:
        return self.max_score is not None


_COLA_COLUMNS = ("source", "label", "mark", "sentence")
_MNLI_SPLITS = {
    "train": ("train",),
    "valid": ("dev_matched",),
    "valid1": ("dev_mismatched",),
    "test": ("test_matched",),
    "test1": ("test_mismatched",),
}

TASKS: dict[str, GlueTask] = {
    task.name: task
    for task in (
        GlueTask("CoLA", ("sentence",), headerless={"train": _COLA_COLUMNS, "valid": _COLA_COLUMNS}),
        GlueTask(
            "MNLI",
            ("sentence1", "sentence2"),
            "gold_label",
            frozenset({"contradiction", "entailment", "neutral"}),
            splits=_MNLI_SPLITS,
        ),
        GlueTask("MRPC", ("#1 String", "#2 String"), "Quality"),
        GlueTask("QNLI", ("question", "sentence"), classes=ENTAILMENT),
        GlueTask("QQP", ("question1", "question2"), "is_duplicate", skips_bad_lines=True),
        GlueTask("RTE", ("sentence1", "sentence2"), classes=ENTAILMENT),
        GlueTask("SST-2", ("sentence",)),
        GlueTask("STS-B", ("sentence1", "sentence2"), "score", frozenset(), max_score=5.0),
        GlueTask("WNLI", ("sentence1", "sentence2")),
    )
}


@dataclass
class Split:
    """The examples of one file: `text[k]` are the k-th sentences of all examples; `labels` is None for a test file."""

    path: Path
    text: list[list[str]]
    labels: Optional[list[str]]


def task(name: str) -> GlueTask:
    """The task of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in TASKS:
        raise ConfigError(unknown("GLUE task", name, TASKS))
    return TASKS[name]


def find_split(task: GlueTask, folder: Path, split: str) -> Optional[Path]:
    """The file of `split` in the task's folder, or None."""
    candidates = (folder / f"{stem}.tsv" for stem in task.splits[split])
    return next((path for path in candidates if path.is_file()), None)


def read_split(task: GlueTask, folder: Path, split: str) -> Split:
    """Read the file of one split.

    Raises:
        DataError: the file is missing, empty or not UTF-8, lacks a column, or has a malformed line or an unknown label.
    """
    path = find_split(task, folder, split)
    if path is None:
        raise MissingDataError(f"{task.name} has no {task.splits[split][0]}.tsv in {folder}; {_advice(task, split)}")
    try:
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {error.start}); get the file again") from None
    if not lines[-1]:
        lines.pop()
    columns = task.headerless.get(split)
    first = 0 if columns else 1
    if columns is None:
        columns = tuple(lines[0].rstrip("\r").split("\t")) if lines else ()
    return _parse(task, path, split, columns, lines[first:], first + 1)


def _parse(task: GlueTask, path: Path, split: str, columns: tuple[str, ...], lines: list[str], number: int) -> Split:
    has_label = task.label in columns and not split.startswith("test")
    missing = [
        name for name in (*task.text, *([] if split.startswith("test") else [task.label])) if name not in columns
    ]
    if missing:
        raise DataError(
            f"{path} has no column {missing[0]!r} in its header ({', '.join(columns[:12])[:200]}); get the file again"
        )
    if not lines:
        raise DataError(f"{path} has no examples; get the file again")
    text_at = [columns.index(name) for name in task.text]
    label_at = columns.index(task.label) if has_label else 0
    needed = max(*text_at, label_at) + 1
    text: list[list[str]] = [[] for _ in text_at]
    labels: list[str] = []
    skipped = 0
    for line_number, line in enumerate(lines, number):
        fields = line.split("\t")
        if len(fields) < needed:
            if split == "train" and task.skips_bad_lines:
                skipped += 1
                continue
            raise DataError(f"{path}, line {line_number}: {len(fields)} columns, {needed} expected; get the file again")
        if has_label:
            labels.append(_label(task, fields[label_at].strip(), path, line_number))
        for sentences, column in zip(text, text_at, strict=True):
            sentences.append(fields[column].replace("\r", " ").strip())
    if skipped:
        logger.warning("%s: skipped %d malformed lines", path, skipped)
    return Split(path, text, labels if has_label else None)


def _label(task: GlueTask, label: str, path: Path, number: int) -> str:
    """The label as it is stored: a class name, or a score between 0 and 1 in six significant digits."""
    if task.max_score is None:
        if label not in task.classes:
            expected = ", ".join(sorted(task.classes))
            raise DataError(f"{path}, line {number}: label {label!r} is none of {expected}; get the file again")
        return label
    try:
        score = float(label)
    except ValueError:
        score = float("nan")
    if not 0 <= score <= task.max_score:
        raise DataError(f"{path}, line {number}: score {label!r} is not between 0 and {task.max_score:g}")
    return f"{score / task.max_score:g}"


def _advice(task: GlueTask, split: str) -> str:
    files = " and ".join(f"{task.splits[name][0]}.tsv" for name in task.splits if not name.startswith("test"))
    return f"a folder of GLUE's original {files} is needed, or no --glue-dir to download it"
