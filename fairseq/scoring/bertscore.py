"""`scoring=bert_score`: similarity of texts in the features of a language model (Zhang et al., arXiv:1904.09675).

By the bert-score library, which downloads the model.
"""

from typing import Any

from fairseq.data.encoders.libraries import library
from fairseq.dataclass.scoring import BertScoreConfig
from fairseq.scoring import BaseScorer, register_scorer

BertScoreScorerConfig = BertScoreConfig  # fairseq's name


@register_scorer("bert_score", dataclass=BertScoreConfig)
class BertScoreScorer(BaseScorer):
    """F1 of BERTScore, averaged over pairs."""

    def __init__(self, cfg: Any):
        super().__init__(cfg)
        self._bert_score = library("bert_score", "bert-score", "scoring=bert_score", extra="bert-score")

    def score(self, order: int = 4) -> float:
        """`order` has no meaning here."""
        if not self.ref:
            return 0.0
        _, _, f1 = self._bert_score.score(self.pred, self.ref, lang=self.cfg.bert_score_lang)
        return float(f1.mean())

    def result_string(self, order: int = 4) -> str:
        return f"BERTScore: {self.score():.4f}"
