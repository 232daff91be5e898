"""Which number formats ONNX's QuantizeLinear and DequantizeLinear can express.

`symmetric` and `affine` have an integer zero point, which is what the operators take. `affine_float_zp` has a real
one: its lower end is taken off before rounding and put back afterwards, as our own arithmetic does. What is no
constant - a range taken from each batch or per token, stochastic rounding - is an error that names the rule with which
a model can be exported.
"""

import torch

from fairseq.errors import ConfigError
from fairseq.quantization.formats import QParams
from fairseq.quantization.quantizer import Quantizer


def has_integer_zero(quantizer: Quantizer) -> bool:
    """Whether the quantizer's zero points are codes; ConfigError for a format that these operators do not express."""
    if not quantizer.format.is_uniform:
        raise ConfigError(
            f"{quantizer.path}: the levels of format {quantizer.format} are not evenly spaced, which ONNX cannot "
            f"express; a model can be exported when trained with {{match: {quantizer.path!r}, format: affine_int}}"
        )
    return quantizer.format.has_exact_zero


def kept_qparams(quantizer: Quantizer, num_bits: int) -> QParams:
    """The grid of an activation in evaluation, if it does not depend on the batch."""
    obstacle = None
    if quantizer.stochastic:
        obstacle = ("is rounded stochastically", "rounding: nearest")
    elif quantizer.granularity.kind in ("token", "group"):
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
