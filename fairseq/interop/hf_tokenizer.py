"""From a Hugging Face tokenizer to our dictionary and tokenizer files.

Ids 0-3 of a dictionary are `<s> <pad> </s> <unk>`. RoBERTa and XLM-R number theirs so. BERT's `[CLS] [PAD] [SEP]
[UNK]`, and those that are in another order, are moved to the front, and `[MASK]` is called `<mask>`.
`Vocabulary.order[i]` is the Hugging Face id of our id i, the row of the embedding that it gets.

    GPT-2's byte-level BPE, nothing added    ->  encoder.json, vocab.bpe     bpe=gpt2
    BERT's vocab.txt, nothing added          ->  vocab.txt                   bpe=bert
    any other tokenizer.json                 ->  tokenizer.json              bpe=hf_tokenizer

With the first two, special tokens that are spelt out in a text are text, as in fairseq. Before `convert` returns, a few
texts, with every added token among them, go through the tokenizer and through the files that were written.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairseq.data.dictionary import Dictionary
from fairseq.data.encoders.byte_level import byte_alphabet
from fairseq.data.encoders.hf_tokenizer import lower_case
from fairseq.data.encoders.special_tokens import FRONT, renamed, special_tokens
from fairseq.errors import CheckpointError
from fairseq.interop import hf_describe

TEXTS = (
    "Hello world! It's a rose, is it?",
    "  Two  spaces,\ttabs and 1234.5 (or 67%)",
    "Na\u00efve CAF\u00c9s, \u4f60\u597d \U0001f600 don't  exist\u2026",
    "a",
    "",
)
COPIED = ("vocab.txt", "tokenizer.json", "tokenizer_config.json", "sentencepiece.bpe.model")


@dataclass
class Vocabulary:
    """What `convert` found.

    Attributes:
        dictionary: ours.
        order: Hugging Face id of each of our ids.
        bpe: settings of the `bpe` group, file names relative to the model's folder.
    """

    dictionary: Dictionary
    order: list[int]
    bpe: dict[str, Any]


def convert(folder: Path, dest: Path, size: int) -> Vocabulary:
    """Read the tokenizer in `folder` and write ours (with dict.txt) to `dest`.

    Args:
        size: rows of the token embedding; rows beyond the tokenizer's vocabulary become fill-in words.

    Raises:
        CheckpointError: files that are missing or do not fit together, or a tokenizer that cannot be expressed.
    """
    described = hf_describe.describe(folder)
    tokens = hf_describe.tokens_of(described)
    special = special_tokens(tokens, str(folder))
    _check_roles(hf_describe.settings(folder), special, tokens, str(folder))
    order = arrange(tokens, size, str(folder))
    symbols = renamed(tokens, special)
    names = {index: token for token, index in tokens.items()}
    is_gpt2 = _is_gpt2(described, special)

    dictionary = Dictionary()
    encoder: dict[str, int] = {}
    for index in order[len(FRONT) :]:
        name = names.get(index)
        if name is None:
            symbol = f"madeupword{index:04d}"
        elif is_gpt2 and name != special["<mask>"] and not name.startswith("madeupword"):
            symbol = str(len(encoder))
            encoder[name] = len(encoder)
        else:
            symbol = symbols.get(name, name)
        if symbol in dictionary:
            raise CheckpointError(f"{folder}: token {name!r} (id {index}) has the name of another one, {symbol}")
        dictionary.add_symbol(symbol)
    dictionary.save(str(dest / "dict.txt"))
    for name in COPIED:
        if (folder / name).exists():
            shutil.copyfile(folder / name, dest / name)
    if is_gpt2:
        (dest / "encoder.json").write_text(json.dumps(encoder), encoding="utf-8")
        lines = ["#version: 0.2", *hf_describe.merges_of(described)]
        (dest / "vocab.bpe").write_text("\n".join(lines) + "\n", encoding="utf-8")
        bpe: dict[str, Any] = {"_name": "gpt2", "gpt2_encoder_json": "encoder.json", "gpt2_vocab_bpe": "vocab.bpe"}
    elif not (folder / "tokenizer.json").exists() and _is_bert(described, special):
        bpe = {"_name": "bert", "bpe_vocab_file": "vocab.txt", "bpe_cased": not lower_case(folder)}
    else:
        (dest / "tokenizer.json").write_text(json.dumps(described, ensure_ascii=False), encoding="utf-8")
        bpe = {"_name": "hf_tokenizer", "bpe_tokenizer_json": "tokenizer.json"}
    _compare(described, special, dictionary, order, dest, str(folder))
    return Vocabulary(dictionary, order, bpe)


def arrange(tokens: dict[str, int], size: int, where: str) -> list[int]:
    """Hugging Face's id of each fairseq id."""
    if tokens and max(tokens.values()) >= size:
        raise CheckpointError(
            f"{where}: the tokenizer has id {max(tokens.values())}, but the embedding {size} rows; get both again"
        )
    special = special_tokens(tokens, where)
    front = [tokens[special[ours]] for ours in FRONT]
    return front + [index for index in range(size) if index not in set(front)]


