"""fairseq's import path of the GPT-2 encoding's engine: `get_encoder(encoder_json, vocab_bpe)`."""

from fairseq.data.encoders.byte_level import ByteLevelBPE as Encoder
from fairseq.data.encoders.gpt2_bpe import get_encoder

__all__ = ["Encoder", "get_encoder"]
