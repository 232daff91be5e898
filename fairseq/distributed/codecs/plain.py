"""`raw`, `bf16`, `fp16`: numbers as they are, or cast. fp16 has no numbers above 65504: they become infinite.

>>> Raw().packed_size((3,)), BFloat16().packed_size((3,))
(12, 6)
>>> BFloat16().round_trip(torch.tensor([1.0, 1.001]))
tensor([1., 1.])
"""

import math
from typing import ClassVar

import torch
from torch import Tensor

from fairseq.distributed.codecs.base import CODECS, Codec, Shape


@CODECS.register("raw", "none")
class Raw(Codec):
    """fp32."""

    form = "raw"
    is_exact = True
    cast: ClassVar[torch.dtype] = torch.float32

    def packed_size(self, shape: Shape) -> int:
        return self.cast.itemsize * math.prod(shape)

    def pack(self, x: Tensor, shape: Shape, seed: int) -> Tensor:
        return x.to(self.cast).view(torch.uint8)

    def unpack(self, packed: Tensor, shape: Shape) -> Tensor:
        return packed.clone().view(self.cast).to(torch.float32)


@CODECS.register("bf16")
class BFloat16(Raw):
    """bfloat16."""

    form, is_exact, cast = "bf16", False, torch.bfloat16


@CODECS.register("fp16")
class Half(Raw):
    """float16."""

    form, is_exact, cast = "fp16", False, torch.float16
