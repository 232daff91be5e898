"""Damage to valid files, by seed: the same seed gives the same damage.

damaged = damage(content, random.Random(3))             # bytes: flipped, cut, doubled, spliced, numbers changed
changed = change({"lr": [0.1], "seed": 1}, rng)         # nested data: values, keys and kinds changed
"""

import copy
import random
import re
import struct
from argparse import Namespace
from typing import Any

import torch

NUMBERS = (0, 1, -1, 2, 127, 128, 255, 256, 65535, 2**31 - 1, -(2**31), 2**32, 2**40, 2**62, 2**63 - 1, -(2**63))
WRITTEN = ("0", "-1", "1e999", "-1e999", "nan", "9" * 30, "9" * 5000, "1e39", "0x10", "1_000", "٣", "", "null", "2.5")
TOKENS = (
    b"\xff", b"\x00", b"\n", b"\t", b"\r", b'"', b"{", b"[" * 5000, b"}", b"]", b":", b",", b"&a *a", b"${oc.env:HOME}",
    b"!!python/object:x", "\u2028".encode(), b"\xed\xa0\x80", b" ", b"<<: *a\n", b"- ", b"null",
)  # fmt: skip
LEAVES: tuple[Any, ...] = (
    None, True, 0, -1, 3, 2**31, 2**40, 2**62, 2**70, 0.5, float("nan"), float("inf"), "", "x", "\ud800", "${x}",
    "${oc.env:HOME}", b"\xff", [], {}, [[]], {"x": 1}, {1: 2}, (1,), Namespace(x=1),
)  # fmt: skip
WRITTEN_NUMBER = re.compile(rb"-?\d+(\.\d+)?([eE][-+]?\d+)?")


def damage(content: bytes, rng: random.Random) -> bytes:
    """One to three kinds of damage, one after the other; what left the bytes as they were is tried again."""
    damaged = content
    for _ in range(10):
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            damaged = rng.choice(DAMAGES)(damaged, rng)
        if damaged != content:
            break
    return damaged


def _span(content: bytes, rng: random.Random) -> tuple[int, int]:
    start = rng.randrange(len(content) + 1)
    return start, min(len(content), start + rng.choice((1, 2, 4, 8, 16, rng.randrange(1, len(content) + 2))))


def _flip(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 4)) if content else 0):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _truncate(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def _remove(content: bytes, rng: random.Random) -> bytes:
    start, end = _span(content, rng)
    return content[:start] + content[end:]


def _duplicate(content: bytes, rng: random.Random) -> bytes:
    start, end = _span(content, rng)
    return content[:end] + content[start:end] * rng.choice((1, 1, 3)) + content[end:]


def _splice(content: bytes, rng: random.Random) -> bytes:
    """A piece of the file in another place, over what was there."""
    start, end = _span(content, rng)
    at = rng.randrange(len(content) + 1)
    return content[:at] + content[start:end] + content[at + end - start :]


def _insert(content: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(content) + 1)
    return content[:at] + rng.choice((*TOKENS, rng.randbytes(rng.randrange(1, 9)))) + content[at:]


def _number(content: bytes, rng: random.Random) -> bytes:
    """An integer of 1, 2, 4 or 8 bytes, which binary formats are made of."""
    form, width = rng.choice((("<B", 1), ("<H", 2), ("<I", 4), ("<Q", 8)))
    if len(content) < width:
        return content
    at = rng.randrange(len(content) - width + 1)
    if rng.random() < 0.3:  # near the one that is there
        value = struct.unpack_from(form, content, at)[0] + rng.choice((-1, 1, 8, -8))
    else:
        value = rng.choice(NUMBERS)
    return content[:at] + struct.pack(form, value % 2 ** (8 * width)) + content[at + width :]


def _written_number(content: bytes, rng: random.Random) -> bytes:
    found = list(WRITTEN_NUMBER.finditer(content))
    if not found:
        return _flip(content, rng)
    place = rng.choice(found)
    return content[: place.start()] + rng.choice(WRITTEN).encode() + content[place.end() :]


DAMAGES = (_flip, _truncate, _remove, _duplicate, _splice, _insert, _number, _number, _written_number)


# -- nested data -------------------------------------------------------------------------------------------------------


def change(value: Any, rng: random.Random) -> Any:
    """A copy of nested dicts, lists, namespaces and tensors in which one to three entries are changed."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = list(_places(value))
        if places:
            _change_at(*rng.choice(places), rng)
    return value


def _places(value: Any) -> Any:
    """(container, key) of every entry, however deep."""
    if isinstance(value, Namespace):
        value = vars(value)
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def _change_at(container: Any, key: Any, rng: random.Random) -> None:
    kind = rng.randrange(8)
    if kind == 0:
        del container[key]
    elif kind == 1 and isinstance(container, dict):
        container[rng.choice(("x", "", 3, "epoch", "model", "_name", "weight"))] = container.pop(key)
    elif kind == 2:
        container[key] = [container[key]] if rng.random() < 0.5 else {"x": container[key]}
    elif kind == 3 and isinstance(container[key], (dict, list)) and container[key]:
        value = container[key]
        entries = list(value.values()) if isinstance(value, dict) else value
        container[key] = rng.choice(entries)
    elif isinstance(container[key], torch.Tensor):
        container[key] = _other_tensor(container[key], rng)
    elif type(container[key]) in (int, float) and rng.random() < 0.7:
        container[key] = rng.choice((*NUMBERS, container[key] + 1, container[key] * 1000, -0.5, float("nan"), 2**70))
    else:
        container[key] = copy.deepcopy(rng.choice(LEAVES))


def _other_tensor(tensor: torch.Tensor, rng: random.Random) -> Any:
    return rng.choice(
        (
            lambda: tensor[:0] if tensor.dim() else tensor.reshape(-1),
            lambda: tensor.reshape(-1),
            lambda: tensor.unsqueeze(0),
            lambda: torch.cat([tensor.reshape(-1)] * 2),
            lambda: tensor.to(rng.choice((torch.int64, torch.bool, torch.float16, torch.float64, torch.complex64))),
            lambda: torch.full_like(tensor, float("nan")) if tensor.is_floating_point() else tensor - 1,
            lambda: torch.zeros(()),
            lambda: tensor.tolist(),
            lambda: tensor.numpy(),
        )
    )()
