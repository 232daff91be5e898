"""RoBERTa: model, heads, interface for interactive use."""

from fairseq.models.roberta.hub_interface import RobertaHubInterface
from fairseq.models.roberta.model import (
    RobertaClassificationHead,
    RobertaEncoder,
    RobertaLMHead,
    RobertaModel,
    base_architecture,
    roberta_base_architecture,
    roberta_large_architecture,
    roberta_prenorm_architecture,
    xlm_architecture,
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
    "roberta_base_architecture",
    "roberta_large_architecture",
    "roberta_prenorm_architecture",
    "xlm_architecture",
]
