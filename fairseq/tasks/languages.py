"""Texts in several languages: their folders, and how often each is drawn.

    cc-bin/{dict.txt,de/train.bin,de/train.idx,en/train.bin,...}

Of language l, with a share p_l of all examples, `len_l * ratio_l` are drawn in an epoch (Conneau et al.,
arXiv:1911.02116, section 3):

    ratio_l = q_l / p_l,   q_l = p_l^alpha / sum_k p_k^alpha

>>> sample_probabilities(np.array([10.0, 40.0]), 0.5).round(3).tolist()
[0.333, 0.667]
"""

import logging
import os
from collections.abc import Callable
from typing import Any, Optional

import numpy as np

from fairseq.data import ConcatDataset, ResamplingDataset, SortDataset
from fairseq.data.seeding import numpy_seed
from fairseq.errors import DataError


def languages_in(folder: str, chosen: Optional[str] = None) -> list[str]:
    """The languages that `chosen` names, separated by commas; without it the folders in `folder`.

    Raises:
        DataError: there are none.
    """
    if chosen:
        return chosen.split(",")
    names = os.listdir(folder) if os.path.isdir(folder) else []
    found = sorted(name for name in names if os.path.isdir(os.path.join(folder, name)))
    if not found:
        raise DataError(f"task.data={folder}: there is no folder of a language in it; prepare DATA/LANGUAGE for each")
    return found


def sample_probabilities(lengths: np.ndarray, alpha: float) -> np.ndarray:
    """How likely an example is of each language, (L,).

    Args:
        lengths: examples of each.
    """
    probabilities = (lengths / lengths.sum()) ** alpha
    return probabilities / probabilities.sum()


def language_of(split: str, languages: list[str]) -> tuple[str, list[str]]:
    """`valid_de` as the split `valid` in one language; any other split is in all.

    >>> language_of("valid_de", ["de", "en"]), language_of("valid", ["de", "en"])
    (('valid', ['de']), ('valid', ['de', 'en']))
    """
    name, _, language = split.rpartition("_")
    return (name, [language]) if name and language in languages else (split, languages)


def load_languages(
    split: str,
    languages: list[str],
    load: Callable[[str, str], Any],
    size_of: Callable[[Any], Any],
    *,
    resampled: bool,
    alpha: float,
    seed: int,
    epoch: int,
    logger: logging.Logger,
) -> dict[str, Any]:
    """A split in all languages, and in each of them by itself (`valid_de`) where it is not resampled.

    Args:
        load: `(language, split)` -> its examples.
        size_of: a dataset -> the sizes by which batches are made.
        resampled: draw languages by `alpha`, anew in each epoch.
    """
    split_of_files, languages = language_of(split, languages)
    logger.info(f"Training on {len(languages)} languages: {languages}")
    parts = [load(language, split_of_files) for language in languages]
    counts = np.array([len(part) for part in parts], dtype=float)
    logger.info(f"loaded total {int(counts.sum())} blocks for all languages")
    found: dict[str, Any] = {}
    if resampled:
        probabilities = sample_probabilities(counts, alpha)
        ratios = probabilities * counts.sum() / counts
        logger.info(f"Sample probability by language: {_by_language(languages, probabilities, 4)}")
        logger.info(f"Up/Down Sampling ratio by language: {_by_language(languages, ratios, 2)}")
        parts = [
            ResamplingDataset(part, size_ratio=ratio, seed=seed, epoch=epoch, replace=bool(ratio >= 1.0))
            for part, ratio in zip(parts, ratios, strict=True)
        ]
    elif split == split_of_files:
        found = {f"{split}_{language}": part for language, part in zip(languages, parts, strict=True)}
    together = ConcatDataset(parts)
    with numpy_seed(seed + epoch):
        shuffle = np.random.permutation(len(together))
    return {split: SortDataset(together, sort_order=[shuffle, size_of(together)]), **found}


def _by_language(languages: list[str], values: np.ndarray, digits: int) -> dict[str, str]:
    return {language: f"{value:.{digits}f}" for language, value in zip(languages, values, strict=True)}
