"""Models of lightweight and dynamic convolutions: encoder, decoder, and the sizes that `--arch` names.

>>> from fairseq.models.lightconv import lightconv_wmt_en_de_big       # fairseq's names for the sizes
"""

from collections.abc import Callable
from typing import Any

from fairseq.dataclass.catalog import SIZES
from fairseq.models.lightconv.decoder import LightConvDecoder
from fairseq.models.lightconv.encoder import LightConvEncoder
from fairseq.models.lightconv.layers import LightConvDecoderLayer, LightConvEncoderLayer, Linear
from fairseq.models.lightconv.model import LightConvModel, base_architecture
from fairseq.models.registries import ARCH_CONFIG_REGISTRY
from fairseq.models.transformer.embedding import Embedding

__all__ = [
    "Embedding",
    "LightConvDecoder",
    "LightConvDecoderLayer",
    "LightConvEncoder",
    "LightConvEncoderLayer",
    "LightConvModel",
    "Linear",
    "base_architecture",
]


def __getattr__(name: str) -> Callable[[Any], None]:
    if name in SIZES["lightconv"]:
        return ARCH_CONFIG_REGISTRY[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
