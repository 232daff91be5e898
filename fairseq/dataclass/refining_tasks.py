"""Config of `task=translation_lev`: translation with models that refine whole sentences.

>>> TranslationLevenshteinConfig().noise
'random_delete'
"""

from dataclasses import dataclass

from fairseq.dataclass.base import option
from fairseq.dataclass.constants import NOISE_CHOICES
from fairseq.dataclass.tasks import TranslationConfig


@dataclass
class TranslationLevenshteinConfig(TranslationConfig):
    """`task=translation_lev`: the decoder is given targets with noise, or what it has written itself."""

    noise: NOISE_CHOICES = option("random_delete", "what is done to the targets that the decoder sees while training")
