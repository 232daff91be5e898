"""Rotation by a Hadamard matrix, block by block: outliers are spread over their neighbours.

    hadamard:N            x -> x H            blocks of N values of the last axis
    hadamard:N:random     x -> x S H          S: signs drawn anew for every update and micro-batch, the same for all
                                              quantizers of a layer
    hadamard:N:fixed      x -> x S H          S: 16 signs that are the same everywhere, repeated

H is Sylvester's matrix divided by the square root of its size, symmetric and its own inverse. N is a power of two. A
narrower tensor, and one whose width N does not divide, takes the largest power of two that does; if that is below 16,
the tensor is filled up with zeros to blocks of 16 (or N), which are dropped again behind.

Sources: QuEST (arXiv:2502.05003) rotates both operands with N = 128; HQ+LSS (arXiv:2306.11987) with up to 1024; NVFP4
pre-training (arXiv:2509.25149) those of the weight gradient with N = 16 and fixed signs; Quartet (arXiv:2505.14669)
the operands of both backward products with N = 32 and fresh signs.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from fairseq.errors import ConfigError
from fairseq.quantization.cached import cached_tensors
from fairseq.quantization.rounding.noise import HashNoise, NoiseKey
from fairseq.quantization.transforms.base import TRANSFORMS, Transform

LARGEST = 4096
FILLED = 16  # blocks of tensors whose width no larger power of two divides
# of the released NVFP4 recipes
FIXED_SIGNS = (1, 1, 1, -1, 1, -1, -1, -1, -1, -1, -1, 1, -1, 1, -1, -1)


@cached_tensors(maxsize=32)
def hadamard_matrix(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Sylvester's matrix of `size`, a power of two, over the square root of the size."""
    matrix = torch.ones(1, 1, dtype=dtype, device=device)
    while matrix.shape[0] < size:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix / math.sqrt(size)


@TRANSFORMS.register("hadamard")
class Hadamard(Transform):
    """x S H per block of the last axis."""

    def __init__(self, settings: list[str], where: str):
        size, signs = (*settings, "", "")[:2]
        number = int(size) if size.isdecimal() else 0
        if len(settings) > 2 or not 2 <= number <= LARGEST or number & (number - 1):
            raise ConfigError(
                f"{where}: hadamard needs a size that is a power of two from 2 to {LARGEST}, as in 'hadamard:32', got "
                f"{'hadamard:' + ':'.join(settings)!r}"
            )
        if signs not in ("", "random", "fixed"):
            raise ConfigError(f"{where}: signs of hadamard are random or fixed, got {signs!r}")
        self.size, self.signs = number, signs
        self.is_random = signs == "random"

    def block(self, width: int) -> int:
        """The size of blocks of a tensor that is so wide."""
        return max(math.gcd(self.size, width), min(self.size, FILLED))

    def apply(self, x: Tensor, seed: int) -> Tensor:
        size = self.block(x.shape[-1])
        x = F.pad(x, (0, -x.shape[-1] % size))
        blocks = x.reshape(*x.shape[:-1], -1, size)  # (..., K) -> (..., K / size, size)
        signs = self._signs(blocks, seed)
        blocks = blocks if signs is None else blocks * signs
        return (blocks @ hadamard_matrix(size, x.dtype, x.device)).view(x.shape)

    def undo(self, y: Tensor, width: int, seed: int) -> Tensor:
        size = self.block(width)
        blocks = y.reshape(*y.shape[:-1], -1, size)
        blocks = blocks @ hadamard_matrix(size, y.dtype, y.device)
        signs = self._signs(blocks, seed)
        blocks = blocks if signs is None else blocks * signs
        return blocks.view(y.shape)[..., :width]

    def _signs(self, blocks: Tensor, seed: int) -> "Tensor | None":
        count, size = blocks.shape[-2:]
        if not self.signs:
            return None
        if self.signs == "fixed":
            return blocks.new_tensor(FIXED_SIGNS).repeat(-(-size // len(FIXED_SIGNS)))[:size]
        noise = HashNoise(NoiseKey(seed, 0, 0), blocks.new_empty(count, size)).integers()
        return torch.where(noise < 0, -1.0, 1.0).to(blocks.dtype)
