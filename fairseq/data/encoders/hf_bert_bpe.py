"""Where fairseq users import `bpe=bert` from; it is one of the encoders of `hf_tokenizer`."""

from fairseq.data.encoders.hf_tokenizer import BertBPE
from fairseq.dataclass.encoders import BertBPEConfig

__all__ = ["BertBPE", "BertBPEConfig"]
