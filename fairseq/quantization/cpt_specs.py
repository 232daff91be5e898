"""CPT's settings for each role (Fu et al., arXiv:2101.09868): what a layer built by hand uses, and the presets `cpt_*`.

Weights: one range per output channel. Activations: one range per tensor, a running one in evaluation. Gradients: one
range per tensor, stochastic rounding. All in the format with a real zero point, with the plain straight-through
estimator.

>>> reference_spec(GRADIENT, num_grad_bits=8).rounding
'stochastic'
"""

from typing import Optional

from fairseq.quantization.spec import BIAS, CACHE, GRADIENT, WEIGHT, QuantizerSpec


def reference_spec(role: str, num_grad_bits: Optional[int] = 8) -> QuantizerSpec:
    """The reference's settings for a quantizer of `role`."""
    if role == WEIGHT:
        return QuantizerSpec(granularity="channel")
    if role == GRADIENT:
        return QuantizerSpec(bits=num_grad_bits or None, rounding="stochastic")
    if role == CACHE:
        return QuantizerSpec(granularity="token")
    return QuantizerSpec() if role == BIAS else QuantizerSpec(range="ema_from_zero")
