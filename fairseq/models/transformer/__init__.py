"""The encoder-decoder transformer: encoder, decoder, model, and the sizes that `--arch` names.

>>> from fairseq.models.transformer import transformer_wmt_en_de_big       # fairseq's names for the sizes
"""

from typing import Any

from fairseq.models.transformer import transformer_legacy
from fairseq.models.transformer.embedding import Embedding
from fairseq.models.transformer.transformer_base import TransformerModelBase
from fairseq.models.transformer.transformer_config import (
    DEFAULT_MAX_SOURCE_POSITIONS,
    DEFAULT_MAX_TARGET_POSITIONS,
    DEFAULT_MIN_PARAMS_TO_WRAP,
    TransformerConfig,
)
from fairseq.models.transformer.transformer_decoder import Linear, TransformerDecoder, TransformerDecoderBase
from fairseq.models.transformer.transformer_encoder import TransformerEncoder, TransformerEncoderBase
from fairseq.models.transformer.transformer_legacy import (
    TransformerModel,
    base_architecture,
)

__all__ = [
    "DEFAULT_MAX_SOURCE_POSITIONS",
    "DEFAULT_MAX_TARGET_POSITIONS",
    "DEFAULT_MIN_PARAMS_TO_WRAP",
    "Embedding",
    "Linear",
    "TransformerConfig",
    "TransformerDecoder",
    "TransformerDecoderBase",
    "TransformerEncoder",
    "TransformerEncoderBase",
    "TransformerModel",
    "TransformerModelBase",
    "base_architecture",
]


def __getattr__(name: str) -> Any:
    return getattr(transformer_legacy, name)  # the functions of named sizes, `transformer_wmt_en_de_big`
