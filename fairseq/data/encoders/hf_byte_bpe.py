"""`bpe=hf_byte_bpe`: byte-level BPE from `vocab.json` and `merges.txt`, tokens written as themselves."""

from typing import Any

from fairseq.data.encoders import register_bpe
from fairseq.data.encoders.byte_level import ByteLevelBPE
from fairseq.dataclass.encoders import HuggingFaceByteLevelBPEConfig


@register_bpe("hf_byte_bpe", dataclass=HuggingFaceByteLevelBPEConfig)
class HuggingFaceByteLevelBPE:
    """Byte-level BPE whose output words are the tokens."""

    def __init__(self, cfg: Any):
        self.bpe = ByteLevelBPE(cfg.bpe_vocab, cfg.bpe_merges, cfg.bpe_add_prefix_space)

    def encode(self, x: str) -> str:
        return " ".join(self.bpe.tokens(self.bpe.encode(x)))

    def decode(self, x: str) -> str:
        """The text; `<unk>` and `<mask>` are kept as they are."""
        from tokenizers import decoders

        words = [f" {word} " if word in ("<unk>", "<mask>") else word for word in x.split()]
        return decoders.ByteLevel().decode(words)

    def is_beginning_of_word(self, x: str) -> bool:
        return self.decode(x).startswith(" ")
