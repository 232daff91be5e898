"""The tokenizer in a Hugging Face folder, whichever files describe it, as the contents of one tokenizer.json.

    tokenizer.json                     as it is
    vocab.json, merges.txt             byte-level BPE
    vocab.txt                          BERT's WordPiece

and what the files next to them add: `add_prefix_space`, `do_lower_case`, `strip_accents`, `tokenize_chinese_chars` of
tokenizer_config.json, and the tokens of added_tokens.json and `added_tokens_decoder`.
"""

import json
from pathlib import Path
from typing import Any, Optional

from fairseq.data.encoders.tokenizer_files import bpe_model, check_description, library_errors
from fairseq.errors import CheckpointError
from fairseq.interop.hf_checks import read_text, tokenizer_files
from fairseq.interop.hf_files import read_json

# classes whose files are those of byte-level BPE, and of BERT's WordPiece; others do more than their files say
GENERIC = ("PreTrainedTokenizer", "TokenizersBackend")
BYTE_LEVEL = ("RobertaTokenizer", "GPT2Tokenizer", "BartTokenizer", "LongformerTokenizer", *GENERIC)
WORDPIECE = ("BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer", *GENERIC)

Description = dict[str, Any]


def describe(folder: Path) -> Description:
    """The contents of a tokenizer.json for the tokenizer in `folder`.

    Raises:
        CheckpointError: no file of a tokenizer, a damaged one, or a class that does more than its files say.
    """
    config = settings(folder)
    kind = _class(config)
    if (folder / "tokenizer.json").exists():
        described = read_json(folder / "tokenizer.json")
        check(described, str(folder / "tokenizer.json"))
        return _overridden(described, config, kind)
    if (folder / "vocab.json").exists() and (folder / "merges.txt").exists():
        _refuse_other(kind, BYTE_LEVEL, folder)
        tokenizer = _byte_level(folder, config)
    elif (folder / "vocab.txt").exists():
        _refuse_other(kind, WORDPIECE, folder)
        tokenizer = _wordpiece(folder, config)
    else:
        raise CheckpointError(
            f"{folder} has no tokenizer that can be read: tokenizer.json, vocab.json with merges.txt, or vocab.txt; "
            "download those files too"
        )
    _add_tokens(tokenizer, folder, config)
    described = json.loads(tokenizer.to_str())
    check(described, str(folder))
    return described


def build(described: Description, where: str) -> Any:
    """The `tokenizers.Tokenizer` of a description, neither truncating nor padding; CheckpointError if it is none."""
    from tokenizers import Tokenizer

    with tokenizer_files(), library_errors(f"{where} does not describe a tokenizer"):
        tokenizer = Tokenizer.from_str(json.dumps(described))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def settings(folder: Path) -> dict[str, Any]:
    """tokenizer_config.json, empty if there is none."""
    path = folder / "tokenizer_config.json"
    config = read_json(path) if path.exists() else {}
    if not isinstance(config, dict):
        raise CheckpointError(f"{path} does not hold a tokenizer's settings; get the file again")
    return config


def check(described: Any, where: str) -> None:
    """Refuse what has not the parts that a tokenizer.json has."""
    with tokenizer_files():
        check_description(described, where)


def tokens_of(described: Description) -> dict[str, int]:
    """Token -> id, added tokens included."""
    vocab = described["model"]["vocab"]
    tokens = dict(vocab) if isinstance(vocab, dict) else {entry[0]: index for index, entry in enumerate(vocab)}
    return tokens | {added["content"]: added["id"] for added in described.get("added_tokens") or []}


def merges_of(described: Description) -> list[str]:
    """The merges of a BPE, as lines of merges.txt."""
    return [merge if isinstance(merge, str) else " ".join(merge) for merge in described["model"]["merges"]]


def _class(config: dict[str, Any]) -> Optional[str]:
    name = config.get("tokenizer_class")
    return None if name is None else str(name).removesuffix("Fast")


def _refuse_other(kind: Optional[str], known: tuple[str, ...], folder: Path) -> None:
    if kind is not None and kind not in known:
        raise CheckpointError(
            f"{folder}: what a {kind} does is not in its files; save it with transformers as tokenizer.json"
        )


def _overridden(described: Description, config: dict[str, Any], kind: Optional[str]) -> Description:
    """RoBERTa's and BERT's classes go by tokenizer_config.json where it and tokenizer.json disagree."""
    if kind in BYTE_LEVEL and (described.get("pre_tokenizer") or {}).get("type") == "ByteLevel":
        for part in ("pre_tokenizer", "post_processor"):
            node = described.get(part)
            if isinstance(node, dict) and "add_prefix_space" in node and "add_prefix_space" in config:
                node["add_prefix_space"] = bool(config["add_prefix_space"])
    normalizer = described.get("normalizer") or {}
    if kind in WORDPIECE and normalizer.get("type") == "BertNormalizer":
        for ours, theirs in (
            ("do_lower_case", "lowercase"),
            ("strip_accents", "strip_accents"),
            ("tokenize_chinese_chars", "handle_chinese_chars"),
        ):
            normalizer[theirs] = config.get(ours, normalizer.get(theirs))
    return described


def _byte_level(folder: Path, config: dict[str, Any]) -> Any:
    from tokenizers import Tokenizer, decoders, pre_tokenizers

    with tokenizer_files():
        tokenizer = Tokenizer(bpe_model(str(folder / "vocab.json"), str(folder / "merges.txt"))[0])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=bool(config.get("add_prefix_space", False)))
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _wordpiece(folder: Path, config: dict[str, Any]) -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    lines = read_text(folder / "vocab.txt").split("\n")
    vocab = {token: index for index, token in enumerate(lines) if token}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token=_text(config.get("unk_token", "[UNK]"))))
    tokenizer.normalizer = normalizers.BertNormalizer(
        lowercase=bool(config.get("do_lower_case", True)),
        strip_accents=config.get("strip_accents"),
        handle_chinese_chars=bool(config.get("tokenize_chinese_chars", True)),
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def _add_tokens(tokenizer: Any, folder: Path, config: dict[str, Any]) -> None:
    """Tokens that are found in the text before it is cut into words. They must get the ids that the files give them."""
    from tokenizers import AddedToken

    added: dict[int, Any] = {}
    path = folder / "added_tokens.json"
    for token, index in (read_json(path) if path.exists() else {}).items():
        added[int(index)] = AddedToken(token, normalized=False)
    for index, entry in (config.get("added_tokens_decoder") or {}).items():
        flags = {flag: bool(entry[flag]) for flag in ("lstrip", "rstrip", "normalized", "special") if flag in entry}
        added[int(index)] = AddedToken(entry["content"], **flags)
    for index, token in sorted(added.items()):
        add = tokenizer.add_special_tokens if token.special else tokenizer.add_tokens
        add([token])
        if tokenizer.token_to_id(token.content) != index:
            raise CheckpointError(
                f"{folder}: the added token {token.content!r} has id {index}, but the vocabulary gives it "
                f"{tokenizer.token_to_id(token.content)}; save the tokenizer with transformers as tokenizer.json"
            )


def _text(token: Any) -> str:
    """The spelling of a token that a config names, as text or as an object."""
    return str(token["content"]) if isinstance(token, dict) else str(token)
