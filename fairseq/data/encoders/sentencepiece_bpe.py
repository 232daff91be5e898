"""`bpe=sentencepiece` and `bpe=byte_bpe`: pieces of a model of the sentencepiece library, of text or of its bytes.

SentencepieceBPE(SentencepieceConfig(sentencepiece_model="spm.model")).encode("hello world")    # "▁he llo ▁world"
"""

from typing import Any

from fairseq.data.encoders import register_bpe
from fairseq.data.encoders.libraries import library
from fairseq.dataclass.encoders import SentencepieceConfig
from fairseq.errors import DataError
from fairseq.file_io import exists

WORD_BOUNDARY = "\u2581"


def load_processor(path: str, component: str) -> Any:
    """The library's processor of a model file.

    Raises:
        ConfigError: the library is not installed. DataError: no such file, or it is no model.
    """
    sentencepiece = library("sentencepiece", "sentencepiece", component)
    if not exists(path):
        raise DataError(f"{component}: there is no model {path}")
    processor = sentencepiece.SentencePieceProcessor()
    try:
        processor.Load(str(path))
    except (OSError, RuntimeError) as error:
        raise DataError(f"{component}: {path} is no model of sentencepiece ({error})") from None
    return processor


@register_bpe("sentencepiece", dataclass=SentencepieceConfig)
class SentencepieceBPE:
    """Pieces between spaces; a piece that begins a word begins with U+2581."""

    def __init__(self, cfg: Any):
        self.enable_sampling, self.alpha = cfg.sentencepiece_enable_sampling, cfg.sentencepiece_alpha
        self.sp = load_processor(cfg.sentencepiece_model, "bpe=sentencepiece")

    def encode(self, x: str) -> str:
        if self.enable_sampling:
            alpha = {} if self.alpha is None else {"alpha": self.alpha}
            return " ".join(self.sp.Encode(x, out_type=str, enable_sampling=True, **alpha))
        return " ".join(self.sp.EncodeAsPieces(x))

    def decode(self, x: str) -> str:
        return x.replace(" ", "").replace(WORD_BOUNDARY, " ").strip()

    def is_beginning_of_word(self, x: str) -> bool:
        return x in ("<unk>", "<s>", "</s>", "<pad>") or x.startswith(WORD_BOUNDARY)
