"""One tensor rounded to a number format, in one line; no model, no plan.

    y = fake_quantize(x, "mxfp4", dim=-1)
    y = fake_quantize(x, {"format": "minifloat", "exponent_bits": 3, "mantissa_bits": 2})
    y = fake_quantize(x, "symmetric", num_bits=4, granularity="token")

Where levels come from: integer grids take the range of x, block formats find their scales by their own rule, minifloats
and fixed point are cast as they are. The gradient is the straight-through estimator's.

>>> fake_quantize(torch.tensor([0.3, -1.1, 500.0]), "fp8_e4m3").tolist()
[0.3125, -1.125, 448.0]
>>> fake_quantize(torch.tensor([-1.0, 0.1, 0.7]), "symmetric", num_bits=3)
tensor([-1.0000,  0.0000,  0.6667])
"""

from collections.abc import Mapping
from typing import Any, Optional, Union

import torch
from torch import Tensor

from fairseq.errors import ConfigError
from fairseq.quantization.context import QuantizationContext
from fairseq.quantization.formats import FormatSpec, NumberFormat, QParams, build_format
from fairseq.quantization.kernels.rounding import round_to_levels
from fairseq.quantization.quantizer import ACTIVATION, Quantizer, QuantizerSpec
from fairseq.quantization.rounding.noise import HashNoise, NoiseKey
from fairseq.quantization.rounding.straight_through import Backward, Plain, Sloped, build_backward

PLACE = "fake_quantize"


def fake_quantize(
    x: Tensor,
    format: FormatSpec,
    dim: int = -1,
    scale: Union[Tensor, float, None] = None,
    *,
    num_bits: Optional[int] = None,
    granularity: str = "tensor",
    range: Union[str, Mapping[str, Any], None] = None,
    rounding: str = "nearest",
    ste: str = "plain",
    seed: int = 1,
) -> Tensor:
    """`x` rounded to the levels of `format`, in x's shape and type.

    Args:
        x: of any floating-point type; the arithmetic is that of fp32, or of fp64 for such a tensor.
        format: a number format's name, or a mapping with its settings.
        dim: the axis along which values share a scale: that of blocks, and of granularity `token` and `group`.
        scale: what levels are multiplied by, broadcast against x; None: as the format finds it.
        num_bits: bits of a format whose settings do not fix them.
        granularity: which values share a range, of a format that takes one.
        range: where that range comes from; None: what the format prefers, which is `minmax` for most.
        rounding: `nearest` or `stochastic`.
        ste: gradient, `plain`, `clipped` or, of two levels, `tanh`.
        seed: of stochastic rounding; the same seed rounds the same tensor alike.

    Raises:
        ConfigError: settings that contradict each other, a tensor of integers.
    """
    if not isinstance(x, Tensor):
        raise ConfigError(f"{PLACE}: needs a tensor, got {type(x).__name__}; convert it by torch.as_tensor(x)")
    if not x.is_floating_point():
        raise ConfigError(f"{PLACE}: needs a tensor of floating-point numbers, got {x.dtype}; convert it by x.float()")
    number_format = build_format(format, PLACE)
    bits = _bits(number_format, num_bits)
    if isinstance(dim, bool) or not isinstance(dim, int):
        raise ConfigError(f"{PLACE}: dim is the number of one axis, got {dim!r}")
    if x.dim() and not -x.dim() <= dim < x.dim():
        raise ConfigError(f"{PLACE}: dim {dim} does not exist in a tensor of shape {tuple(x.shape)}")
    backward = build_backward(ste, PLACE)
    backward.check(number_format, PLACE)
    if scale is not None:
        return _scaled(x, number_format.with_scale(), bits, scale, rounding, backward, seed)
    spec = QuantizerSpec(
        bits=bits,
        format=number_format.spec(),
        granularity=granularity,
        range=range or number_format.range_source,
        rounding=rounding,
        ste=ste,
    )
    quantizer = Quantizer(PLACE, ACTIVATION, spec, QuantizationContext(seed=seed))
    if not x.dim() or dim in (-1, x.dim() - 1):
        return quantizer(x, bits).tensor()  # type: ignore[no-any-return]
    return quantizer(x.movedim(dim, -1), bits).tensor().movedim(-1, dim)  # type: ignore[no-any-return]


def _bits(number_format: NumberFormat, num_bits: Optional[int]) -> int:
    if num_bits is None:
        if number_format.fixed_bits is None:
            raise ConfigError(
                f"{PLACE}: the format {number_format} has {number_format.bits_text()}; say how many by num_bits="
            )
        return number_format.fixed_bits
    if number_format.fixed_bits not in (None, num_bits):
        raise ConfigError(
            f"{PLACE}: num_bits={num_bits}, but the format {number_format} has {number_format.bits_text()}"
        )
    return number_format.check_bits(num_bits, PLACE)


def _factor(scale: Union[Tensor, float], x: Tensor) -> Tensor:
    """The scale as a tensor of x's type, finite, positive, and of a shape that fits x."""
    if not isinstance(scale, (Tensor, int, float)) or isinstance(scale, bool):
        raise ConfigError(f"{PLACE}: scale must be a number or a tensor, got {scale!r}")
    factor = torch.as_tensor(scale, dtype=x.dtype, device=x.device)
    if not bool(((factor > 0) & factor.isfinite()).all()):
        raise ConfigError(f"{PLACE}: scale must be above 0 and finite")
    sizes = zip(reversed(factor.shape), reversed(x.shape), strict=False)
    if factor.dim() > x.dim() or any(own not in (1, other) for own, other in sizes):
        raise ConfigError(f"{PLACE}: a scale of shape {tuple(factor.shape)} does not fit x of shape {tuple(x.shape)}")
    return factor


def _scaled(
    x: Tensor,
    number_format: NumberFormat,
    num_bits: int,
    scale: Union[Tensor, float],
    rounding: str,
    backward: Backward,
    seed: int,
) -> Tensor:
    """`x` rounded to levels times `scale`."""
    if rounding not in ("nearest", "stochastic"):
        raise ConfigError(f"{PLACE}: rounding {rounding!r} is neither nearest nor stochastic")
    takes_gradient = x.requires_grad and torch.is_grad_enabled()
    with torch.no_grad():
        wide = x if x.dtype == torch.float64 else x.float()
        factor = _factor(scale, wide)
        qparams = QParams(factor, torch.zeros_like(factor), *number_format.code_range(num_bits))
        noise = HashNoise(NoiseKey(seed, 0, 0), wide) if rounding == "stochastic" else None
        value = torch.empty_like(wide)
        round_to_levels(number_format, wide, qparams, noise, value, clamp=True, fused=False)
        value = value.to(x.dtype)
        slope = None
        if takes_gradient and not backward.is_plain:
            slope = backward.slope(number_format, wide, qparams, 0.0)
    if not takes_gradient:
        return value
    if slope is None:
        return Plain.apply(x, value)  # type: ignore[no-any-return, no-untyped-call]
    return Sloped.apply(x, value, slope)  # type: ignore[no-any-return, no-untyped-call]
