"""From a Hugging Face tokenizer to our dictionary and tokenizer files.

Ids 0-3 of a dictionary are `<s> <pad> </s> <unk>`. RoBERTa and XLM-R number theirs so; BERT's `[CLS] [PAD] [SEP] [UNK]`
are moved to the front and `[MASK]` is called `<mask>`. `Vocabulary.order[i]` is the Hugging Face id of our id i, the
row of the embedding that it gets.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from fairseq.data.dictionary import Dictionary
from fairseq.data.encoders.hf_tokenizer import lower_case
from fairseq.errors import CheckpointError
from fairseq.interop.hf_files import read_json

# our special symbols and what they are called elsewhere
SPECIAL = {"<s>": "[CLS]", "<pad>": "[PAD]", "</s>": "[SEP]", "<unk>": "[UNK]", "<mask>": "[MASK]"}
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
        CheckpointError: files that are missing or do not fit together.
    """
    tokens, merges = vocabulary(folder)
    names, order = arrange(tokens, size, str(folder))
    mask = "<mask>" if names.get(0) == "<s>" else SPECIAL["<mask>"]

    dictionary, encoder = Dictionary(), {}
    for index in order[4:]:
        name = names.get(index)
        if name is None:
            symbol = f"madeupword{index:04d}"
        elif name == mask:
            symbol = "<mask>"
        elif merges is not None and not name.startswith("madeupword"):
            symbol = str(len(encoder))
            encoder[name] = len(encoder)
        else:
            symbol = name
        if symbol in dictionary:
            symbol = f"{symbol}#{index}"  # a piece that is spelt like one of our special symbols
        dictionary.add_symbol(symbol)
    dictionary.save(str(dest / "dict.txt"))
    for name in COPIED:
        if (folder / name).exists():
            shutil.copyfile(folder / name, dest / name)
    if merges is not None:
        (dest / "encoder.json").write_text(json.dumps(encoder), encoding="utf-8")
        (dest / "vocab.bpe").write_text("\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8")
        return Vocabulary(
            dictionary, order, {"_name": "gpt2", "gpt2_encoder_json": "encoder.json", "gpt2_vocab_bpe": "vocab.bpe"}
        )
    if (dest / "tokenizer.json").exists():
        return Vocabulary(dictionary, order, {"_name": "hf_tokenizer", "bpe_tokenizer_json": "tokenizer.json"})
    return Vocabulary(
        dictionary, order, {"_name": "bert", "bpe_vocab_file": "vocab.txt", "bpe_cased": not lower_case(folder)}
    )


def arrange(tokens: dict[str, int], size: int, where: str) -> tuple[dict[int, str], list[int]]:
    """Their id -> token, and their id of each of ours."""
    names = {index: token for token, index in tokens.items()}
    if names and max(names) >= size:
        raise CheckpointError(
            f"{where}: the tokenizer has id {max(names)}, but the embedding {size} rows; get both again"
        )
    special = {ours: ours if names.get(0) == "<s>" else theirs for ours, theirs in SPECIAL.items()}
    front = []
    for ours in ("<s>", "<pad>", "</s>", "<unk>"):
        if special[ours] not in tokens:
            raise CheckpointError(
                f"{where}: the tokenizer has no {special[ours]} to serve as {ours}; it is not a BERT-type one"
            )
        front.append(tokens[special[ours]])
    return names, front + [index for index in range(size) if index not in set(front)]


def vocabulary(folder: Path) -> tuple[dict[str, int], Optional[list[str]]]:
    """Token -> id, and the merges of a byte-level BPE."""
    if (folder / "vocab.json").exists() and (folder / "merges.txt").exists():
        lines = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")
        return read_json(folder / "vocab.json"), [line for line in lines if line and not line.startswith("#version")]
    if (folder / "tokenizer.json").exists():
        return _from_json(folder / "tokenizer.json")
    if (folder / "vocab.txt").exists():
        lines = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
        return {token: index for index, token in enumerate(lines) if token}, None
    raise CheckpointError(
        f"{folder} has no tokenizer that can be read: tokenizer.json, vocab.json with merges.txt, or vocab.txt; "
        "download those files too"
    )


def _from_json(path: Path) -> tuple[dict[str, int], Optional[list[str]]]:
    described = read_json(path)
    try:
        model = described["model"]
        vocab, kind = model["vocab"], model.get("type")
        tokens = dict(vocab) if isinstance(vocab, dict) else {entry[0]: index for index, entry in enumerate(vocab)}
        tokens.update({added["content"]: added["id"] for added in described.get("added_tokens", [])})
        if kind != "BPE":
            return tokens, None
        return tokens, [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise CheckpointError(f"{path} does not describe a tokenizer ({error!r}); get the file again") from None
