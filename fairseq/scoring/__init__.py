"""Scoring of generated text: `build_scorer(cfg.scoring, tgt_dict)` and `@register_scorer("name", dataclass=...)`.

GLUE's measures are functions in `fairseq.scoring.glue_metrics`.

>>> list(SCORER_REGISTRY)
['bert_score', 'bleu', 'chrf', 'meteor', 'sacrebleu', 'wer']
"""

from abc import ABC, abstractmethod
from typing import Any

from fairseq import registry

__all__ = ["SCORER_DATACLASS_REGISTRY", "SCORER_REGISTRY", "BaseScorer", "build_scorer", "register_scorer"]


class BaseScorer(ABC):
    """Collects pairs of reference and output, then scores them together."""

    def __init__(self, cfg: Any):
        self.cfg = cfg
        self.ref: list[str] = []
        self.pred: list[str] = []

    def add_string(self, ref: str, pred: str) -> None:
        self.ref.append(ref)
        self.pred.append(pred)

    @abstractmethod
    def score(self) -> float:
        """The measure over all pairs."""

    @abstractmethod
    def result_string(self) -> str:
        """The measure as it is printed."""


_build, register_scorer, SCORER_REGISTRY, SCORER_DATACLASS_REGISTRY = registry.setup_registry(
    "--scoring", default="bleu"
)


def build_scorer(choice: Any, tgt_dict: Any) -> Any:
    """The scorer that `choice` (name or config node) names; BLEU of tokens takes its special ids from `tgt_dict`."""
    name = choice if isinstance(choice, str) else choice.get("_name") if hasattr(choice, "get") else choice._name
    if name == "bleu":
        choice = SCORER_DATACLASS_REGISTRY["bleu"](
            _name="bleu", pad=tgt_dict.pad(), eos=tgt_dict.eos(), unk=tgt_dict.unk()
        )
    return _build(choice)
