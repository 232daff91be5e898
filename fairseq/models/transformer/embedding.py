"""Token embeddings: fresh ones, and ones read from a text file.

A file holds one symbol a line, `symbol v_1 ... v_C`, after a first line `number_of_symbols C`.
"""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from fairseq.errors import DataError


def Embedding(num_embeddings: int, embedding_dim: int, padding_idx: int) -> nn.Embedding:
    """A table ~ N(0, 1 / embedding_dim), padding zero.

    >>> Embedding(5, 4, padding_idx=1).weight[1].tolist()
    [0.0, 0.0, 0.0, 0.0]
    """
    table = nn.Embedding(num_embeddings, embedding_dim, padding_idx=padding_idx)
    nn.init.normal_(table.weight, mean=0, std=embedding_dim**-0.5)
    nn.init.zeros_(table.weight[padding_idx])
    return table


def read_embeddings(path: str, dictionary: Any, table: nn.Embedding) -> int:
    """Copy the vectors of `path` into the rows of `table` whose symbols are in `dictionary`; returns how many.

    Raises:
        DataError: no such file, or a line of another width than the table's.
    """
    width, found = table.embedding_dim, 0
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(f"embeddings {path}: {error.strerror or error}") from None
    with torch.no_grad():
        for number, line in enumerate(lines[1:], start=2):
            symbol, *values = line.rstrip().split(" ")
            if len(values) != width:
                raise DataError(f"embeddings {path}, line {number}: {len(values)} values, the model's width is {width}")
            row = dictionary.index(symbol)
            if row != dictionary.unk():
                table.weight[row] = torch.tensor([float(value) for value in values])
                found += 1
    return found
