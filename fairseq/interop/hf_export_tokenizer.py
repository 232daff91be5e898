"""Tokenizer files for an exported model, with the ids of its dictionary.

    written = export(tokenizer, dictionary, size, dest, max_positions=512, template=None)

`tokenizer.json` says all; byte-level BPE gets vocab.json and merges.txt as well, WordPiece vocab.txt. Hugging Face
cannot give two tokens one id. A token that the dictionary lacks, which the model reads as `<unk>`, gets an id of its
own behind the dictionary's, and the exported model a row for it that is the row of `<unk>`.

>>> renumber({"model": {"type": "BPE", "vocab": {"[PAD]": 0, "a": 1}}, "added_tokens": [{"id": 0, "content": "[PAD]"}]},
...          {"[PAD]": 1, "a": 0}, {})
{'model': {'type': 'BPE', 'vocab': {'a': 0, '[PAD]': 1}}, 'added_tokens': [{'id': 1, 'content': '[PAD]'}]}
"""

import json
from pathlib import Path
from typing import Any, NamedTuple, Optional

from fairseq.data.dictionary import Dictionary
from fairseq.data.encoders.special_tokens import SPECIAL, find_special_tokens
from fairseq.errors import CheckpointError
from fairseq.interop import hf_describe
from fairseq.interop.hf_tokenizer import TEXTS, probes
from fairseq.interop.own_tokenizer import OwnTokenizer

ROLES = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "mask_token": "<mask>"}
BYTE_LEVEL = ("gpt2", "hf_byte_bpe")
WRITTEN = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "vocab.txt")


class Template(NamedTuple):
    """What a task puts around sentences: `<s> A </s>`, `<s> A </s> </s> B </s>`.

    Attributes:
        init: whether `<s>` is in front.
        separator: whether a second `</s>` is in front of the second sentence.
    """

    init: bool = True
    separator: bool = True


def export(
    tokenizer: OwnTokenizer,
    dictionary: Dictionary,
    size: int,
    dest: Path,
    max_positions: int,
    template: Optional[Template] = None,
) -> int:
    """Write the tokenizer to `dest`; returns how many ids there are behind the model's `size`.

    Args:
        dictionary: of the model, `<mask>` included where the model has it.
        size: rows of the token embedding.
        max_positions: the longest input.
        template: what the model's task puts around a sentence; None keeps what the tokenizer says, RoBERTa's way where
            it says nothing.

    Raises:
        CheckpointError: damaged files, a dictionary of another tokenizer or model, or ids that come out otherwise.
    """
    described = tokenizer.describe()
    symbols = tokenizer.symbols(described)
    if len(dictionary) > size:
        raise CheckpointError(f"the dictionary has {len(dictionary)} entries, the model {size}; give its own")
    ids, fillers, extra = _ids(symbols, dictionary, size, str(tokenizer.files[0]))
    special = find_special_tokens(ids) if tokenizer.kind not in BYTE_LEVEL else None
    special = special or {ours: ours for ours in SPECIAL}
    described = renumber(described, ids, fillers)
    _special(described, special, {**ids, **fillers})
    if template is not None or not _marks_ends(described.get("post_processor")):
        described["post_processor"] = _around(template or Template(), special, tokenizer.kind in BYTE_LEVEL)
    _write_json(dest / "tokenizer.json", described)
    _other_files(tokenizer, described, dest)
    roles = {**ROLES, "cls_token": "<s>", "sep_token": "</s>"}
    prefix = (described.get("pre_tokenizer") or {}).get("add_prefix_space")
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_positions,
        "model_input_names": ["input_ids", "attention_mask"],  # no token types
        "clean_up_tokenization_spaces": False,
        **({} if prefix is None else {"add_prefix_space": bool(prefix)}),
        **{role: special[symbol] for role, symbol in roles.items() if special[symbol] in {**ids, **fillers}},
    }
    _write_json(dest / "tokenizer_config.json", config)
    _compare(tokenizer, dictionary, special, size, dest)
    return extra


def _ids(
    symbols: dict[str, str], dictionary: Dictionary, size: int, where: str
) -> tuple[dict[str, int], dict[str, int], int]:
    """Id of each token; names for ids that no token has; how many ids there are beyond `size`."""
    ids, missing = {}, []
    for token, symbol in symbols.items():
        if symbol in dictionary:
            ids[token] = dictionary.index(symbol)
        else:
            missing.append(token)
    words = [s for s in dictionary.symbols[dictionary.nspecial :] if s != "<mask>" and not s.startswith("madeupword")]
    known = set(symbols.values())
    strangers = [word for word in words if word not in known]
    if 2 * len(strangers) > len(words):
        raise CheckpointError(
            f"the dictionary is not one of the tokenizer {where}: it has {len(strangers)} entries that are no tokens, "
            f"such as {strangers[0]!r}; give the tokenizer's folder by --bpe-dir, or --no-tokenizer"
        )
    for index, token in enumerate(missing, size):
        ids[token] = index
    taken, fillers = set(ids.values()), {}
    for index in range(size):
        if index not in taken:
            symbol = dictionary[index] if index < len(dictionary) else f"madeupword{index:04d}"
            fillers[symbol if symbol not in ids and symbol not in fillers else f"[unused-{index}]"] = index
    return ids, fillers, len(missing)


