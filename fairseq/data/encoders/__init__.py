"""Text <-> subwords (`bpe`) and text <-> words (`tokenizer`), chosen by name and imported when chosen."""

from fairseq import registry

build_tokenizer, register_tokenizer, TOKENIZER_REGISTRY, _ = registry.setup_registry("--tokenizer", default=None)

build_bpe, register_bpe, BPE_REGISTRY, _ = registry.setup_registry("--bpe", default=None)

__all__ = [
    "BPE_REGISTRY",
    "TOKENIZER_REGISTRY",
    "build_bpe",
    "build_tokenizer",
    "register_bpe",
    "register_tokenizer",
]
