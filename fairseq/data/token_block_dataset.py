"""A stream of tokens cut into blocks, for language models.

The items of a dataset are read as one stream; `break_mode` says where blocks may end:

    none          every `block_size` tokens
    complete      at ends of items; a block holds as many whole items as fit
    complete_doc  the same, but never across documents (which items of `document_sep_len` tokens separate)
    eos           at every end of an item
"""

from typing import Any, Optional

import numpy as np
import torch

from fairseq.data.fairseq_dataset import FairseqDataset
from fairseq.errors import ConfigError, unknown

_MODES = ("none", "complete", "complete_doc", "eos")


class TokenBlockDataset(FairseqDataset):
    """Items are blocks `(T,)`; with `include_targets` tuples: one token earlier, the block, two tokens earlier.

    Args:
        dataset: items of tokens that end in eos; `sizes` their lengths.
        block_size: tokens in a block; may be None for `eos`.
        pad, eos: what fills the place before the first token of the stream.
        break_mode: see above.
        document_sep_len: length of the items that separate documents.
    """

    def __init__(
        self,
        dataset: Any,
        sizes: Any,
        block_size: Optional[int],
        pad: int,
        eos: int,
        break_mode: Optional[str] = None,
        include_targets: bool = False,
        document_sep_len: int = 1,
        use_plasma_view: bool = False,
        split_path: Optional[str] = None,
        plasma_path: Optional[str] = None,
    ):
        super().__init__()
        self.dataset = dataset
        self.pad, self.eos = pad, eos
        self.include_targets = include_targets
        assert len(dataset) == len(sizes) > 0
        lengths = np.asarray(sizes, dtype=np.int64)
        self._ends = np.cumsum(lengths)  # where items end in the stream
        self._slices = block_slices(lengths, break_mode or "none", document_sep_len, block_size)
        self._sizes = self._slices[:, 1] - self._slices[:, 0]
        # the first item that reaches into the block, and the one that holds its last token
        first = np.searchsorted(self._ends, self._slices[:, 0], side="right")
        last = np.searchsorted(self._ends, self._slices[:, 1], side="left")
        self._first, self._last = np.minimum(first, last), last

    @property
    def slice_indices(self) -> np.ndarray:
        """Begin and end of each block in the stream, `(N, 2)`."""
        return self._slices

    @property
    def sizes(self) -> np.ndarray:
        return self._sizes

    @property
    def block_to_dataset_index(self) -> np.ndarray:
        """First item of each block, the token of it the block begins with, and its last item, `(N, 3)`."""
        starts = np.concatenate([np.zeros(1, np.int64), self._ends])[self._first]
        return np.stack([self._first, self._slices[:, 0] - starts, self._last], axis=1)

    def attr(self, attr: str, index: int) -> Any:
        return self.dataset.attr(attr, self._first[index])

    def __getitem__(self, index: int) -> Any:
        begin, end = self._slices[index].tolist()
        first, last = int(self._first[index]), int(self._last[index])
        stream = self._read(first, last)
        offset = begin - (int(self._ends[first - 1]) if first else 0)
        item = stream[offset : offset + end - begin]
        if not self.include_targets:
            return item
        # what precedes the block: eos at the start of an item, else the tokens before it
        if offset == 0:
            source = torch.cat([item.new_tensor([self.eos]), stream])[: len(item)]
            past = torch.cat([item.new_tensor([self.pad, self.eos]), stream])[: len(item)]
        else:
            source = stream[offset - 1 : offset - 1 + len(item)]
            if offset == 1:
                past = torch.cat([item.new_tensor([self.eos]), stream])[: len(item)]
            else:
                past = stream[offset - 2 : offset - 2 + len(item)]
        return source, item, past

    def _read(self, first: int, last: int) -> torch.Tensor:
        """Items `first .. last`, joined."""
        if hasattr(self.dataset, "read_range"):
            return self.dataset.read_range(first, last)
        return torch.cat([self.dataset[i] for i in range(first, last + 1)])

    def __len__(self) -> int:
        return len(self._slices)

    def num_tokens(self, index: int) -> int:
        return int(self._sizes[index])

    def num_tokens_vec(self, indices: Any) -> np.ndarray:
        return self._sizes[indices]

    def size(self, index: int) -> int:
        return int(self._sizes[index])

    @property
    def supports_prefetch(self) -> bool:
        return getattr(self.dataset, "supports_prefetch", False)

    def prefetch(self, indices: Any) -> None:
        self.dataset.prefetch({i for index in indices for i in range(self._first[index], self._last[index] + 1)})


def block_slices(lengths: np.ndarray, break_mode: str, document_sep_len: int, block_size: Optional[int]) -> np.ndarray:
    """Begin and end of each block in the stream, `(N, 2)`.

    >>> block_slices(np.array([3, 2, 4]), "complete", 1, 6).tolist()
    [[0, 5], [5, 9]]
    """
    if break_mode not in _MODES:
        raise ConfigError(unknown("break_mode", break_mode, _MODES))
    ends = np.cumsum(lengths)
    if break_mode == "eos":
        return np.stack([ends - lengths, ends], axis=1)
    if block_size is None:
        raise ConfigError(f"break_mode {break_mode!r} needs a block size; set task.tokens_per_sample")
    if break_mode == "none":
        begins = np.arange(0, ends[-1], block_size)
        return np.stack([begins, np.minimum(begins + block_size, ends[-1])], axis=1)
    if break_mode == "complete":
        return _whole_items(lengths, ends, 0, len(lengths), block_size)
    separators = np.flatnonzero(lengths == document_sep_len)
    bounds = np.concatenate([[-1], separators, [len(lengths)]])
    documents = [
        _whole_items(lengths, ends, first, last, block_size)
        for first, last in zip((bounds[:-1] + 1).tolist(), bounds[1:].tolist(), strict=True)
        if first < last
    ]
    slices = np.concatenate(documents) if documents else np.empty((0, 2), dtype=np.int64)
    return slices[slices[:, 1] - slices[:, 0] > 1]  # a lone token teaches nothing


def _whole_items(lengths: np.ndarray, ends: np.ndarray, first: int, last: int, block_size: int) -> np.ndarray:
    """Blocks of items `first .. last - 1`: as many as fit into `block_size`, at least one."""
    begin = int(ends[first] - lengths[first])
    cuts = [begin]
    item = first
    while item < last:
        item = max(item + 1, first + int(np.searchsorted(ends[first:last], cuts[-1] + block_size, side="right")))
        cuts.append(int(ends[item - 1]))
    return np.stack([cuts[:-1], cuts[1:]], axis=1)
