"""Huffman codes of words, from their frequencies.

>>> builder = HuffmanCodeBuilder()
>>> builder.add_symbols("a", "b", "a")
>>> coder = builder.build_code()
>>> coder.get_code("a"), [node.symbol for node in coder.decode(coder.encode(["a", "b"]))]
('00', ['a', 'b'])

An encoded sequence ends in a 1 and zeros up to a whole byte. The id of a word is its place by frequency. Files hold a
word and its frequency on each line, separated by a tab; the code follows from them.
"""

import os
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np

from fairseq.data.dictionary import Dictionary
from fairseq.errors import DataError, shortened

BLOCKSIZE = 8


@dataclass
class HuffmanNode:
    """A word, or where two parts of the code meet.

    Attributes:
        code: the bits of a word, as text of zeros and ones.
    """

    id: int
    count: int
    symbol: Optional[str] = None
    left: Optional["HuffmanNode"] = None
    right: Optional["HuffmanNode"] = None
    code: Optional[str] = None

    def is_leaf(self) -> bool:
        return self.left is None and self.right is None


class HuffmanCodeBuilder:
    """Counts words.

    Attributes:
        symbols: word -> how often it occurs.
    """

    def __init__(self) -> None:
        self.symbols: Counter[str] = Counter()

    def add_symbols(self, *syms: str) -> None:
        self.symbols.update(syms)

    def increment(self, symbol: str, cnt: int) -> None:
        self.symbols[symbol] += cnt

    def __add__(self, other: "HuffmanCodeBuilder") -> "HuffmanCodeBuilder":
        result = HuffmanCodeBuilder()
        result.symbols = self.symbols + other.symbols
        return result

    @classmethod
    def from_file(cls, filename: str) -> "HuffmanCodeBuilder":
        """The counts of a file.

        Raises:
            DataError: it cannot be read, or has a line that is no word and number.
        """
        builder = cls()
        try:
            with open(filename, encoding="utf-8", newline="\n") as file:
                for number, line in enumerate(file, 1):
                    symbol, tab, count = line.rstrip("\n").rpartition("\t")
                    if not tab or not count.isdecimal() or len(count) > 18 or int(count) < 1:
                        raise DataError(f"{filename}, line {number}: {shortened(line)} is no word, tab and frequency")
                    builder.increment(symbol, int(count))
        except OSError as error:
            raise DataError(f"{filename}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise DataError(f"{filename} is no UTF-8 text") from None
        return builder

    def to_file(self, filename: str, sep: str = "\t") -> None:
        partial = f"{filename}.partial"
        with open(partial, "w", encoding="utf-8", newline="\n") as file:
            file.writelines(f"{word}{sep}{count}\n" for word, count in self.symbols.most_common())
        os.replace(partial, filename)

    def build_code(self, bos: str = "<s>", pad: str = "<pad>", eos: str = "</s>", unk: str = "<unk>") -> "HuffmanCoder":
        """The code; the four special symbols are counted once if they do not occur."""
        assert self.symbols, "cannot build code from empty list of symbols"
        for special in (bos, pad, eos, unk):
            self.symbols.setdefault(special, 1)
        leaves = deque(
            HuffmanNode(number, count, word) for number, (word, count) in enumerate(self.symbols.most_common())
        )
        joined: deque[HuffmanNode] = deque()
        number = len(leaves)

        def rarest() -> HuffmanNode:
            if leaves and (not joined or leaves[-1].count < joined[0].count):
                return leaves.pop()
            return joined.popleft()

        while len(leaves) + len(joined) > 1:
            right, left = rarest(), rarest()
            joined.append(HuffmanNode(number, left.count + right.count, left=left, right=right))
            number += 1
        return HuffmanCoder(joined[0], bos=bos, pad=pad, eos=eos, unk=unk)


class HuffmanCoder:
    """Words to bytes and back.

    Args:
        root: of the tree that a builder makes; its leaves get their codes here.
    """

    def __init__(self, root: HuffmanNode, bos: str = "<s>", pad: str = "<pad>", eos: str = "</s>", unk: str = "<unk>"):
        self.root = root
        self.bos_word, self.pad_word, self.eos_word, self.unk_word = bos, pad, eos, unk
        self.table: dict[str, HuffmanNode] = {}
        waiting = [(root, "")]
        while waiting:
            node, code = waiting.pop()
            if node.left is None or node.right is None:
                node.code = code
                self.table[str(node.symbol)] = node
            else:
                waiting += [(node.left, code + "0"), (node.right, code + "1")]  # the order breaks ties in merge

    def encode(self, iter: list[str]) -> bytes:
        """Unknown words as `unk`."""
        unknown = self.table[self.unk_word]
        bits = "".join(str(self.table.get(word, unknown).code) for word in iter) + "1"
        bits += "0" * (-len(bits) % BLOCKSIZE)
        return int(bits, 2).to_bytes(len(bits) // BLOCKSIZE, "big")

    def decode(self, bits: bytes) -> Iterator[HuffmanNode]:
        """The words of an encoded sequence.

        Raises:
            DataError: the bytes are none.
        """
        sequence = np.unpackbits(np.frombuffer(bits, dtype=np.uint8))
        ones = sequence.nonzero()[0]
        if not len(ones):
            raise DataError("a sequence of Huffman codes has no end")
        node = self.root
        for bit in sequence[: ones[-1]].tolist():
            node = node.right if bit else node.left  # type: ignore[assignment]
            if node.left is None:
                yield node
                node = self.root
        if node is not self.root:
            raise DataError("a sequence of Huffman codes ends within a code")

    def get_code(self, symbol: str) -> Optional[str]:
        node = self.table.get(symbol)
        return None if node is None else node.code

    def get_node(self, symbol: str) -> Optional[HuffmanNode]:
        return self.table.get(symbol)

    def _builder(self) -> HuffmanCodeBuilder:
        builder = HuffmanCodeBuilder()
        for node in sorted(self.table.values(), key=lambda node: node.id):
            builder.increment(str(node.symbol), node.count)
        return builder

    def _specials(self) -> dict[str, str]:
        return {"bos": self.bos_word, "pad": self.pad_word, "eos": self.eos_word, "unk": self.unk_word}

    @classmethod
    def from_file(
        cls, filename: str, bos: str = "<s>", pad: str = "<pad>", eos: str = "</s>", unk: str = "<unk>"
    ) -> "HuffmanCoder":
        """The code of a file of frequencies.

        Raises:
            DataError: it is none.
        """
        builder = HuffmanCodeBuilder.from_file(filename)
        if not builder.symbols:
            raise DataError(f"{filename} is empty: there is no code")
        return builder.build_code(bos, pad, eos, unk)

    def to_file(self, filename: str, sep: str = "\t") -> None:
        self._builder().to_file(filename, sep)

    def __len__(self) -> int:
        return len(self.table)

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, HuffmanCoder) and {w: n.code for w, n in self.table.items()} == {
            w: n.code for w, n in other.table.items()
        }

    __hash__ = None  # type: ignore[assignment]

    def merge(self, other_coder: "HuffmanCoder") -> "HuffmanCoder":
        """The code of both ones' frequencies together."""
        builder = HuffmanCodeBuilder()
        for node in (*self.table.values(), *other_coder.table.values()):
            builder.increment(str(node.symbol), node.count)
        return builder.build_code(**self._specials())

    def to_dictionary(self) -> Dictionary:
        """A dictionary in which words have the ids of the code."""
        dictionary = Dictionary(bos=self.bos_word, pad=self.pad_word, eos=self.eos_word, unk=self.unk_word)
        nodes = sorted(self.table.values(), key=lambda node: node.id)
        dictionary.symbols = [str(node.symbol) for node in nodes]
        dictionary.count = [node.count for node in nodes]
        dictionary.indices = {word: number for number, word in enumerate(dictionary.symbols)}
        for special, word in self._specials().items():
            setattr(dictionary, f"{special}_index", dictionary.indices[word])
        dictionary.nspecial = 0
        return dictionary
