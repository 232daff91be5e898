"""Files of texts in Huffman codes, byte for byte as fairseq 0.12 writes them.

PREFIX.vocab    words and frequencies, from which the code follows
PREFIX.bin      the encoded items, one after the other
PREFIX.idx      "HUFFIDX\\0\\0", version 1, length of .bin, number of items (uint64 each), numbers of words (int32),
                where each item ends (int64)
"""

import os
import shutil
import struct
from collections.abc import Iterator
from typing import Any, Optional

import numpy as np
import torch

from fairseq.data.errors import MissingDataError
from fairseq.data.fairseq_dataset import FairseqDataset
from fairseq.data.huffman.huffman_coder import HuffmanCoder
from fairseq.data.indexed.names import HUFFMAN_MAGIC, data_file_path, index_file_path
from fairseq.errors import DataError

_NUMBERS = struct.Struct("<QQQ")  # version, length of the data, items


def vocab_file_path(prefix_path: str) -> str:
    return prefix_path + ".vocab"


class HuffmanMMapIndex:
    """The `.idx` file.

    Attributes:
        data_len: length of the data in bytes.
        sizes: words of each item, int32 `(N,)`.
    """

    def __init__(self, path: str):
        try:
            with open(path, "rb") as file:
                content = file.read()
        except OSError as error:
            raise MissingDataError(f"{path}: {error.strerror}") from None
        start = len(HUFFMAN_MAGIC) + _NUMBERS.size
        if not content.startswith(HUFFMAN_MAGIC) or len(content) < start:
            raise DataError(f"{path} is no index of Huffman codes; preprocess the data again")
        version, self._data_len, count = _NUMBERS.unpack_from(content, len(HUFFMAN_MAGIC))
        if version != 1:
            raise DataError(f"{path} has version {version} of the format, 1 is known")
        if len(content) != start + 12 * count:
            raise DataError(f"{path} is {len(content)} bytes long, {start + 12 * count} expected for {count} items")
        self._sizes = np.frombuffer(content, "<i4", count, start)
        self._places = np.append(0, np.frombuffer(content, "<i8", count, start + 4 * count))
        if (np.diff(self._places) < 0).any() or self._places[-1] != self._data_len or (self._sizes < 0).any():
            raise DataError(f"{path} has items that end before they begin; preprocess the data again")

    @staticmethod
    def write(path: str, sizes: list[int], ends: list[int]) -> None:
        partial = f"{path}.partial"
        with open(partial, "wb") as file:
            file.write(HUFFMAN_MAGIC + _NUMBERS.pack(1, ends[-1] if ends else 0, len(sizes)))
            file.write(np.array(sizes, "<i4").tobytes() + np.array(ends, "<i8").tobytes())
        os.replace(partial, path)

    @property
    def data_len(self) -> int:
        return self._data_len

    @property
    def sizes(self) -> np.ndarray:
        return self._sizes

    def __getitem__(self, i: int) -> tuple[int, int, int]:
        """Begin and end in the data, and number of words."""
        return int(self._places[i]), int(self._places[i + 1]), int(self._sizes[i])

    def __len__(self) -> int:
        return len(self._sizes)