def renumber(described: dict[str, Any], ids: dict[str, int], fillers: dict[str, int]) -> dict[str, Any]:
    """A tokenizer.json with other ids, in place.

    Args:
        ids: token -> its id.
        fillers: names of ids without a token.
    """
    model, old = described["model"], hf_describe.tokens_of(described)
    if isinstance(model["vocab"], dict):
        # added tokens too: those that the vocabulary lacks would get ids behind it
        model["vocab"] = dict(sorted({**ids, **fillers}.items(), key=lambda item: item[1]))
    else:
        scores = dict(model["vocab"])
        lowest = min(scores.values())  # one that is lower would change what an unknown piece costs
        added = [token for token in ids if token not in scores]
        every = {**{token: ids[token] for token in (*scores, *added)}, **fillers}
        if model.get("unk_id") is not None:
            model["unk_id"] = every[model["vocab"][model["unk_id"]][0]]
        model["vocab"] = [[name, scores.get(name, lowest)] for name in sorted(every, key=lambda name: every[name])]
    for added_token in described.get("added_tokens") or []:
        added_token["id"] = ids[added_token["content"]]
    if described.get("added_tokens"):
        described["added_tokens"].sort(key=lambda added_token: added_token["id"])
    _renumber_special(described.get("post_processor"), {index: ids[token] for token, index in old.items()})
    return described


def _renumber_special(node: Any, new: dict[int, int]) -> None:
    """The ids in a post-processor: `cls` and `sep` of BERT's and RoBERTa's, `special_tokens` of a template."""
    if not isinstance(node, dict):
        return
    for end in ("cls", "sep"):
        if end in node:
            node[end] = [node[end][0], new[node[end][1]]]
    for special in (node.get("special_tokens") or {}).values():
        special["ids"] = [new[index] for index in special["ids"]]
    for part in node.get("processors", []):
        _renumber_special(part, new)


def _marks_ends(node: Any) -> bool:
    """Whether a post-processor puts something around a sentence."""
    if not isinstance(node, dict):
        return False
    if node.get("type") == "TemplateProcessing":
        return any("SpecialToken" in piece for piece in node["single"])
    inside = any(_marks_ends(part) for part in node.get("processors", []))
    return inside or node.get("type") in ("RobertaProcessing", "BertProcessing")


def _special(described: dict[str, Any], special: dict[str, str], ids: dict[str, int]) -> None:
    """Have the special tokens found in a text, where the tokenizer does not already."""
    there = {added["content"] for added in described.get("added_tokens") or []}
    flags = {"single_word": False, "rstrip": False, "normalized": False, "special": True}
    new = [
        {"id": ids[token], "content": token, "lstrip": ours == "<mask>", **flags}
        for ours, token in special.items()
        if token in ids and token not in there
    ]
    described["added_tokens"] = sorted([*(described.get("added_tokens") or []), *new], key=lambda added: added["id"])


def _around(template: Template, special: dict[str, str], byte_level: bool) -> dict[str, Any]:
    """The post-processor that does what our task does."""
    cls, sep = special["<s>"], special["</s>"]
    if byte_level and template == Template():
        ends = {"sep": [sep, 2], "cls": [cls, 0]}
        return {"type": "RobertaProcessing", **ends, "trim_offsets": True, "add_prefix_space": False}

    def pieces(text: str) -> list[dict[str, Any]]:
        kinds = {"A": "Sequence", "B": "Sequence"}
        return [{kinds.get(name, "SpecialToken"): {"id": name, "type_id": 0}} for name in text.split("|")]

    single = f"{cls}|A|{sep}" if template.init else f"A|{sep}"
    pair = f"{single}|{sep}|B|{sep}" if template.separator else f"{single}|B|{sep}"
    tokens = {token: {"id": token, "ids": [index], "tokens": [token]} for token, index in ((cls, 0), (sep, 2))}
    return {
        "type": "TemplateProcessing",
        "single": pieces(single),
        "pair": pieces(pair),
        "special_tokens": tokens,
    }


def _other_files(tokenizer: OwnTokenizer, described: dict[str, Any], dest: Path) -> None:
    """What readers of older files look for."""
    vocab = described["model"]["vocab"]
    if tokenizer.kind in BYTE_LEVEL:
        _write_json(dest / "vocab.json", vocab)
        lines = ["#version: 0.2", *hf_describe.merges_of(described)]
        (dest / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    elif tokenizer.kind == "bert":
        (dest / "vocab.txt").write_text("\n".join(vocab) + "\n", encoding="utf-8")


def _compare(tokenizer: OwnTokenizer, dictionary: Dictionary, special: dict[str, str], size: int, dest: Path) -> None:
    """Refuse files that give other ids than our tokenizer and dictionary."""
    described = json.loads((dest / "tokenizer.json").read_text(encoding="utf-8"))
    theirs, ours = hf_describe.build(described, str(dest / "tokenizer.json")), tokenizer.encoder()
    for text in (*TEXTS, *probes(described, special)):
        symbols = dictionary.encode_line(ours.encode(text), append_eos=False, add_if_not_exist=False).tolist()
        ids = theirs.encode(text, add_special_tokens=False).ids
        if symbols != [index if index < size else dictionary.unk() for index in ids]:
            raise CheckpointError(
                f"{tokenizer.files[0]}: Hugging Face's tokenizers cannot do the same: {text!r} becomes {ids} there and "
                f"{symbols} here; give another tokenizer by --bpe-dir, or --no-tokenizer"
            )


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
