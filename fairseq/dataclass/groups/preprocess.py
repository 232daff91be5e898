"""Flags of `fairseq-preprocess`; no group of the root config.

>>> PreprocessConfig().destdir
'data-bin'
"""

from dataclasses import dataclass
from typing import Optional

from fairseq.dataclass.base import FairseqDataclass, option
from fairseq.dataclass.constants import DATASET_IMPL_CHOICES
from fairseq.dataclass.ranges import at_least


@dataclass
class PreprocessConfig(FairseqDataclass):
    """Which text files become which binary files."""

    source_lang: Optional[str] = option(None, "source language: the suffix of its files", alias=["-s"])
    target_lang: Optional[str] = option(None, "target language: the suffix of its files", alias=["-t"])
    trainpref: Optional[str] = option(None, "training file, or its part before .LANG")
    validpref: Optional[str] = option(None, "validation files, or their parts before .LANG, separated by commas")
    testpref: Optional[str] = option(None, "test files, or their parts before .LANG, separated by commas")
    align_suffix: Optional[str] = option(None, "suffix of files with word alignments")
    destdir: str = option("data-bin", "folder for the results")
    thresholdtgt: int = option(0, "target words rarer than this become <unk>", within=at_least(0))
    thresholdsrc: int = option(0, "source words rarer than this become <unk>", within=at_least(0))
    tgtdict: Optional[str] = option(None, "use this target dictionary instead of making one")
    srcdict: Optional[str] = option(None, "use this source dictionary instead of making one")
    nwordstgt: int = option(-1, "keep this many target words (-1: all)", within=at_least(0, also=-1))
    nwordssrc: int = option(-1, "keep this many source words (-1: all)", within=at_least(0, also=-1))
    alignfile: Optional[str] = option(None, "alignment file to make an alignment dictionary from")
    dataset_impl: DATASET_IMPL_CHOICES = option(DATASET_IMPL_CHOICES.mmap, "format of the results")
    joined_dictionary: bool = option(False, "one dictionary for both languages")
    only_source: bool = option(False, "there is only one language")
    padding_factor: int = option(8, "fill dictionaries up to a multiple of this size", within=at_least(1))
    workers: int = option(1, "processes that work at the same time", within=at_least(1))
    dict_only: bool = option(False, "make the dictionaries and stop")
