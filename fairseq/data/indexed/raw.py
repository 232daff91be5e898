"""A plain text file as a dataset, `--dataset-impl raw`: each line is encoded when the file is opened."""

import os
from typing import Any

import numpy as np
import torch

from fairseq.data.errors import MissingDataError
from fairseq.data.fairseq_dataset import FairseqDataset
from fairseq.file_chunker_utils import iter_lines
from fairseq.file_io import exists


class IndexedRawTextDataset(FairseqDataset):
    """Lines of a text file as int64 tensors of dictionary ids."""

    def __init__(self, path: str, dictionary: Any, append_eos: bool = True, reverse_order: bool = False):
        self.append_eos = append_eos
        self.reverse_order = reverse_order
        self.tokens_list: list[torch.Tensor] = []
        self.lines: list[str] = []
        self.read_data(path, dictionary)
        self.size = len(self.tokens_list)  # type: ignore[assignment,method-assign]  # fairseq's attribute of this name

    def read_data(self, path: str, dictionary: Any) -> None:
        if not self.exists(path):
            raise MissingDataError(f"no text file {path}; check the data folder")
        for line in iter_lines(path):
            self.lines.append(line.strip("\n"))
            tokens = dictionary.encode_line(
                line, add_if_not_exist=False, append_eos=self.append_eos, reverse_order=self.reverse_order
            )
            self.tokens_list.append(tokens.long())
        self.sizes = np.array([len(tokens) for tokens in self.tokens_list])

    def __getitem__(self, i: int) -> torch.Tensor:
        if not 0 <= i < len(self.tokens_list):
            raise IndexError("index out of range")
        return self.tokens_list[i]

    def get_original_text(self, i: int) -> str:
        return self.lines[i]

    def __len__(self) -> int:
        return len(self.tokens_list)

    def num_tokens(self, index: int) -> int:
        return int(self.sizes[index])

    def num_tokens_vec(self, indices: Any) -> np.ndarray:
        return self.sizes[indices]

    @staticmethod
    def exists(path: str) -> bool:
        return exists(path) and os.path.isfile(path)
