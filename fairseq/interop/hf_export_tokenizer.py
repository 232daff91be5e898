"""Tokenizer files for an exported model, with the ids of our dictionary.

    encoder.json, vocab.bpe, dict.txt   ->  vocab.json, merges.txt        (byte-level BPE)
    tokenizer.json                      ->  the same with other ids
    vocab.txt                           ->  its lines in our order        (WordPiece)

>>> renumber({"model": {"vocab": {"[PAD]": 0, "a": 1}}, "added_tokens": [{"id": 0}]}, [1, 0])
{'model': {'vocab': {'a': 0, '[PAD]': 1}}, 'added_tokens': [{'id': 1}]}
"""

import json
from pathlib import Path
from typing import Any

from fairseq.data.dictionary import Dictionary
from fairseq.data.encoders.hf_tokenizer import lower_case
from fairseq.errors import CheckpointError
from fairseq.interop.hf_files import read_json
from fairseq.interop.hf_tokenizer import SPECIAL, arrange, vocabulary

ROLES = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "mask_token": "<mask>"}


def export(bpe_dir: Path, dest: Path, size: int, max_positions: int) -> None:
    """Write the tokenizer in `bpe_dir` to `dest`.

    Args:
        size: rows of the token embedding.
        max_positions: the longest input.

    Raises:
        CheckpointError: no files of a tokenizer, or another vocabulary than the model's.
    """
    if (bpe_dir / "encoder.json").exists():
        names, kind = _byte_level(bpe_dir, dest, size), "RobertaTokenizer"
    elif (bpe_dir / "tokenizer.json").exists():
        names, kind = _described(bpe_dir, dest, size), "PreTrainedTokenizerFast"
    elif (bpe_dir / "vocab.txt").exists():
        names, kind = _pieces(bpe_dir, dest, size), "BertTokenizer"
    else:
        raise CheckpointError(
            f"{bpe_dir} has no tokenizer: encoder.json with vocab.bpe and dict.txt, tokenizer.json, or vocab.txt; "
            "give the folder by --bpe-dir"
        )
    config: dict[str, Any] = {
        "tokenizer_class": kind,
        "model_max_length": max_positions,
        "model_input_names": ["input_ids", "attention_mask"],  # no token types
        **{role: names[symbol] for role, symbol in ROLES.items()},
        "cls_token": names["<s>"],
        "sep_token": names["</s>"],
    }
    if kind == "BertTokenizer":
        config["do_lower_case"] = lower_case(bpe_dir)
    _write_json(dest / "tokenizer_config.json", config)


def _byte_level(bpe_dir: Path, dest: Path, size: int) -> dict[str, str]:
    dictionary = Dictionary.load(str(bpe_dir / "dict.txt"))
    if "<mask>" not in dictionary and len(dictionary) < size:
        dictionary.add_symbol("<mask>")  # published dictionaries leave it out: the task adds it
    if len(dictionary) > size:
        raise CheckpointError(f"{bpe_dir / 'dict.txt'} has {len(dictionary)} entries, the model {size}; give its own")
    tokens = {str(index): token for token, index in read_json(bpe_dir / "encoder.json").items()}
    vocab = {tokens.get(symbol, symbol): index for index, symbol in enumerate(dictionary.symbols)}
    _write_json(dest / "vocab.json", vocab)
    merges = (bpe_dir / "vocab.bpe").read_text(encoding="utf-8")
    (dest / "merges.txt").write_text(merges, encoding="utf-8")
    return {symbol: symbol for symbol in SPECIAL}


def _described(bpe_dir: Path, dest: Path, size: int) -> dict[str, str]:
    names, order = arrange(vocabulary(bpe_dir)[0], size, str(bpe_dir))
    described = renumber(read_json(bpe_dir / "tokenizer.json"), order)
    _write_json(dest / "tokenizer.json", described)
    return {ours: ours if names.get(0) == "<s>" else theirs for ours, theirs in SPECIAL.items()}


def renumber(described: dict[str, Any], order: list[int]) -> dict[str, Any]:
    """A tokenizer.json with other ids, in place: id `order[i]` becomes i."""
    new = {theirs: ours for ours, theirs in enumerate(order)}
    model = described["model"]
    if isinstance(model["vocab"], dict):
        pairs = sorted((new[index], token) for token, index in model["vocab"].items())
        model["vocab"] = {token: index for index, token in pairs}
    elif order[: len(model["vocab"])] != list(range(len(model["vocab"]))):
        raise CheckpointError("a unigram tokenizer whose special symbols do not come first cannot be exported")
    for added in described.get("added_tokens", []):
        added["id"] = new[added["id"]]
    _renumber_special(described.get("post_processor"), new)
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


def _pieces(bpe_dir: Path, dest: Path, size: int) -> dict[str, str]:
    names, order = arrange(vocabulary(bpe_dir)[0], size, str(bpe_dir))
    lines = [names.get(index, f"[unused-{index}]") for index in order]
    (dest / "vocab.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return dict(SPECIAL)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
