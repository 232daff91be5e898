"""Files of tokenizers, checked before the `tokenizers` library sees them.

    model, num_ids = bpe_model("encoder.json", "vocab.bpe")     # a tokenizers.models.BPE
    check_description(json.loads(text), "tokenizer.json")

The library reserves memory for every id up to the largest, and fails in its own code on a merge whose result is no
token: both are looked at here.

>>> check_ids({"a": 0, "b": 3}, "vocab.json"), check_merges([("a", "b")], {"a": 0, "b": 1, "ab": 2}, "merges.txt")
(None, None)
>>> check_merges([("a", "b")], {"a": 0, "b": 1}, "merges.txt")
Traceback (most recent call last):
...
fairseq.errors.DataError: merges.txt: the merge 'a' 'b' needs the token 'ab', which the vocabulary lacks; get both again
"""

import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fairseq.errors import DataError, reason, shortened

MAX_ID = 1 << 31
MAX_GAPS = 1 << 16  # ids without a token; vocabularies in use have none, or those of added tokens


def bpe_model(vocab: str, merges: str, check: bool = True) -> tuple[Any, int]:
    """The library's model of those files, and the smallest number above all ids, which may have gaps.

    Args:
        check: False for files whose checksums are known: the library reads them itself, in half the time.

    Raises:
        DataError: one of them cannot be read, is damaged, or does not fit the other.
    """
    from tokenizers import Tokenizer, models

    if not check:
        model = models.BPE.from_file(vocab, merges)
        return model, Tokenizer(model).get_vocab_size()
    ids, pairs = read_vocabulary(vocab), read_merges(merges)
    check_merges(pairs, ids, merges)
    with library_errors(f"cannot read the BPE of {vocab} and {merges}"):
        return models.BPE(ids, pairs), 1 + max(ids.values(), default=-1)


def read_vocabulary(path: str) -> dict[str, int]:
    """Token -> id from JSON."""
    ids = read_json(path)
    check_ids(ids, path)
    return dict(ids)


def read_merges(path: str) -> list[tuple[str, str]]:
    """The pairs of merges.txt, which are one a line; lines that begin with `#version` are none."""
    lines = read_text(path).replace("\r\n", "\n").split("\n")
    if not lines[-1]:
        lines.pop()
    pairs = [tuple(line.split(" ")) for line in lines if not line.startswith("#version")]
    if set(map(len, pairs)) <= {2} and all(map(all, pairs)):
        return pairs  # type: ignore[return-value]
    odd = (line for line in lines if not line.startswith("#version") and not re.fullmatch("[^ ]+ [^ ]+", line))
    raise DataError(f"{path}: expected two tokens and a space, found {shortened(next(odd))}; get the file again")


def check_ids(tokens: Any, where: str) -> None:
    """Raise DataError unless `tokens` maps text to different ids from 0 without large gaps."""
    if not isinstance(tokens, Mapping):
        raise DataError(f"{where}: expected tokens with their ids, found a {type(tokens).__name__}; get the file again")
    most, ids = len(tokens) + MAX_GAPS, set(tokens.values()) if _are(int, tokens.values()) else set()
    in_range = not ids or (min(ids) >= 0 and max(ids) < most)
    if in_range and len(ids) == len(tokens) and _are(str, tokens) and _is_writable("".join(tokens)):
        return
    owners: dict[int, str] = {}
    for token, index in tokens.items():
        if not isinstance(token, str) or not _is_writable(token):
            raise DataError(f"{where}: {shortened(token)} is no text; get the file again")
        if type(index) is not int or index < 0:
            raise DataError(f"{where}: {shortened(token)} has no id, but {shortened(index)}; get the file again")
        if index >= most:
            raise DataError(
                f"{where}: {shortened(token)} has id {index:.6g} among {len(tokens)} tokens; get the file again"
            )
        if owners.setdefault(index, token) != token:
            raise DataError(f"{where}: {shortened(owners[index])} and {shortened(token)} both have id {index}")


def check_merges(pairs: Iterable[tuple[str, str]], tokens: Mapping[str, int], where: str, prefix: str = "") -> None:
    """Raise DataError for a merge of, or to, what is no token.

    Args:
        prefix: in front of pieces that do not begin a word (`continuing_subword_prefix`), left out of the result.
    """
    for left, right in pairs:
        merged = left + right[len(prefix) :]
        if left not in tokens or right not in tokens or merged not in tokens:
            lacking = next(token for token in (left, right, merged) if token not in tokens)
            raise DataError(
                f"{where}: the merge {shortened(left)} {shortened(right)} needs the token {shortened(lacking)}, which "
                "the vocabulary lacks; get both again"
            )


def check_description(described: Any, where: str) -> None:
    """Raise DataError where the contents of a tokenizer.json have not the parts that one has, or these do not fit."""
    try:
        model, added = described["model"], described.get("added_tokens") or []
        vocab, merges = model["vocab"], model.get("merges") or []
        pairs = [tuple(merge.split(" ") if isinstance(merge, str) else merge) for merge in merges]
        for token in [text for pair in pairs for text in pair] if isinstance(vocab, dict) else [v[0] for v in vocab]:
            if not isinstance(token, str):
                raise TypeError(shortened(token))
        for token, index in [(entry["content"], entry["id"]) for entry in added]:
            if not isinstance(token, str) or type(index) is not int or not 0 <= index < MAX_ID:
                raise TypeError(f"{shortened(token)}: {shortened(index)}")
        if any(len(pair) != 2 for pair in pairs):
            raise TypeError("a merge of other than two tokens")
        prefix = str(model.get("continuing_subword_prefix") or "")
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise DataError(f"{where} does not describe a tokenizer ({error!r}); get the file again") from None
    if isinstance(vocab, dict):
        check_ids(vocab, where)
        check_merges(pairs, vocab, where, prefix)


@contextlib.contextmanager
def library_errors(what: str) -> Iterator[None]:
    """Around calls of the `tokenizers` library: what it raises becomes a DataError that begins with `what`.

    It raises Exception itself for any fault of a file, and a BaseException where its own code has failed.
    """
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise DataError(f"{what}: {reason(error)}; get the files again") from None


def read_json(path: str) -> Any:
    """The contents of a JSON file; DataError where it cannot be read."""
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no JSON ({reason(error)}); get the file again") from None


def read_text(path: str) -> str:
    """The text of a file in UTF-8; DataError where it cannot be read."""
    try:
        return Path(path).read_bytes().decode("utf-8")
    except OSError as error:
        raise DataError(f"cannot read {path}: {reason(error)}; get the file again") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {error.start}); get the file again") from None


def _are(kind: type, values: Iterable[Any]) -> bool:
    """Whether all are of just this type: True is no id."""
    return set(map(type, values)) <= {kind}


def _is_writable(token: str) -> bool:
    try:
        token.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can hold
        return False
    return True
