"""`bpe=byte_bpe`: pieces of a sentencepiece model that was trained on bytes, see `byte_utils` (Wang et al. 2020)."""

from typing import Any

from fairseq.data.encoders import register_bpe
from fairseq.data.encoders.byte_utils import SPACE, SPACE_ESCAPE, byte_encode, smart_byte_decode
from fairseq.data.encoders.sentencepiece_bpe import load_processor
from fairseq.dataclass.encoders import ByteBpeConfig


@register_bpe("byte_bpe", dataclass=ByteBpeConfig)
class ByteBPE:
    """Pieces of bytes between spaces."""

    def __init__(self, cfg: Any):
        self.sp = load_processor(cfg.sentencepiece_model_path, "bpe=byte_bpe")

    def encode(self, x: str) -> str:
        return SPACE.join(self.sp.EncodeAsPieces(byte_encode(x)))

    @staticmethod
    def decode(x: str) -> str:
        return smart_byte_decode(x.replace(SPACE, "").replace(SPACE_ESCAPE, SPACE))
