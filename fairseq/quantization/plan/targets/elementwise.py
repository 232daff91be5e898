"""Activations, softmax and norms: what goes in and what comes out can be rounded, where a rule asks for it.

>>> target = ElementwiseTarget("act", nn.GELU())
>>> list(target.roles), target.on_request == set(target.roles)
(['act.input', 'act.output'], True)
"""

from typing import Optional

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from fairseq.quantization.context import QuantizationContext
from fairseq.quantization.layers.elementwise import KEYS, ElementwiseQuantizers
from fairseq.quantization.plan.target import QuantizationTarget, Specs, register_target
from fairseq.quantization.spec import ACTIVATION

# fmt: off
ACTIVATIONS = (
    nn.CELU, nn.ELU, nn.GELU, nn.GLU, nn.Hardshrink, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.LeakyReLU,
    nn.LogSigmoid, nn.LogSoftmax, nn.Mish, nn.PReLU, nn.ReLU, nn.ReLU6, nn.RReLU, nn.SELU, nn.SiLU, nn.Sigmoid,
    nn.Softmax, nn.Softmax2d, nn.Softmin, nn.Softplus, nn.Softshrink, nn.Softsign, nn.Tanh, nn.Tanhshrink,
    nn.Threshold,
)
# fmt: on
NORMS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.LocalResponseNorm, _NormBase)  # the last: batch and instance norms


@register_target(*ACTIVATIONS, *NORMS)
class ElementwiseTarget(QuantizationTarget):
    """A module without products: its subclasses with a forward of their own are rounded at their ends, too."""

    converts_by_default = False
    multiplies = False
    owns_children = False
    supports = "activations, softmax and norms (where a rule says so)"

    def __init__(self, path: str, module: nn.Module):
        super().__init__(path, module)
        self.quantizers = {key: (f"{path}.{key}".lstrip("."), ACTIVATION) for key in KEYS}

    @property
    def on_request(self) -> frozenset[str]:
        return frozenset(self.roles)

    def product(self, key: str) -> Optional[str]:
        return None

    def install(self, specs: Specs, context: QuantizationContext, calibration_bits: int) -> nn.Module:
        shape = getattr(self.module, "normalized_shape", None)
        features = shape[-1] if shape else None
        quantizers = ElementwiseQuantizers(self.path, self.own(specs), context, features, calibration_bits)
        quantizers.install(self.module)
        return self.module

    def remove(self) -> nn.Module:
        quantizers = getattr(self.module, "quantizers", None)
        if isinstance(quantizers, ElementwiseQuantizers):
            quantizers.remove()
            del self.module.quantizers
        return self.module
