"""The tokenizer that belongs to a checkpoint of ours, as a description for Hugging Face.

    tokenizer = find(source.bpe, folder_of_the_checkpoint, bpe_dir=None)
    tokenizer.describe()            # the contents of a tokenizer.json, with the tokenizer's own ids
    tokenizer.symbols(described)    # token -> what our dictionary calls it

It is the one that the checkpoint names, in the files that it names or in files of that name next to it. A folder that
is given explicitly comes first, and a checkpoint that names none takes what is next to it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from fairseq.data.encoders.hf_tokenizer import lower_case, wordpiece
from fairseq.data.encoders.special_tokens import find_special_tokens, renamed
from fairseq.data.encoders.tokenizer_files import bpe_model
from fairseq.errors import CheckpointError
from fairseq.interop import hf_checks, hf_describe
from fairseq.interop.hf_files import read_json

# bpe -> its settings that name files, and what these are called in a folder; the order is that of preference
FILES: dict[str, dict[str, str]] = {
    "gpt2": {"gpt2_encoder_json": "encoder.json", "gpt2_vocab_bpe": "vocab.bpe"},
    "hf_tokenizer": {"bpe_tokenizer_json": "tokenizer.json"},
    "bert": {"bpe_vocab_file": "vocab.txt"},
    "hf_byte_bpe": {"bpe_vocab": "vocab.json", "bpe_merges": "merges.txt"},
}


@dataclass
class OwnTokenizer:
    """A tokenizer in files.

    Attributes:
        kind: name in the `bpe` group.
        files: the paths, in the order of `FILES`.
        folder: which may have a dict.txt.
        cased: `bpe=bert` keeps upper case.
        add_prefix_space: of `bpe=hf_byte_bpe`.
    """

    kind: str
    files: list[Path]
    folder: Path
    cased: bool = False
    add_prefix_space: bool = False

    def describe(self) -> dict[str, Any]:
        """The contents of a tokenizer.json. CheckpointError: files that are damaged."""
        import json

        from tokenizers import Tokenizer, decoders, pre_tokenizers

        where = " and ".join(map(str, self.files))
        if self.kind == "hf_tokenizer":
            described = read_json(self.files[0])
            hf_describe.check(described, where)
            return described
        if self.kind == "bert":
            tokenizer = wordpiece(str(self.files[0]), self.cased)
            special = find_special_tokens(tokenizer.get_vocab()) or {}
            tokenizer.add_special_tokens(
                [token for token in special.values() if tokenizer.token_to_id(token) is not None]
            )
            return json.loads(tokenizer.to_str())
        with hf_checks.tokenizer_files():
            vocab, merges = map(str, self.files)
            tokenizer = Tokenizer(bpe_model(vocab, merges)[0])
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=self.add_prefix_space)
        tokenizer.decoder = decoders.ByteLevel()
        return json.loads(tokenizer.to_str())

    def symbols(self, described: dict[str, Any]) -> dict[str, str]:
        """Token -> symbol of the dictionary."""
        tokens = hf_describe.tokens_of(described)
        if self.kind == "gpt2":
            return {token: str(index) for token, index in tokens.items()}
        if self.kind == "hf_byte_bpe":
            return {token: token for token in tokens}
        names = renamed(tokens, find_special_tokens(tokens))
        return {token: names.get(token, token) for token in tokens}

    def encoder(self) -> Any:
        """What turns text into symbols."""
        from omegaconf import OmegaConf

        from fairseq.data import encoders

        settings = dict(zip(FILES[self.kind], map(str, self.files), strict=True))
        extra: dict[str, Any] = {"bpe_cased": self.cased} if self.kind == "bert" else {}
        if self.kind == "hf_byte_bpe":
            extra["bpe_add_prefix_space"] = self.add_prefix_space
        return encoders.build_bpe(OmegaConf.create({"_name": self.kind, **settings, **extra}))


def find(bpe: Any, checkpoint_dir: Path, bpe_dir: Optional[Path] = None) -> Optional[OwnTokenizer]:
    """The tokenizer of a checkpoint; None if it names none and none is next to it.

    Args:
        bpe: its config node `bpe`.
        checkpoint_dir: the checkpoint's folder.
        bpe_dir: take the files in this folder.

    Raises:
        CheckpointError: files that are named or asked for are missing, or the kind cannot be written for Hugging Face.
    """
    name = None if bpe is None else str(bpe if isinstance(bpe, str) else bpe.get("_name") or "") or None
    settings: Any = {} if bpe is None or isinstance(bpe, str) else bpe
    kinds = sorted(FILES, key=lambda kind: kind != name)  # the named one first, then in order of preference
    if bpe_dir is not None:
        found = _in_folder(bpe_dir, kinds, name, settings)
        if found is None:
            raise CheckpointError(
                f"{bpe_dir} has no tokenizer: encoder.json with vocab.bpe and dict.txt, tokenizer.json, vocab.txt, or "
                "vocab.json with merges.txt; give the folder by --bpe-dir"
            )
        return found
    if name is None:
        return _in_folder(checkpoint_dir, kinds, None, settings)
    if name not in FILES:
        raise CheckpointError(
            f"the checkpoint's bpe={name} cannot be written for Hugging Face, only {', '.join(FILES)}; give another "
            "tokenizer by --bpe-dir, or --no-tokenizer"
        )
    files = []
    for setting, file in FILES[name].items():
        path = _existing(_candidates(settings.get(setting), checkpoint_dir / file))
        if path is None:
            raise CheckpointError(
                f"the checkpoint's tokenizer is bpe={name}, but {settings.get(setting) or file} is not here; give the "
                "folder with its files by --bpe-dir, or --no-tokenizer"
            )
        files.append(path)
    return _of(name, files, files[0].parent, settings)


def _in_folder(folder: Path, kinds: Iterable[str], name: Optional[str], settings: Any) -> Optional[OwnTokenizer]:
    for kind in kinds:
        files = [folder / file for file in FILES[kind].values()]
        if all(file.exists() for file in files):
            return _of(kind, files, folder, settings if kind == name else {})
    return None


def _of(kind: str, files: list[Path], folder: Path, settings: Any) -> OwnTokenizer:
    cased = settings.get("bpe_cased") if "bpe_cased" in settings else None
    if cased is None:
        cased = kind == "bert" and not lower_case(folder)
    prefix = settings.get("bpe_add_prefix_space") if "bpe_add_prefix_space" in settings else None
    if prefix is None and kind == "hf_byte_bpe":
        prefix = hf_describe.settings(folder).get("add_prefix_space", False)
    return OwnTokenizer(kind, files, folder, bool(cased), bool(prefix))


def _candidates(named: Any, checkpoint_dir: Path) -> list[Path]:
    """Where a file may be: as it was named, in the cache of downloads if that is an address, next to the checkpoint."""
    if not named:
        return [checkpoint_dir]
    if "://" in str(named):
        from fairseq.data.download import cache_dir

        return [cache_dir() / "gpt2_bpe" / str(named).rsplit("/", 1)[-1], checkpoint_dir]
    return [Path(str(named)), checkpoint_dir]


def _existing(paths: Iterable[Path]) -> Optional[Path]:
    return next((path for path in paths if path.is_file()), None)
