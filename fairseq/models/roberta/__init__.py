"""RoBERTa: model, heads, interface for interactive use.

>>> from fairseq.models.roberta import roberta_large_architecture       # fairseq's names for the sizes
"""

from typing import Any

from fairseq.models.roberta import model
from fairseq.models.roberta.hub_interface import RobertaHubInterface
from fairseq.models.roberta.model import (
    RobertaClassificationHead,
    RobertaEncoder,
    RobertaLMHead,
    RobertaModel,
    base_architecture,
)
from fairseq.models.roberta.variants import CamembertModel, GottbertModel, XLMRModel

__all__ = [
    "CamembertModel",
    "GottbertModel",
    "RobertaClassificationHead",
    "RobertaEncoder",
    "RobertaHubInterface",
    "RobertaLMHead",
    "RobertaModel",
    "XLMRModel",
    "base_architecture",
]


def __getattr__(name: str) -> Any:
    return getattr(model, name)  # the functions of named sizes, `roberta_large_architecture`
