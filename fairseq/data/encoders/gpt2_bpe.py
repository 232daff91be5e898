"""`bpe=gpt2`: GPT-2's byte-level BPE as RoBERTa uses it, ids written as words.

    GPT2BPE(cfg).encode("Hello world!")      # "15496 995 0"

The dictionary then maps each of those words to a RoBERTa id. An address as file name is fetched once and kept in
`$FAIRSEQ_CACHE`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fairseq.data.encoders import register_bpe
from fairseq.data.encoders.byte_level import ByteLevelBPE
from fairseq.dataclass.encoders import GPT2BPEConfig

DEFAULT_ENCODER_JSON = GPT2BPEConfig.gpt2_encoder_json
DEFAULT_VOCAB_BPE = GPT2BPEConfig.gpt2_vocab_bpe


@register_bpe("gpt2", dataclass=GPT2BPEConfig)
class GPT2BPE:
    """GPT-2's BPE, from `encoder.json` and `vocab.bpe`."""

    def __init__(self, cfg: Any):
        self.bpe = get_encoder(_local(cfg.gpt2_encoder_json), _local(cfg.gpt2_vocab_bpe))

    def encode(self, x: str) -> str:
        return " ".join(map(str, self.bpe.encode(x)))

    def encode_lines(self, lines: Sequence[str]) -> list[str]:
        """Many lines at once, in parallel threads."""
        return [" ".join(map(str, ids)) for ids in self.bpe.encode_batch(lines)]

    def decode(self, x: str) -> str:
        """The text; `<unk>` and `<mask>` are kept as they are."""
        pieces: list[str] = []
        ids: list[int] = []
        for token in x.split():
            if token in ("<unk>", "<mask>"):
                pieces += [self.bpe.decode(ids), token]
                ids = []
            elif not token.startswith("madeupword"):
                ids.append(int(token))
        return "".join([*pieces, self.bpe.decode(ids)])

    def is_beginning_of_word(self, x: str) -> bool:
        """Whether the token, as decoded, starts with a space."""
        return self.decode(x).startswith(" ")


def get_encoder(encoder_json_path: str, vocab_bpe_path: str) -> ByteLevelBPE:
    paths = {"encoder.json": encoder_json_path, "vocab.bpe": vocab_bpe_path}
    return ByteLevelBPE(encoder_json_path, vocab_bpe_path, published=_are_published(paths))


def _are_published(paths: dict[str, str]) -> bool:
    """Whether these are GPT-2's files, byte for byte. A test checks that each of their tokens encodes as itself."""
    from fairseq.data.download_manifest import sha256
    from fairseq.data.encoders.gpt2_files import FILES

    return all(Path(path).is_file() and sha256(Path(path)) == FILES[name] for name, path in paths.items())


def _local(path: str) -> str:
    """The file itself, downloaded to the cache first where `path` is an address."""
    if "://" not in path:
        return path
    from fairseq.data.download import cache_dir, fetch
    from fairseq.data.encoders.gpt2_files import FILES

    name = path.rsplit("/", 1)[-1]
    target = cache_dir() / "gpt2_bpe" / name
    fetch(path, target, FILES.get(name))
    return str(target)