class HuffmanMMapIndexedDataset(FairseqDataset):
    """Items are the ids of the code, int64 tensors.

    Raises:
        DataError: a file is missing or damaged.
    """

    def __init__(self, prefix_path: str):
        super().__init__()
        self._prefix = prefix_path
        self._do_init()

    def _do_init(self) -> None:
        self._index = HuffmanMMapIndex(index_file_path(self._prefix))
        self._coder = HuffmanCoder.from_file(vocab_file_path(self._prefix))
        path = data_file_path(self._prefix)
        if not os.path.exists(path) or os.path.getsize(path) != self._index.data_len:
            found = os.path.getsize(path) if os.path.exists(path) else "missing"
            raise DataError(f"{path} has {self._index.data_len} bytes by its index, but is {found}; copy it again")
        empty = self._index.data_len == 0
        self._bytes = np.zeros(0, np.uint8) if empty else np.memmap(path, mode="r", dtype=np.uint8)

    def __getstate__(self) -> str:
        return self._prefix  # files are opened again where it is used

    def __setstate__(self, prefix: str) -> None:
        self._prefix = prefix
        self._do_init()

    def __len__(self) -> int:
        return len(self._index)

    def _decode(self, i: int) -> list[Any]:
        if not 0 <= i < len(self):
            raise IndexError("index out of range")
        start, end, size = self._index[i]
        try:
            nodes = list(self._coder.decode(self._bytes[start:end].tobytes()))
        except DataError as error:
            raise DataError(f"{data_file_path(self._prefix)}, item {i}: {error}") from None
        if len(nodes) != size:
            raise DataError(f"{data_file_path(self._prefix)}, item {i}: {len(nodes)} words, {size} by the index")
        return nodes

    def __getitem__(self, i: int) -> torch.Tensor:
        return torch.tensor([node.id for node in self._decode(int(i))], dtype=torch.int64)

    def get_symbols(self, i: int) -> Iterator[str]:
        """The words of an item."""
        return (node.symbol for node in self._decode(i))

    @property
    def sizes(self) -> np.ndarray:
        return self._index.sizes

    def num_tokens(self, index: int) -> int:
        return int(self.sizes[index])

    def num_tokens_vec(self, indices: Any) -> np.ndarray:
        return self.sizes[indices]

    def size(self, index: int) -> int:
        return int(self.sizes[index])

    @property
    def coder(self) -> HuffmanCoder:
        return self._coder

    @staticmethod
    def exists(prefix_path: str) -> bool:
        return all(os.path.exists(path(prefix_path)) for path in (index_file_path, data_file_path, vocab_file_path))


class HuffmanMMapIndexedDatasetBuilder:
    """Writes the three files: `open`, `add_item` for each item, `close`; or a `with` block.

    The index comes last and whole: what is interrupted has none.
    """

    def __init__(self, path_prefix: str, coder: HuffmanCoder) -> None:
        self._prefix, self._coder = path_prefix, coder
        self._sizes: list[int] = []
        self._ends: list[int] = []
        self._file: Optional[Any] = None

    def open(self) -> None:
        if os.path.exists(index_file_path(self._prefix)):
            os.remove(index_file_path(self._prefix))  # of older data
        self._coder.to_file(vocab_file_path(self._prefix))
        self._file = open(data_file_path(self._prefix), "wb")  # noqa: SIM115 (closed by close)

    def __enter__(self) -> "HuffmanMMapIndexedDatasetBuilder":
        self.open()
        return self

    def _length(self) -> int:
        return self._ends[-1] if self._ends else 0

    def add_item(self, tokens: list[str]) -> None:
        assert self._file is not None, "open first"
        encoded = self._coder.encode(tokens)
        self._sizes.append(len(tokens))
        self._ends.append(self._length() + len(encoded))
        self._file.write(encoded)

    def append(self, other_dataset_path_prefix: str) -> None:
        """All items of finished files with the same code.

        Raises:
            DataError: their code is another one.
        """
        assert self._file is not None, "open first"
        if HuffmanCoder.from_file(vocab_file_path(other_dataset_path_prefix)) != self._coder:
            raise DataError(f"{vocab_file_path(other_dataset_path_prefix)} has another code")
        index = HuffmanMMapIndex(index_file_path(other_dataset_path_prefix))
        self._sizes += index.sizes.tolist()
        start = self._length()
        self._ends += [start + index[i][1] for i in range(len(index))]
        with open(data_file_path(other_dataset_path_prefix), "rb") as file:
            shutil.copyfileobj(file, self._file)

    def close(self) -> None:
        assert self._file is not None, "open first"
        self._file.close()
        HuffmanMMapIndex.write(index_file_path(self._prefix), self._sizes, self._ends)

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> None:
        if kind is None:
            self.close()
        elif self._file is not None:
            self._file.close()
