"""`scoring=chrf`: F-score of character n-grams (Popovic 2015, chrF2), by the sacrebleu library.

>>> scorer = ChrFScorer(None)
>>> scorer.add_string("the cat", "the cat")
>>> scorer.score(), scorer.result_string()
(100.0, 'chrF2 = 100.00')
"""

from typing import Any

from fairseq.dataclass.scoring import ChrFConfig
from fairseq.scoring import BaseScorer, register_scorer

ChrFScorerConfig = ChrFConfig  # fairseq's name


@register_scorer("chrf", dataclass=ChrFConfig)
class ChrFScorer(BaseScorer):
    """chrF2 of text, in percent."""

    def _score(self) -> Any:
        import sacrebleu

        return sacrebleu.CHRF().corpus_score(self.pred, [self.ref])

    def score(self, order: int = 4) -> float:
        """chrF2; `order` has no meaning here."""
        return self._score().score

    def result_string(self, order: int = 4) -> str:
        return self._score().format()
