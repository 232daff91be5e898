"""Names of a classifier's classes: class c is symbol c + nspecial of the label dictionary.

Label dictionaries go by frequency, so in SST-2, whose training set has more positive sentences, class 0 is called '1'.

>>> labels = Dictionary()
>>> for name in ("1", "1", "0"):
...     _ = labels.add_symbol(name)
>>> labels.finalize()
>>> class_names(labels, 2)
['1', '0']
>>> class_names(labels, 3) is None  # a head of another task
True
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Optional

from fairseq.data.dictionary import Dictionary
from fairseq.errors import ConfigError


def label_dictionary(labels: Iterable[str]) -> Dictionary:
    """The dictionary that `fairseq-preprocess` builds from the training labels."""
    dictionary = Dictionary()
    for label in labels:
        dictionary.add_symbol(label)
    dictionary.finalize()
    return dictionary


def label_names(dictionary: Dictionary) -> list[str]:
    """All labels of a label dictionary, in order of their classes; without what only fills it up."""
    names = [dictionary[index] for index in range(dictionary.nspecial, len(dictionary))]
    return [name for name in names if name != "<mask>" and not name.startswith("madeupword")]


def class_names(dictionary: Optional[Dictionary], num_classes: int) -> Optional[list[str]]:
    """Name of each class, in order; None without a dictionary, or where it has another number of labels."""
    if dictionary is None or num_classes < 2:
        return None
    names = label_names(dictionary)
    return names if len(names) == num_classes else None


def known_class_names(carried: Optional[Dictionary], data: Optional[Path], num_classes: int) -> Optional[list[str]]:
    """Names of a classifier's classes, from the checkpoint or the data; None if they are unknown.

    Args:
        carried: the label dictionary in its checkpoint.
        data: a data folder, whose label/dict.txt counts where the checkpoint carries none.

    Raises:
        ConfigError: the two disagree.
    """
    path = None if data is None else data / "label" / "dict.txt"
    if path is None or not path.exists():
        return class_names(carried, num_classes)
    labels = Dictionary.load(str(path))
    if carried is not None and label_names(carried) != label_names(labels):
        raise ConfigError(
            f"{path} has the classes {', '.join(label_names(labels))}, the checkpoint was trained with "
            f"{', '.join(label_names(carried))}; give the data that it was trained with"
        )
    return class_names(labels, num_classes)


def task_class_names(task: Any, num_classes: int) -> Optional[list[str]]:
    """The same for a head of a model that belongs to `task`."""
    return class_names(getattr(task, "label_dictionary", None), num_classes)
