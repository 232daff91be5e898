"""`lowrank:R`: a matrix as the product of two thin ones, x = P Q with P (n, R) and Q (R, m), in fp32.

Rows are all axes but the last. P is an orthonormal basis of what two steps of subspace iteration find, started from
fixed directions (Halko et al. 2011, algorithm 4.4), and Q = P^T x, so that a message depends on x alone and x - P Q is
orthogonal to P: the error has a bias towards small norms, and zeros do not stay exact. Where n R + R m numbers are no
fewer than n m, x itself is sent.

>>> c, x = LowRank("1"), torch.arange(1.0, 4.0)[:, None] * torch.tensor([1.0, -2.0, 0.0, 5.0])
>>> bool((c.round_trip(x) - x).norm() < 1e-5 * x.norm()), c.packed_size(x.shape)
(True, 28)
"""

import math

import torch
from torch import Tensor

from fairseq.distributed.codecs.base import CODECS, Codec, Shape, whole

_STEPS = 2


@CODECS.register("lowrank")
class LowRank(Codec):
    """`rank`: R."""

    form = "lowrank:RANK"

    def __init__(self, rank: str):
        self.rank = whole(rank, "the rank", 1, 2**20)

    def packed_size(self, shape: Shape) -> int:
        rows, columns = _matrix(shape)
        return 4 * min(rows * columns, self.rank * (rows + columns))

    def pack(self, x: Tensor, shape: Shape, seed: int) -> Tensor:
        rows, columns = _matrix(shape)
        if self._is_whole(rows, columns):
            return x.view(torch.uint8)
        matrix = x.view(rows, columns)
        if not bool(matrix.isfinite().all()):
            return x.new_full((self.rank * (rows + columns),), math.nan).view(torch.uint8)
        generator = torch.Generator().manual_seed(0)
        basis = torch.randn(columns, self.rank, generator=generator).to(x.device)
        for _ in range(_STEPS):
            basis = torch.linalg.qr(matrix.T @ torch.linalg.qr(matrix @ basis).Q).Q
        left = torch.linalg.qr(matrix @ basis).Q
        return torch.cat([left.reshape(-1), (left.T @ matrix).reshape(-1)]).view(torch.uint8)

    def unpack(self, packed: Tensor, shape: Shape) -> Tensor:
        rows, columns = _matrix(shape)
        numbers = packed.clone().view(torch.float32)
        if self._is_whole(rows, columns):
            return numbers
        left, right = numbers.split([rows * self.rank, self.rank * columns])
        return (left.view(rows, self.rank) @ right.view(self.rank, columns)).view(-1)

    def _is_whole(self, rows: int, columns: int) -> bool:
        return self.rank * (rows + columns) >= rows * columns


def _matrix(shape: Shape) -> tuple[int, int]:
    columns = shape[-1] if shape else 1
    return math.prod(shape) // max(1, columns), columns
