"""Protein sequences from a FASTA file: a line with `>` and a description, then lines of residues.

dataset = FastaDataset("proteins")              # proteins.fasta
description, residues = dataset[0]
"""

import os
import threading
from typing import Any

import numpy as np
import torch

from fairseq.errors import DataError


def fasta_file_path(prefix_path: str) -> str:
    return prefix_path + ".fasta"


class FastaDataset(torch.utils.data.Dataset):
    """Pairs of description and residues. The file is read once for the places of its sequences, not kept.

    Args:
        path: with or without `.fasta`.
        cache_indices: keep the places in `<path>.idx.npy`.

    Raises:
        DataError: there is no such file, or no sequence in it.
    """

    def __init__(self, path: str, cache_indices: bool = False):
        self.fn = path if os.path.isfile(path) else fasta_file_path(path)
        if not os.path.isfile(self.fn):
            raise DataError(f"no file {self.fn}; check the path")
        self.threadlocal = threading.local()
        cache = f"{path}.idx.npy"
        if cache_indices and os.path.exists(cache) and os.path.getmtime(cache) >= os.path.getmtime(self.fn):
            self.offsets, self.sizes = np.load(cache)
        else:
            self.offsets, self.sizes = self._build_index(self.fn)
            if cache_indices:
                np.save(cache, np.stack([self.offsets, self.sizes]))

    def _get_file(self) -> Any:
        if not hasattr(self.threadlocal, "f"):
            self.threadlocal.f = open(self.fn, encoding="utf-8", newline="")  # noqa: SIM115 - kept for each thread
        return self.threadlocal.f

    @staticmethod
    def _build_index(path: str) -> tuple[np.ndarray, np.ndarray]:
        """Where each sequence's description begins, in bytes, and how many residues it has."""
        offsets: list[int] = []
        sizes: list[int] = []
        with open(path, "rb") as file:
            place = 0
            for line in file:
                if line.startswith(b">"):
                    offsets.append(place)
                    sizes.append(0)
                elif sizes:
                    sizes[-1] += len(line.strip())
                place += len(line)
        if not offsets:
            raise DataError(f"{path}: no line begins with '>'; is it a FASTA file?")
        return np.array(offsets, dtype=np.int64), np.array(sizes, dtype=np.int64)

    def __getitem__(self, idx: int) -> Any:
        file = self._get_file()
        file.seek(int(self.offsets[idx]))
        description = file.readline().strip()[1:]
        residues = ""
        for line in iter(file.readline, ""):
            if line.startswith(">"):
                break
            residues += line.strip()
        return description, residues

    def __len__(self) -> int:
        return len(self.offsets)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "threadlocal"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.threadlocal = threading.local()

    @staticmethod
    def exists(path: str) -> bool:
        return os.path.exists(fasta_file_path(path))


class EncodedFastaDataset(FastaDataset):
    """The residues alone, each as an id of `dictionary`, eos behind them."""

    def __init__(self, path: str, dictionary: Any):
        super().__init__(path, cache_indices=True)
        self.dictionary = dictionary

    def __getitem__(self, idx: int) -> Any:
        _, residues = super().__getitem__(idx)
        return self.dictionary.encode_line(residues, line_tokenizer=list).long()
