"""`task=tabular_classification`: the class of a row of numbers, from CSV files.

    data=FILE.csv     one file: `valid_share` of its rows are valid, `test_share` test, the others train. Which ones
                      depends on nothing, so they are the same in every run
    data=FOLDER       {train,valid,test}.csv in it

Each file may be packed with gzip. Numbers are used as they are: a model brings its own normalization.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fairseq.data.errors import MissingDataError
from fairseq.dataclass import FairseqDataclass
from fairseq.dataclass.base import MISSING, option
from fairseq.dataclass.ranges import at_least, below_one
from fairseq.errors import ConfigError
from fairseq.tasks import FairseqTask, register_task

from ..readers import Table, read_table
from ..table_dataset import TableDataset

logger = logging.getLogger(__name__)


@dataclass
class TabularClassificationConfig(FairseqDataclass):
    """`task=tabular_classification`."""

    data: str = option(MISSING, "CSV file, or folder with train.csv, valid.csv and test.csv", path="in")
    num_features: int = option(16, "numbers in a row", within=at_least(1))
    num_classes: int = option(5, "classes", within=at_least(2))
    label_column: str = option("-1", "column with the class: its number from 0 on, -1 for the last, or its name")
    valid_share: float = option(0.1, "of one file: share of rows in valid", within=below_one())
    test_share: float = option(0.1, "of one file: share of rows in test", within=below_one())


@register_task("tabular_classification", dataclass=TabularClassificationConfig)
class TabularClassificationTask(FairseqTask):
    """Classification of rows; see the head of this file."""

    def load_dataset(self, split: str, combine: bool = False, **kwargs: Any) -> None:  # type: ignore[override]
        """Load a split.

        Raises:
            DataError: a file that is missing or damaged, by its line. ConfigError: shares that leave nothing.
        """
        path = Path(self.cfg.data)
        features, labels = self._part(path, split) if path.is_file() else self._file(path, split)
        self.datasets[split] = TableDataset(features, labels, shuffle=split == "train")
        logger.info(f"Loaded {split} with #samples: {len(labels)}")

    def _table(self, path: Path) -> Table:
        cfg = self.cfg
        return read_table(path, cfg.num_features, cfg.num_classes, cfg.label_column)

    def _file(self, folder: Path, split: str) -> Table:
        for path in (folder / f"{split}.csv", folder / f"{split}.csv.gz"):
            if path.is_file():
                return self._table(path)
        raise MissingDataError(
            f"task.data={self.cfg.data} has no split {split!r}: it is neither a CSV file nor a folder with {split}.csv "
            f"or {split}.csv.gz"
        )

    def _part(self, path: Path, split: str) -> Table:
        features, labels = self._table(path)
        order = np.random.default_rng(0).permutation(len(labels))
        valid, test = (int(len(labels) * share) for share in (self.cfg.valid_share, self.cfg.test_share))
        parts = {"valid": order[:valid], "test": order[valid : valid + test], "train": order[valid + test :]}
        if split not in parts:
            raise MissingDataError(f"task.data={self.cfg.data} is one file: train, valid, test; not {split}")
        if not len(parts[split]):
            cfg = self.cfg
            raise ConfigError(
                f"split {split!r} of {path} would be empty: {len(labels)} rows, task.valid_share={cfg.valid_share} "
                f"(--valid-share), task.test_share={cfg.test_share} (--test-share)"
            )
        chosen = np.sort(parts[split])
        return features[chosen], labels[chosen]
