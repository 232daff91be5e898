"""A table of texts and labels -> a `sentence_prediction` data folder that knows its tokenizer and its labels.

    DEST/input0/{train,valid,test}.{bin,idx}, dict.txt    subword ids of the first text
    DEST/input1/...                                       of the second one, where there are two
    DEST/label/{train,valid,test}.{bin,idx}, dict.txt     classes; ids by frequency in train, ties alphabetical
    DEST/label/{train,valid,test}.label                   a regression's numbers instead, one a line
    DEST/text.json, tokenizer/                            what cuts texts; checkpoints take it along
    DEST/train.yaml                                       a config to train with

The folder appears when it is complete.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

import numpy as np

from fairseq.data.binarize import write_items
from fairseq.data.class_names import label_dictionary, label_names
from fairseq.data.encoders import carried
from fairseq.data.errors import MissingDataError
from fairseq.errors import ConfigError
from fairseq.job_progress import JobProgress
from fairseq.output_files import new_folder
from fairseq.own_data import splits, subwords, training_config
from fairseq.own_data.examples import Examples, check_classes, check_known, read_examples
from fairseq.own_data.subwords import Subwords
from fairseq.own_data.tables import read_table

CONFIG = "train.yaml"
WRITTEN = ("input0", "input1", "label", carried.FILE, carried.FOLDER, CONFIG)


@dataclass
class TableOptions:
    """What the columns of the tables are and how they are read.

    Attributes:
        text: one or two columns.
        label: the column of the labels.
        regression: labels are numbers.
        skip_unlabelled: leave out rows without a label.
        delimiter, quotes: see `read_table`.
    """

    text: list[str]
    label: str
    regression: bool = False
    skip_unlabelled: bool = False
    delimiter: Optional[str] = None
    quotes: Optional[bool] = None

    def check(self) -> None:
        """Raise ConfigError where the columns make no sense."""
        names = [*self.text, self.label]
        if not 1 <= len(self.text) <= 2 or not all(names):
            raise ConfigError(f"--text takes one column or two with a comma between them, not {','.join(self.text)!r}")
        if len(set(names)) < len(names):
            raise ConfigError(f"--text and --label name the column {Counter(names).most_common(1)[0][0]!r} twice")

    def read(self, path: Path, first: Optional[int] = None, labelled: bool = True) -> Examples:
        """The examples of a file.

        Args:
            first: of its rows only.
            labelled: it must have the column of labels.
        """
        wanted, optional = [*self.text, *([self.label] if labelled else [])], [] if labelled else [self.label]
        table = read_table(path, wanted, optional, delimiter=self.delimiter, quotes=self.quotes, first=first)
        if not labelled and self.label in table.columns and not any(table.columns[self.label]):
            del table.columns[self.label]  # a test file whose labels are to be found out
        return read_examples(
            table, self.text, self.label, regression=self.regression, skip_unlabelled=self.skip_unlabelled
        )


@dataclass
class SubwordOptions:
    """Where subwords come from.

    Attributes:
        bpe_dir: folder with a tokenizer's files, or an imported model; None: learn them from the training texts.
        kind: bpe or wordpiece, to learn.
        size: the largest number of pieces that is learned.
        cased: learned WordPiece keeps upper case.
    """

    bpe_dir: Optional[Path] = None
    kind: str = "bpe"
    size: int = 8000
    cased: bool = False

    def make(self, train: Examples, dest: Path) -> Subwords:
        """The subwords for a training set; those that are learned are written to `dest`."""
        if self.bpe_dir is not None:
            return subwords.from_folder(self.bpe_dir)
        with JobProgress(f"learning {self.kind}", len(train.texts), "example") as progress:
            return subwords.trained(_texts(train, progress), self.kind, self.size, self.cased, dest)


@dataclass
class Prepared:
    """What a folder holds.

    Attributes:
        counts: split -> number of examples.
        classes: class -> split -> number of examples; empty for a regression.
        empty: how many examples have no text.
        unlabelled: how many rows without a label were left out.
        pieces: size of the dictionary.
        num_classes: for the task; 1 is a regression.
        most_tokens: how long an example may be in train.yaml.
        cut: how many examples are longer, so that their end is cut.
        seen: how many texts of the development set are in the training set, too.
    """

    counts: dict[str, int]
    classes: dict[str, dict[str, int]] = field(default_factory=dict)
    empty: int = 0
    unlabelled: int = 0
    pieces: int = 0
    num_classes: int = 1
    most_tokens: int = 0
    cut: int = 0
    seen: int = 0


def prepare(
    train: Path,
    dest: Path,
    table: TableOptions,
    subword: Optional[SubwordOptions] = None,
    *,
    valid: Optional[Path] = None,
    test: Optional[Path] = None,
    valid_share: float = 0.1,
    seed: int = 1,
    train_examples: Optional[int] = None,
    valid_examples: Optional[int] = None,
    overwrite: bool = False,
) -> Prepared:
    """Write the data folder `dest`.

    Args:
        train, valid, test: tables; without `valid`, a part of `train` is held out.
        valid_share, seed: how large a part, and which.
        train_examples, valid_examples: use so many of the first rows only.

    Raises:
        DataError: a table cannot be used, see `read_table` and `read_examples`; or `dest` is there already.
        ConfigError: settings that make no sense.
    """
    subword = subword or SubwordOptions()
    table.check()
    if not 0 < valid_share < 1:
        raise ConfigError(f"--valid-share {valid_share:g}: give a number between 0 and 1, such as 0.1")
    with new_folder(dest, overwrite, WRITTEN) as folder:
        parts = _splits(train, valid, test, table, valid_share, seed, train_examples, valid_examples)
        names = _classes(parts, table)
        words = subword.make(parts["train"], folder / carried.FOLDER)
        words.copy_to(folder / carried.FOLDER)
        carried.write(folder, table.text, words.settings)
        lengths = _write_texts(folder, parts, words)
        _write_labels(folder / "label", parts, names)
        num_classes = max(len(names), 1)
        start = None if subword.bpe_dir is None else subword.bpe_dir / "model.pt"
        config = training_config.settings(
            num_classes, len(parts["train"]), start if start is not None and start.is_file() else None
        )
        training_config.write(folder / CONFIG, config, f"trains on this folder: task.data={dest}")
    known = set(parts["train"].texts)
    return Prepared(
        counts={split: len(part) for split, part in parts.items()},
        classes={name: {split: _count(part, name) for split, part in parts.items() if part.labels} for name in names},
        empty=sum(part.empty for part in parts.values()),
        unlabelled=sum(part.unlabelled for split, part in parts.items() if split != "valid" or valid is not None),
        pieces=len(words.dictionary),
        num_classes=num_classes,
        most_tokens=config["task"]["max_positions"],
        cut=sum(length > config["task"]["max_positions"] for length in lengths),
        seen=sum(text in known for text in parts["valid"].texts),
    )


def _splits(
    train: Path,
    valid: Optional[Path],
    test: Optional[Path],
    table: TableOptions,
    share: float,
    seed: int,
    train_examples: Optional[int],
    valid_examples: Optional[int],
) -> dict[str, Examples]:
    """The examples of each split."""
    for path in (train, valid, test):
        if path is not None and not path.is_file():
            raise MissingDataError(f"there is no file {path}; check its name")
    read = table.read(train, train_examples)
    if not table.regression:
        check_classes(read, table.label)
    if valid is not None:
        parts = {"train": read, "valid": table.read(valid, valid_examples)}
    else:
        assert read.labels is not None
        classes = [""] * len(read) if table.regression else read.labels
        rows = splits.held_out(read.texts, classes, share, seed)
        held = set(rows)
        parts = {"train": read.part([row for row in range(len(read)) if row not in held]), "valid": read.part(rows)}
    if test is not None:
        parts["test"] = table.read(test, labelled=False)
    return parts


def _classes(parts: dict[str, Examples], table: TableOptions) -> list[str]:
    """Names of the classes, in order; none for a regression."""
    if table.regression:
        return []
    train = parts["train"]
    names = label_names(label_dictionary(train.labels or []))
    for part in parts.values():
        check_known(part, names, train)
    return names


def _write_texts(folder: Path, parts: dict[str, Examples], words: Subwords) -> list[int]:
    """Write the texts of all splits; returns how many tokens the model reads of each example, marks included."""
    totals: list[np.ndarray] = []
    columns = len(parts["train"].texts[0])
    with JobProgress("encoding", columns * sum(map(len, parts.values())), "text") as progress:
        for column in range(columns):
            target = folder / f"input{column}"
            words.dictionary.save(str(target / "dict.txt"))
            for split, part in parts.items():
                lengths: list[int] = []
                items = progress.through(words.encode([text[column] for text in part.texts]))
                write_items(str(target / split), _measured(items, lengths), vocab_size=len(words.dictionary))
                totals.append(np.array(lengths) + 1)  # <s>, or the mark between the two
    splits = len(parts)
    return [int(length) for split in range(splits) for length in np.sum(totals[split::splits], axis=0)]


def _measured(items: Iterable[np.ndarray], lengths: list[int]) -> Iterator[np.ndarray]:
    for item in items:
        lengths.append(len(item))
        yield item


def _texts(examples: Examples, progress: JobProgress) -> Iterable[str]:
    for texts in examples.texts:
        yield from texts
        progress.advance()


def _write_labels(folder: Path, parts: dict[str, Examples], names: list[str]) -> None:
    labelled = {split: part.labels for split, part in parts.items() if part.labels is not None}
    folder.mkdir()
    if not names:
        for split, labels in labelled.items():
            (folder / f"{split}.label").write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
        return
    dictionary = label_dictionary(labelled["train"])
    dictionary.save(str(folder / "dict.txt"))
    for split, labels in labelled.items():
        ids = ([dictionary.index(label), dictionary.eos()] for label in labels)
        write_items(str(folder / split), ids, vocab_size=len(dictionary))


def _count(part: Examples, name: str) -> int:
    return (part.labels or []).count(name)
