"""What tasks on running text share: a folder's dictionary, a split's text, whole words.

dictionary = text_dictionary(cfg.data)
text = split_text(cfg, part_of_epoch(cfg.data, epoch), "train", dictionary)
"""

import logging
import os
from typing import Any, Optional

from omegaconf import DictConfig
from torch import Tensor

from fairseq import utils
from fairseq.data import Dictionary, data_utils
from fairseq.data.encoders.utils import get_whole_word_mask
from fairseq.data.shorten_dataset import maybe_shorten_dataset
from fairseq.errors import ConfigError, DataError
from fairseq.file_io import exists


def dictionary_path(data: str) -> str:
    """Of the first of the folders in `data`."""
    return os.path.join(utils.split_paths(data)[0], "dict.txt")


def text_dictionary(data: str, logger: logging.Logger) -> Dictionary:
    """The dictionary of a data folder.

    Raises:
        DataError: there is none.
    """
    path = dictionary_path(data)
    if not exists(path):
        raise DataError(
            f"task.data={data}: there is no {path}; prepare a data folder with fairseq-preprocess --only-source"
        )
    dictionary = Dictionary.load(path)
    logger.info(f"dictionary: {len(dictionary)} types")
    return dictionary


def part_of_epoch(data: str, epoch: int) -> str:
    """The folder that an epoch reads: the next one of `data` in turn."""
    folders = utils.split_paths(data)
    return folders[(epoch - 1) % len(folders)]


def split_text(cfg: Any, folder: str, split: str, dictionary: Dictionary, combine: bool = False) -> Any:
    """The lines of a split, shortened as `cfg` says, where it has `shorten_method`.

    Raises:
        DataError: missing or empty.
    """
    path = os.path.join(folder, split)
    impl = getattr(cfg, "dataset_impl", None)
    text = data_utils.load_indexed_dataset(path, dictionary, None if impl is None else str(impl), combine=combine)
    if text is None:
        raise DataError(f"task.data={cfg.data} has no split {split!r}: there is no {path}.idx")
    if len(text) == 0:
        raise DataError(f"task.data={cfg.data}: split {split!r} is empty ({path}.idx)")
    if not hasattr(cfg, "shorten_method"):
        return text
    return maybe_shorten_dataset(
        text, split, cfg.shorten_data_split_list, cfg.shorten_method, cfg.tokens_per_sample, cfg.seed
    )


def encoding_of(cfg: Any) -> Any:
    """The subword encoding of a task's data: its config in the root config, or the name in `cfg.bpe`; None without."""
    root: Any = cfg._get_root() if isinstance(cfg, DictConfig) else None
    chosen = root.get("bpe") if root is not None and root is not cfg else None
    if chosen is not None and cfg.bpe in (None, chosen._name):
        return chosen
    return cfg.bpe


def word_starts(cfg: Any, dictionary: Dictionary, option: str) -> Tensor:
    """Per id 1 where it begins a word, as the subword encoding says.

    Args:
        cfg: the task's config.
        option: the setting that needs it.

    Raises:
        ConfigError: there is no such encoding, or it cannot say.
    """
    found: Optional[Tensor] = get_whole_word_mask(encoding_of(cfg), dictionary)
    if found is None:
        raise ConfigError(f"{option} needs the subword encoding of the data: give bpe=NAME (--bpe NAME), such as gpt2")
    return found
