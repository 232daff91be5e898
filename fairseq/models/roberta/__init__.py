"""RoBERTa: model, heads, interface for interactive use.

>>> from fairseq.models.roberta import roberta_large_architecture       # fairseq's names for the sizes
"""

import importlib
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
    if name in ("RobertaEncDecModel", "base_enc_dec_architecture"):  # only those need a decoder
        return getattr(importlib.import_module("fairseq.models.roberta.enc_dec"), name)
    return getattr(model, name)  # the functions of named sizes, `roberta_large_architecture`
