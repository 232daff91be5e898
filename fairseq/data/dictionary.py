"""Dictionary: symbols <-> ids, with counts; and `dict.txt`, the file it lives in.

Ids 0-3 are `<s> <pad> </s> <unk>` and are not written to the file. Every line of the file is `<symbol> <count>`, cut at
the last space, and gets the next id; a line that ends in ` #fairseq:overwrite` may name a symbol that is there already.

>>> d = Dictionary()
>>> d.encode_line("a rose is a rose")
tensor([4, 5, 6, 4, 5, 2], dtype=torch.int32)
>>> d.string([4, 5, 6, 2])
'a rose is'
"""

import os
from collections.abc import Callable, Iterable
from itertools import repeat
from typing import Any, Optional, TextIO, Union

import torch

from fairseq.data.dictionary_file import check_duplicates, count_words, parse_entries, read_lines
from fairseq.data.file_work import over_pieces, pieces_of
from fairseq.tokenizer import tokenize_line


class Dictionary:
    """A mapping from symbols to consecutive integers, and back.

    Attributes:
        symbols, count: symbol and number of occurrences of each id.
        indices: symbol -> id.
        nspecial: how many leading ids are special symbols (they are neither sorted nor saved).
    """

    def __init__(
        self,
        *,
        bos: str = "<s>",
        pad: str = "<pad>",
        eos: str = "</s>",
        unk: str = "<unk>",
        extra_special_symbols: Optional[Iterable[str]] = None,
        add_special_symbols: bool = True,
    ):
        self.bos_word, self.unk_word, self.pad_word, self.eos_word = bos, unk, pad, eos
        self.symbols: list[str] = []
        self.count: list[int] = []
        self.indices: dict[str, int] = {}
        if add_special_symbols:
            self.bos_index = self.add_symbol(bos)
            self.pad_index = self.add_symbol(pad)
            self.eos_index = self.add_symbol(eos)
            self.unk_index = self.add_symbol(unk)
        for symbol in extra_special_symbols or ():
            self.add_symbol(symbol)
        self.nspecial = len(self.symbols)

    def __eq__(self, other: object) -> bool:
        return self.indices == other.indices if isinstance(other, Dictionary) else NotImplemented

    def __getitem__(self, idx: int) -> str:
        return self.symbols[idx] if idx < len(self.symbols) else self.unk_word

    def get_count(self, idx: int) -> int:
        return self.count[idx]

    def __len__(self) -> int:
        return len(self.symbols)

    def __contains__(self, sym: object) -> bool:
        return sym in self.indices

    def index(self, sym: str) -> int:
        """The symbol's id, or that of `<unk>`."""
        idx = self.indices.get(sym)
        return self.unk_index if idx is None else idx

    def bos(self) -> int:
        return self.bos_index

    def pad(self) -> int:
        return self.pad_index

    def eos(self) -> int:
        return self.eos_index

    def unk(self) -> int:
        return self.unk_index

    def unk_string(self, escape: bool = False) -> str:
        """`<unk>`, or `<<unk>>` where it must not be mistaken for the word `<unk>` in a reference."""
        return f"<{self.unk_word}>" if escape else self.unk_word

    # ---- ids -> text, text -> ids

    def string(
        self,
        tensor: Any,
        bpe_symbol: Optional[str] = None,
        escape_unk: bool = False,
        extra_symbols_to_ignore: Optional[Iterable[int]] = None,
        unk_string: Optional[str] = None,
        include_eos: bool = False,
        separator: str = " ",
    ) -> str:
        """Text of one sequence of ids, or of each row of a matrix, one a line.

        Args:
            tensor: ids, `(T,)` or `(N, T)`, tensor or list.
            bpe_symbol: how to join word pieces again, see `data_utils.post_process`.
            escape_unk: write unknown symbols as `<<unk>>`.
            extra_symbols_to_ignore: ids to leave out, in addition to bos and (without `include_eos`) eos.
            unk_string: what to write for unknown symbols instead.
        """
        if torch.is_tensor(tensor) and tensor.dim() == 2:
            rows = (
                self.string(row, bpe_symbol, escape_unk, extra_symbols_to_ignore, include_eos=include_eos)
                for row in tensor
            )
            return "\n".join(rows)
        ignored = {*(extra_symbols_to_ignore or ()), getattr(self, "bos_index", None)}
        if not include_eos:
            ignored.add(self.eos())
        unk = self.unk_string(escape_unk) if unk_string is None else unk_string
        ids = tensor.tolist() if hasattr(tensor, "tolist") else map(int, tensor)
        sentence = separator.join(unk if i == self.unk() else self[i] for i in ids if i not in ignored)
        if bpe_symbol is None:
            return sentence
        from fairseq.data.post_process import post_process

        return post_process(sentence, bpe_symbol)

    def encode_line(
        self,
        line: str,
        line_tokenizer: Callable[[str], list[str]] = tokenize_line,
        add_if_not_exist: bool = True,
        consumer: Optional[Callable[[str, int], None]] = None,
        append_eos: bool = True,
        reverse_order: bool = False,
    ) -> torch.Tensor:
        """Ids of a line of text, int32 `(T,)`.

        Args:
            add_if_not_exist: give new words an id instead of `<unk>`.
            consumer: called with every word and its id.
            append_eos: end with eos.
            reverse_order: last word first (eos stays last).
        """
        words = line_tokenizer(line)
        if reverse_order:
            words = words[::-1]
        if add_if_not_exist:
            ids = [self.add_symbol(word) for word in words]
        else:
            ids = list(map(self.indices.get, words, repeat(self.unk_index)))
        if consumer is not None:
            for word, idx in zip(words, ids, strict=True):
                consumer(word, idx)
        if append_eos:
            ids.append(self.eos_index)
        return torch.tensor(ids, dtype=torch.int32)

    def dummy_sentence(self, length: int) -> torch.Tensor:
        """`length` random ordinary ids, int64, the last one eos."""
        sentence = torch.randint(self.nspecial + 1, len(self), (length,))
        sentence[-1] = self.eos()
        return sentence

    # ---- building

    def add_symbol(self, word: str, n: int = 1, overwrite: bool = False) -> int:
        """Count `word` `n` times, giving it the next id if it is new (or `overwrite`); returns its id."""
        if word in self.indices and not overwrite:
            idx = self.indices[word]
            self.count[idx] += n
            return idx
        idx = self.indices[word] = len(self.symbols)
        self.symbols.append(word)
        self.count.append(n)
        return idx

    def update(self, new_dict: "Dictionary") -> None:
        """Add every symbol of `new_dict` with its count."""
        for word, n in zip(new_dict.symbols, new_dict.count, strict=True):
            self.add_symbol(word, n)

    def finalize(self, threshold: int = -1, nwords: int = -1, padding_factor: int = 8) -> None:
        """Sort by count (ties alphabetically), special symbols first, and drop what is rare.

        Args:
            threshold: the smallest count that is kept.
            nwords: the largest number of symbols, special ones included; <= 0 keeps all.
            padding_factor: fill up with `madeupword0000 ...` to a multiple of it.
        """
        ranked = sorted(zip(self.symbols[self.nspecial :], self.count[self.nspecial :], strict=True))
        ranked.sort(key=lambda entry: -entry[1])
        if nwords > 0:
            ranked = ranked[: max(nwords - self.nspecial, 0)]
        ranked = [entry for entry in ranked if entry[1] >= threshold]
        self.symbols = self.symbols[: self.nspecial] + [word for word, _ in ranked]
        self.count = self.count[: self.nspecial] + [n for _, n in ranked]
        self.indices = {word: idx for idx, word in enumerate(self.symbols)}
        self.pad_to_multiple_(padding_factor)

    def pad_to_multiple_(self, padding_factor: int) -> None:
        """Add unused symbols until the size is a multiple of `padding_factor`."""
        number = 0
        while padding_factor > 1 and len(self) % padding_factor != 0:
            if (word := f"madeupword{number:04d}") not in self.indices:
                self.add_symbol(word, n=0)
            number += 1

    @staticmethod
    def add_file_to_dictionary(
        filename: str, dict: "Dictionary", tokenize: Callable[[str], list[str]], num_workers: int
    ) -> None:
        """Count the words of a text file, one eos a line, with `num_workers` processes."""
        pieces = [(filename, tokenize, dict.eos_word, *chunk) for chunk in pieces_of(filename, num_workers)]
        for counter in over_pieces(count_words, pieces, f"counting words of {os.path.basename(filename)}"):
            for word, n in sorted(counter.items()):
                dict.add_symbol(word, n)

    # ---- files

    @classmethod
    def load(cls, f: Union[str, os.PathLike, TextIO], add_special_symbols: bool = True) -> "Dictionary":
        """A dictionary from a `dict.txt`.

        Raises:
            DataError: the file is missing, not UTF-8, has a malformed line or names a symbol twice.
        """
        dictionary = cls(add_special_symbols=add_special_symbols)
        dictionary.add_from_file(f)
        return dictionary

    def add_from_file(self, f: Union[str, os.PathLike, TextIO]) -> None:
        """Append the symbols of a `dict.txt`, see `load`."""
        name, lines = read_lines(f)
        first = self._load_meta(lines)[1]
        entries = parse_entries(lines, first, name)
        start = len(self.symbols)
        new = dict(zip(entries.symbols, range(start, start + len(entries.symbols)), strict=True))
        if len(new) < len(entries.symbols) or not self.indices.keys().isdisjoint(new):
            check_duplicates(entries, set(self.indices), first, name)
        self.symbols += entries.symbols
        self.count += entries.counts
        self.indices.update(new)

    def save(self, f: Union[str, os.PathLike, TextIO]) -> None:
        """Write `dict.txt`: all but the special symbols, in id order; folders are made as needed."""
        keys, values = self._get_meta()
        rows = [*zip(keys, values, strict=True)]
        rows += zip(self.symbols[self.nspecial :], self.count[self.nspecial :], strict=True)
        self._save(f, rows)

    def _save(self, f: Union[str, os.PathLike, TextIO], kv_iterator: Iterable[tuple[str, Any]]) -> None:
        if isinstance(f, (str, os.PathLike)):
            os.makedirs(os.path.dirname(os.fspath(f)) or ".", exist_ok=True)
            with open(f, "w", encoding="utf-8") as file:
                return self._save(file, kv_iterator)
        f.writelines(f"{key} {value}\n" for key, value in kv_iterator)

    def _get_meta(self) -> tuple[list[str], list[Any]]:
        """Keys and values a subclass writes ahead of the symbols."""
        return [], []

    def _load_meta(self, lines: list[str]) -> tuple[list[str], int]:
        """The counterpart of `_get_meta`: the lines and the number of the first that is a symbol's."""
        return lines, 0


class TruncatedDictionary(Dictionary):
    """The first `length` symbols of another dictionary; all others read as `<unk>`."""

    def __init__(self, wrapped_dict: Dictionary, length: int):
        self.__dict__.update(wrapped_dict.__dict__)
        self.wrapped_dict = wrapped_dict
        self.length = min(len(wrapped_dict), length)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, idx: int) -> str:
        return self.symbols[idx] if idx < self.length else self.unk_word
