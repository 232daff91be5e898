"""GPT-2's BPE in plain Python, from the published description.

The oracle of tests/data/test_bpe.py and the slow side of benchmarks/bpe.py.
"""

import json
from itertools import pairwise

import regex

PATTERN = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")


def byte_alphabet() -> dict[int, str]:
    """A visible character for each byte: Latin-1's printable ones stand for themselves, the rest follow from U+0100
    on.
    """
    visible = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {byte: chr(byte) for byte in visible} | {byte: chr(256 + n) for n, byte in enumerate(hidden)}


class PurePythonBPE:
    def __init__(self, encoder_json: str, vocab_bpe: str):
        with open(encoder_json, encoding="utf-8") as file:
            self.ids = json.load(file)
        with open(vocab_bpe, encoding="utf-8") as file:
            merges = [tuple(line.split()) for line in file.read().split("\n")[1:] if line]
        self.rank = {pair: place for place, pair in enumerate(merges)}
        self.alphabet = byte_alphabet()
        self.known: dict[str, list[int]] = {}

    def word(self, word: str) -> list[int]:
        parts = list(word)
        while len(parts) > 1:
            best = min(pairwise(parts), key=lambda pair: self.rank.get(pair, len(self.rank)))
            if best not in self.rank:
                break
            merged, place = [], 0
            while place < len(parts):
                if tuple(parts[place : place + 2]) == best:
                    merged.append(parts[place] + parts[place + 1])
                    place += 2
                else:
                    merged.append(parts[place])
                    place += 1
            parts = merged
        return [self.ids[part] for part in parts]

    def encode(self, text: str, keep: bool = True) -> list[int]:
        """The ids of `text`; without `keep`, words are worked out again each time."""
        found = []
        for word in PATTERN.findall(text):
            written = "".join(self.alphabet[byte] for byte in word.encode("utf-8"))
            if not keep:
                found += self.word(written)
                continue
            if written not in self.known:
                self.known[written] = self.word(written)
            found += self.known[written]
        return found
