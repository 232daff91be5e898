"""Which number formats ONNX's QuantizeLinear and DequantizeLinear can express.

`symmetric` and `affine` have an integer zero point, which is what the operators take. `affine_float_zp` has a real
one: its lower end is taken off before rounding and put back afterwards, as our own arithmetic does. Floating point of
8 and 4 bits has types of its own (`float_types.py`), and weights of few levels that are whole numbers, such as ternary
ones, are integers. What is no constant - a range taken from each batch, block or token, stochastic rounding - is an
error that names the rule with which a model can be exported.
"""

from typing import Optional

import torch

from fairseq.errors import ConfigError
from fairseq.export.float_types import FloatType, float_type
from fairseq.export.graph import Graph
from fairseq.export.runtime import obstacle_to
from fairseq.quantization.formats import QParams
from fairseq.quantization.quantizer import Quantizer


def has_integer_zero(quantizer: Quantizer) -> bool:
    """Whether the quantizer's zero points are codes; ConfigError for a format that these operators do not express."""
    if not quantizer.format.is_uniform:
        raise cannot_express(quantizer, "are not evenly spaced, nor those of one of ONNX's types")
    return quantizer.format.has_exact_zero


def cannot_express(quantizer: Quantizer, why: str, rule: str = "format: affine_int") -> ConfigError:
    """The error for levels of which `why` holds."""
    return ConfigError(
        f"{quantizer.path}: the levels of format {quantizer.format} {why}, which ONNX cannot express; a model can be "
        f"exported when trained with {{match: {quantizer.path!r}, {rule}}}"
    )


def whole_levels(quantizer: Quantizer, num_bits: int) -> Optional[torch.Tensor]:
    """The levels of uneven codes as whole numbers, by code, where they are some of 8 bits; None otherwise."""
    number_format = quantizer.format
    if number_format.is_uniform or number_format.zero_point_bits or number_format.code_range(num_bits)[0]:
        return None
    levels = number_format.values(num_bits)
    fits = torch.equal(levels, levels.round()) and float(levels.abs().max()) < 128
    return levels.to(torch.int32) if fits else None


def check_type(graph: Graph, quantizer: Quantizer, kind: FloatType) -> None:
    """ConfigError where the opset or what runs the file here does not know the type."""
    graph.needs(f"{quantizer.path} in {kind.name}", kind.opset)
    reason = obstacle_to(kind.name, kind.bits, graph.opset)
    if reason is not None:
        raise cannot_express(quantizer, f"need the type {kind.name}: {reason}", "format: fp8_e4m3")


def rounding_type(quantizer: Quantizer, num_bits: int) -> Optional[tuple[FloatType, float]]:
    """The floating-point type whose QuantizeLinear rounds as the quantizer does, and its factor; None: no such type.

    Raises:
        ConfigError: it overflows to infinity or NaN, where runtimes differ.
    """
    found = float_type(quantizer.format, num_bits)
    if found is not None and quantizer.format.stored_codes(num_bits) != quantizer.format.code_range(num_bits):
        raise cannot_express(quantizer, "overflow to infinity or NaN", "format: fp8_e4m3")
    return found


def kept_qparams(quantizer: Quantizer, num_bits: int) -> QParams:
    """The grid of an activation in evaluation, if it does not depend on the batch."""
    obstacle = None
    if quantizer.stochastic:
        obstacle = ("is rounded stochastically", "rounding: nearest")
    elif not quantizer.format.takes_range:  # its levels are what they are
        if not quantizer.format.takes_noise:
            raise cannot_express(quantizer, "are not rounded to nearest")
    elif quantizer.format.block is not None:
        obstacle = ("has scales that each block finds", "format: fp8_e4m3")
    elif quantizer.granularity.kind in ("token", "group", "block"):
        obstacle = (f"has a range per {quantizer.granularity.kind}", "granularity: tensor, range: ema")
    elif quantizer.learned is None and not quantizer.observer.is_running:
        obstacle = ("takes its range from each batch", "range: ema")
    if obstacle is not None:
        what, rule = obstacle
        raise ConfigError(
            f"{quantizer.path} {what}, which is no constant; a model can be exported when trained with "
            f"{{match: {quantizer.path!r}, {rule}}}"
        )
    return quantizer.qparams(torch.zeros(1), num_bits)[0]
