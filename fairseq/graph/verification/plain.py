"""Rounding as a number format defines it, in torch's operations alone: no kernels, no caches, nothing shared.

    plain(quantizer, x, bits)  =  dequantize(quantize(x, levels), levels)

>>> from fairseq.quantization.quantizer import ACTIVATION, QuantizationContext, Quantizer, QuantizerSpec
>>> quantizer = Quantizer("fc.input", ACTIVATION, QuantizerSpec(format="symmetric"), QuantizationContext())
>>> plain(quantizer, torch.tensor([[0.1, -1.0, 0.7]]), 3)
tensor([[ 0.0000, -1.0000,  0.6667]])
"""

from typing import Optional

import torch
from torch import Tensor

from fairseq.quantization.analysis.report import frozen
from fairseq.quantization.quantizer import Quantizer
from fairseq.quantization.rounding.noise import HashNoise


def widened(x: Tensor) -> Tensor:
    """`x` in the type in which scales and codes are computed."""
    x = x.detach()
    return x if x.dtype == torch.float64 else x.float()


@torch.no_grad()
def plain_codes(quantizer: Quantizer, x: Tensor, num_bits: int) -> tuple[Tensor, Tensor]:
    """Codes and values of `x`, fp32 (fp64 of such a tensor)."""
    wide = widened(x)
    if quantizer.learned is not None:
        wide = quantizer.learned.steered(wide)
    number_format = quantizer.format.bound_to(wide)
    codes, values = torch.empty_like(wide), torch.empty_like(wide)
    with frozen(quantizer):
        all_qparams = quantizer.qparams(wide, num_bits)
    pieces = zip(*(quantizer.pieces(each) for each in (wide, codes, values)), all_qparams, strict=True)
    for index, (piece, code, value, qparams) in enumerate(pieces):
        noise = HashNoise(quantizer.context.noise_key(quantizer.layer + index), piece) if quantizer.stochastic else None
        code.copy_(number_format.quantize(piece, qparams, noise))
        value.copy_(number_format.dequantize(code.clone(), qparams))
    return codes, values


def plain(quantizer: Quantizer, x: Tensor, num_bits: Optional[int]) -> Tensor:
    """`x` rounded, in its type; itself without bits."""
    if num_bits is None or not x.numel():
        return x.detach()
    return plain_codes(quantizer, x, num_bits)[1].to(x.dtype)
