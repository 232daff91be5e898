"""Convolutional sequence to sequence models: encoder, decoder, and the sizes that `--arch` names.

>>> from fairseq.models.fconv import fconv_wmt_en_de       # fairseq's names for the sizes
"""

from collections.abc import Callable
from typing import Any

from fairseq.dataclass.catalog import SIZES
from fairseq.models.fconv.decoder import FConvDecoder
from fairseq.models.fconv.encoder import FConvEncoder
from fairseq.models.fconv.layers import (
    AttentionLayer,
    ConvTBC,
    Embedding,
    Linear,
    LinearizedConv1d,
    PositionalEmbedding,
    extend_conv_spec,
)
from fairseq.models.fconv.model import FConvModel, base_architecture
from fairseq.models.registries import ARCH_CONFIG_REGISTRY

__all__ = [
    "AttentionLayer",
    "ConvTBC",
    "Embedding",
    "FConvDecoder",
    "FConvEncoder",
    "FConvModel",
    "Linear",
    "LinearizedConv1d",
    "PositionalEmbedding",
    "base_architecture",
    "extend_conv_spec",
]


def __getattr__(name: str) -> Callable[[Any], None]:
    if name in SIZES["fconv"]:
        return ARCH_CONFIG_REGISTRY[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
