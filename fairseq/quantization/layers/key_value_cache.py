"""`KeyValueCache`: where attention keeps keys and values between decoding steps, and in how many bits.

    {match: "decoder.*.cache", bits: 8}        a rule, for 8 bits or 4; without one they are kept as they are

Each head of each position has a scale and a zero of its own, from its smallest to its largest number:

    code = round((x - low) / scale),   value = scale * code + low,   scale = (high - low) / (2^bits - 1)

so no value is further from what it stands for than half a scale. Of D numbers of fp32, 4 D bytes, D + 8 are left at 8
bits and D / 2 + 8 at 4. Without incremental decoding nothing is kept, and nothing is rounded.

>>> KeyValueCache().bits() is None
True
"""

from typing import Optional

import torch
from torch import Tensor, nn

from fairseq.quantization.context import QuantizationContext
from fairseq.quantization.quantizer import Quantizer, one_line_repr
from fairseq.quantization.spec import ACTIVATION, QuantizerSpec


class CacheQuantizers(nn.Module):
    """The quantizer of keys and values."""

    def __init__(self, path: str, spec: QuantizerSpec, context: QuantizationContext):
        super().__init__()
        self.context = context
        self.values = Quantizer(path, ACTIVATION, spec, context)

    def __repr__(self) -> str:
        return one_line_repr(self)


class KeyValueCache(nn.Module):
    """Stands in an attention of a decoder; holds no keys itself."""

    called_by_others = True  # in incremental decoding only
    quantizers: Optional[CacheQuantizers]

    def __init__(self) -> None:
        super().__init__()
        self.quantizers = None

    def bits(self) -> Optional[int]:
        """Bits in which keys and values are kept now; None for full precision."""
        quantizers = self.quantizers
        return None if quantizers is None else quantizers.values.bits(quantizers.context.resolve(None))

    @torch.no_grad()
    def rounded(self, x: Tensor) -> Tensor:
        """Keys or values (..., D) as they can be kept."""
        quantizers, bits = self.quantizers, self.bits()
        if quantizers is None or bits is None or not x.numel():
            return x
        return quantizers.values.fake(x.contiguous(), bits)
