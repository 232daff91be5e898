"""`scoring=meteor`: METEOR (Banerjee and Lavie 2005) of words, by the nltk library with the data of WordNet.

METEOR = mean over pairs of F_mean (1 - penalty of the fragments that match)
"""

from typing import Any

from fairseq.data.encoders.libraries import library
from fairseq.dataclass.scoring import MeteorConfig
from fairseq.errors import ConfigError
from fairseq.scoring import BaseScorer, register_scorer

MeteorScorerConfig = MeteorConfig  # fairseq's name


@register_scorer("meteor", dataclass=MeteorConfig)
class MeteorScorer(BaseScorer):
    """METEOR of each pair, averaged; between 0 and 1."""

    def __init__(self, args: Any):
        super().__init__(args)
        self.meteor = library("nltk.translate.meteor_score", "nltk", "scoring=meteor")

    def score(self, order: int = 4) -> float:
        """`order` has no meaning here."""
        if not self.ref:
            return 0.0
        try:
            scores = [
                self.meteor.single_meteor_score(reference.split(), output.split())
                for reference, output in zip(self.ref, self.pred, strict=True)
            ]
        except LookupError:
            raise ConfigError("scoring=meteor needs the data of nltk: python -m nltk.downloader wordnet") from None
        return float(sum(scores) / len(scores))

    def result_string(self, order: int = 4) -> str:
        return f"METEOR: {self.score():.4f}"
