"""Text <-> subwords (`bpe`) and text <-> words (`tokenizer`), chosen by name and imported when chosen."""

from fairseq import registry

_HERE = "fairseq.data.encoders"

build_tokenizer, register_tokenizer, TOKENIZER_REGISTRY, _ = registry.setup_registry(
    "--tokenizer", default=None, builtins={"space": f"{_HERE}.space_tokenizer"}
)

build_bpe, register_bpe, BPE_REGISTRY, _ = registry.setup_registry(
    "--bpe",
    default=None,
    builtins={
        "gpt2": f"{_HERE}.gpt2_bpe",
        "hf_byte_bpe": f"{_HERE}.hf_byte_bpe",
        "bert": f"{_HERE}.hf_tokenizer",
        "hf_tokenizer": f"{_HERE}.hf_tokenizer",
        "characters": f"{_HERE}.characters",
    },
)

__all__ = [
    "BPE_REGISTRY",
    "TOKENIZER_REGISTRY",
    "build_bpe",
    "build_tokenizer",
    "register_bpe",
    "register_tokenizer",
]
