"""`task=image_classification`: the class of an image, from CIFAR-10 binary or MNIST idx files.

The splits are train, valid and test. Where there are no files for valid, `valid_examples` of the training images are
valid and left out of train; which ones depends on nothing, so they are the same in every run.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np

from fairseq.data.errors import MissingDataError
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.dataclass.base import II, MISSING, option
from fairseq.dataclass.ranges import at_least
from fairseq.errors import ConfigError, DataError
from fairseq.tasks import FairseqTask, register_task

from ..image_dataset import ImageDataset
from ..readers import Images, cifar_split, mnist_split

logger = logging.getLogger(__name__)

READERS = {"cifar10": cifar_split, "mnist": mnist_split}
FILES = {
    "cifar10": "{0}.bin, or data_batch_1.bin to data_batch_5.bin and test_batch.bin",
    "mnist": "{0}-images-idx3-ubyte and {0}-labels-idx1-ubyte (t10k-... is split test)",
}
# channel mean and standard deviation of the training images, pixels from 0 to 1
NORMALIZATION = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "mnist": ((0.1307,), (0.3081,)),
}


@dataclass
class ImageClassificationConfig(FairseqDataclass):
    """`task=image_classification`."""

    data: str = option(MISSING, "folder with the files, each as it is or with .gz", path="in")
    data_format: ChoiceEnum(["cifar10", "mnist"]) = option("cifar10", "how the files are written")
    num_classes: int = option(10, "classes", within=at_least(1))
    valid_examples: int = option(1000, "where valid has no files: so many training images are", within=at_least(1))
    max_shift: int = option(0, "move training images by up to this many pixels", within=at_least(0))
    flip: bool = option(False, "mirror half of the training images")
    seed: int = option(II("common.seed"), "seed of shifts and flips; follows common.seed")


@register_task("image_classification", dataclass=ImageClassificationConfig)
class ImageClassificationTask(FairseqTask):
    """Classification of images; see the head of this file."""

    def __init__(self, cfg: Any):
        super().__init__(cfg)
        self._read: dict[str, Optional[Images]] = {}

    @property
    def channels(self) -> int:
        """Channels of an image: 3 for colours, 1 for grey."""
        return len(NORMALIZATION[self.cfg.data_format][0])

    def load_dataset(self, split: str, combine: bool = False, **kwargs: Any) -> None:  # type: ignore[override]
        """Load a split.

        Raises:
            DataError: files that are missing, damaged or of another format; a label out of range.
            ConfigError: `valid_examples` leaves nothing to train on.
        """
        images, labels = self._split(split)
        is_train = split == "train"
        self.datasets[split] = ImageDataset(
            images,
            labels,
            *NORMALIZATION[self.cfg.data_format],
            shuffle=is_train,
            max_shift=self.cfg.max_shift if is_train else 0,
            flip=self.cfg.flip and is_train,
            seed=self.cfg.seed,
        )
        logger.info(f"Loaded {split} with #samples: {len(images)}")

    def _split(self, split: str) -> Images:
        found = self._files_of(split)
        if split not in ("train", "valid") or (split == "valid" and found is not None):
            return self._existing(split, found)
        images, labels = self._existing("train", self._files_of("train"))
        if self._files_of("valid") is not None:
            return images, labels
        number = self.cfg.valid_examples
        if number >= len(images):
            raise ConfigError(
                f"task.valid_examples={number} (--valid-examples) leaves none of {len(images)} images to train on"
            )
        order = np.random.default_rng(0).permutation(len(images))
        chosen = np.sort(order[:number] if split == "valid" else order[number:])
        return images[chosen], labels[chosen]

    def _files_of(self, split: str) -> Optional[Images]:
        if split not in self._read:
            self._read[split] = READERS[self.cfg.data_format](Path(self.cfg.data), split)
        return self._read[split]

    def _existing(self, split: str, found: Optional[Images]) -> Images:
        cfg = self.cfg
        if found is None:
            raise MissingDataError(
                f"task.data={cfg.data} has no split {split!r} with --data-format {cfg.data_format}: "
                f"{FILES[cfg.data_format].format(split)}, each as it is or with .gz"
            )
        images, labels = found
        if not len(images):
            raise DataError(f"task.data={cfg.data}: split {split!r} is empty")
        wrong = np.flatnonzero(labels >= cfg.num_classes)
        if len(wrong):
            raise DataError(
                f"task.data={cfg.data}: image {wrong[0]} of split {split!r} has label {labels[wrong[0]]}, but there "
                f"are {cfg.num_classes} classes, from 0 on; change task.num_classes (--num-classes) or the file"
            )
        return found
