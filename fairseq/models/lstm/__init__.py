"""Recurrent sequence to sequence models: encoder, decoder, and the sizes that `--arch` names.

>>> from fairseq.models.lstm import lstm_luong_wmt_en_de       # fairseq's names for the sizes
"""

from collections.abc import Callable
from typing import Any

from fairseq.dataclass.catalog import SIZES
from fairseq.models.lstm.decoder import LSTMDecoder
from fairseq.models.lstm.encoder import MAX_POSITIONS as DEFAULT_MAX_SOURCE_POSITIONS
from fairseq.models.lstm.encoder import LSTMEncoder
from fairseq.models.lstm.layers import LSTM, AttentionLayer, Embedding, Linear, LSTMCell
from fairseq.models.lstm.model import LSTMModel, base_architecture
from fairseq.models.registries import ARCH_CONFIG_REGISTRY

DEFAULT_MAX_TARGET_POSITIONS = DEFAULT_MAX_SOURCE_POSITIONS

__all__ = [
    "DEFAULT_MAX_SOURCE_POSITIONS",
    "DEFAULT_MAX_TARGET_POSITIONS",
    "LSTM",
    "AttentionLayer",
    "Embedding",
    "LSTMCell",
    "LSTMDecoder",
    "LSTMEncoder",
    "LSTMModel",
    "Linear",
    "base_architecture",
]


def __getattr__(name: str) -> Callable[[Any], None]:
    if name in SIZES["lstm"]:
        return ARCH_CONFIG_REGISTRY[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