def _check_roles(config: dict[str, Any], special: dict[str, str], tokens: dict[str, int], where: str) -> None:
    """Refuse a tokenizer whose config gives a special token's part to another token."""
    roles = {
        "cls_token": "<s>",
        "pad_token": "<pad>",
        "sep_token": "</s>",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
    }
    for role, ours in roles.items():
        token = config.get(role)
        token = token.get("content") if isinstance(token, dict) else token
        if token is not None and token in tokens and token != special[ours]:
            raise CheckpointError(
                f"{where}: its {role} is {token!r}, and {special[ours]!r} is another token; that cannot be imported"
            )


def _is_gpt2(described: dict[str, Any], special: dict[str, str]) -> bool:
    """Whether our byte-level BPE does the same."""
    model, cutting = described["model"], described.get("pre_tokenizer") or {}
    if model.get("type", "BPE") != "BPE" or "merges" not in model or described.get("normalizer"):
        return False
    if cutting.get("type") != "ByteLevel" or cutting.get("add_prefix_space") or not cutting.get("use_regex", True):
        return False
    extras = ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "ignore_merges")
    if any(model.get(extra) for extra in extras) or special["<s>"] != "<s>":
        return False
    if model.get("unk_token") is not None and not set(byte_alphabet().values()) <= set(model["vocab"]):
        return False  # ours leaves out a byte that the vocabulary lacks
    return _adds_nothing(described, special)


def _is_bert(described: dict[str, Any], special: dict[str, str]) -> bool:
    """Whether our WordPiece does the same."""
    usual = {"clean_text": True, "handle_chinese_chars": True, "strip_accents": None}
    normalizer = described.get("normalizer") or {}
    is_default = all(normalizer.get(name) == value for name, value in usual.items())
    return is_default and special["<unk>"] == described["model"].get("unk_token") and _adds_nothing(described, special)


def _adds_nothing(described: dict[str, Any], special: dict[str, str]) -> bool:
    return all(added["content"] in special.values() for added in described.get("added_tokens") or [])


def _compare(
    described: dict[str, Any],
    special: dict[str, str],
    dictionary: Dictionary,
    order: list[int],
    dest: Path,
    where: str,
) -> None:
    """Refuse files that give other ids than the tokenizer."""
    from fairseq.data.encoders.sentences import sentence_encoder

    theirs, ours = hf_describe.build(described, where), sentence_encoder(dest)
    texts = [*TEXTS, *probes(described, special)]
    ours_of = {theirs_id: ours_id for ours_id, theirs_id in enumerate(order)}
    for text, found in zip(texts, ours.encode(texts), strict=True):
        expected = [ours_of[index] for index in theirs.encode(text, add_special_tokens=False).ids]
        if expected != found[:-1].tolist():
            raise CheckpointError(
                f"{where}: what its tokenizer does cannot be expressed: {text!r} becomes {expected} there and "
                f"{found[:-1].tolist()} here"
            )


def probes(described: dict[str, Any], special: dict[str, str]) -> list[str]:
    """Texts with each added token of a tokenizer, within a word and between words."""
    added = [token["content"] for token in described.get("added_tokens") or []]
    added = [token for token in added if token not in special.values()]
    return [text for token in added for text in (f"a{token}b", f"a {token} b", f"A{token} {token}")]
