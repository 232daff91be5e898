"""BART and mBART: model, heads, interface for interactive use.

>>> from fairseq.models.bart import bart_large_architecture       # fairseq's names for the sizes
"""

from typing import Any

from fairseq.models.bart import model
from fairseq.models.bart.hub_interface import BARTHubInterface
from fairseq.models.bart.model import BARTClassificationHead, BARTModel

__all__ = ["BARTClassificationHead", "BARTHubInterface", "BARTModel"]


def __getattr__(name: str) -> Any:
    return getattr(model, name)  # the functions of named sizes, `bart_large_architecture`
