"""NVFP4: e2m1 elements in blocks of 16 with a scale in e4m3, and one scale in fp32 for the whole tensor.

    tensor scale   s = max |x| / (448 * 6)                   so that the largest block scale is e4m3's largest value
    block scale    b = e4m3(amax / 6 / s), at least 2^-9     its least value above 0: no block is lost to a scale of 0
    value          e2m1(x / (b s)) * (b s)

`scaling: encode` is the order of the released training recipes (NVIDIA, arXiv:2509.25149), in which a block that is
very small beside the tensor's largest value has the scale 0 and becomes 0:

    encode scale   S = min(448 * 6 / max |x|, largest fp32), 1 where that is 0 or x is
    block scale    b = e4m3(min(amax * (S * (1/6)), 448))
    value          e2m1(x * min(1 / (b * (1/S)), largest fp32)) * (b * (1/S))

All in fp32, in this order. Scales are no powers of two, so rounding a tensor again may move it by fp32's own rounding.
An infinity or a NaN in any block makes the whole tensor NaN, whose scale it spoils.

>>> nvfp4 = NVFP4()
>>> x = torch.tensor([0.1, -0.7, 2.6, 6.0])
>>> nvfp4.fake_quantize(x, nvfp4.qparams(x.min(), x.max(), 4)).tolist()
[0.0, -0.5, 3.0, 6.0]
"""

import copy
from collections.abc import Sequence
from typing import Optional

import torch
from torch import Tensor

from fairseq.quantization.formats.base import FORMATS, Noise, NumberFormat, QParams
from fairseq.quantization.formats.block.base import BlockOfFloats, BlockSize
from fairseq.quantization.formats.fields import choice
from fairseq.quantization.formats.float.bit_patterns import magnitude_codes, values_of_codes
from fairseq.quantization.formats.float.significand import Digits, round_significand

MAX_SCALE, MIN_SCALE = 448.0, 2.0**-9
E4M3 = Digits(3, -6, 8, MAX_SCALE)


@FORMATS.register("nvfp4")
class NVFP4(BlockOfFloats):
    """e2m1 with scales of two levels.

    Args:
        block_size: values that share an e4m3 scale, or [rows, columns].
        scaling: `divide`, or `encode`.
    """

    name = "nvfp4"
    sees_whole = True
    mantissa_bits, least_exponent, largest = 1, 0, 6.0

    def __init__(self, *, block_size: BlockSize = 16, scaling: str = "divide"):
        super().__init__(block_size, "floor", 4)
        self.scaling = choice(scaling, "scaling", self.name, ("divide", "encode"))
        self.whole: Optional[Tensor] = None  # the largest magnitude of the tensor, once bound to one

    def bound_to(self, x: Tensor) -> NumberFormat:
        bound = copy.copy(self)
        low, high = torch.aminmax(x)  # |x| would be a copy of x
        bound.whole = torch.maximum(-low, high)
        return bound

    def qparams(self, low: Tensor, high: Tensor, num_bits: int) -> QParams:
        amax = torch.maximum(low.abs(), high.abs())
        if self.scaling == "encode":
            return self._encoded(amax, amax.amax() if self.whole is None else self.whole, num_bits)
        shared = self._shared_scale(amax.amax() if self.whole is None else self.whole)
        scale = round_significand(amax / self.largest / shared, E4M3).clamp_(min=MIN_SCALE) * shared
        # what a zero point is in other formats has no use here: it carries the tensor's scale
        return QParams(scale, shared.expand_as(scale), *self.code_range(num_bits))

    def _encoded(self, amax: Tensor, whole: Tensor, num_bits: int) -> QParams:
        largest = torch.finfo(torch.float32).max
        # a number over a tensor would be multiplied by the reciprocal, which rounds twice
        encode = (torch.full_like(whole, MAX_SCALE * self.largest) / whole).clamp(max=largest)
        encode = torch.where((whole == 0) | (encode == 0), torch.ones_like(encode), encode)
        decode = encode.reciprocal()
        scale = round_significand((amax * (encode * (1 / self.largest))).clamp(max=MAX_SCALE), E4M3) * decode
        return QParams(scale, decode.expand_as(scale), *self.code_range(num_bits))

    def _elements(self, x: Tensor, qparams: QParams, noise: Optional[Noise], out: Optional[Tensor]) -> Tensor:
        if self.scaling != "encode":
            return super()._elements(x, qparams, noise, out)
        factor = qparams.scale.reciprocal().clamp(max=torch.finfo(torch.float32).max)
        digits = Digits(self.mantissa_bits, self.least_exponent, 2, self.largest)
        scaled = torch.mul(x, factor, out=out).clamp_(-self.largest, self.largest)
        return round_significand(scaled, digits, noise, out=scaled)

    def _shared_scale(self, whole: Tensor) -> Tensor:
        shared = (whole / (MAX_SCALE * self.largest)).clamp(min=torch.finfo(torch.float32).tiny)
        return torch.where(whole.isfinite(), shared, torch.full_like(shared, torch.nan))

    def special_values(self) -> dict[str, str]:
        spoiled = "makes the tensor NaN"
        return {**super().special_values(), "infinity": spoiled, "NaN": spoiled}

    def native_blocks(self, num_bits: int) -> Optional[tuple[float, ...]]:
        fields = super().native_blocks(num_bits)
        if self.scaling == "encode" or fields is None or self.whole is None or self.whole.device.type != "cpu":
            return None
        return (*fields[:-1], float(self._shared_scale(self.whole)))

    def stored_scales(self, parts: Sequence[QParams], num_bits: int) -> tuple[Tensor, ...]:
        """The patterns of e4m3, one byte each, and the tensor's scale behind them."""
        shared = parts[0].zero_point.reshape(-1)[:1]
        scales = (round_significand(part.scale / shared, E4M3) for part in parts)  # the quotient is rounded
        return (*(magnitude_codes(scale, *E4M3[:2]).to(torch.uint8) for scale in scales), shared.clone())

    def scales_of(self, stored: Sequence[Tensor], num_bits: int) -> tuple[Tensor, ...]:
        return tuple(values_of_codes(part.float(), *E4M3[:2]) * stored[-1] for part in stored[:-1])

    def stored_layout(self, shapes: Sequence[tuple[int, ...]]) -> list[tuple[torch.dtype, tuple[int, ...]]]:
        return [*super().stored_layout(shapes), (torch.float32, (1,))]
