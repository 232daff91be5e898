"""Modules that multiply and cannot be quantized: those that hide their product, and those without quantizers."""

from typing import Any, Optional

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from fairseq.errors import ConfigError
from fairseq.quantization.context import QuantizationContext
from fairseq.quantization.plan.target import QuantizationTarget, Specs, UnquantizedProduct, register_target
from fairseq.quantization.plan.targets.products import linear_quantizers, unquantized_linear
from fairseq.quantization.plan.unquantized_products import unquantized_product


class UnsupportedTarget(QuantizationTarget):
    """A module whose product no quantizer would see."""

    def __init__(self, path: str, module: nn.Module, reason: str):
        super().__init__(path, module)
        self.reason = reason
        self.quantizers = linear_quantizers(path)

    def install(self, specs: Specs, context: QuantizationContext, calibration_bits: int) -> nn.Module:
        raise ConfigError(
            f"cannot quantize {self.path!r}: {self.reason}; use {self._usual()} there, or exclude it with the rule "
            f"{{match: {self.path + '.*'!r}, quantize: false}}"
        )

    def unquantized_product(self, args: Any, output: Any) -> Optional[UnquantizedProduct]:
        if isinstance(self.module, nn.Linear) and isinstance(output, Tensor):
            return unquantized_linear(args[0], self.module.weight, output)
        return unquantized_product(self.module, args[0], output) if isinstance(output, Tensor) else None

    def _usual(self) -> str:
        """The class of torch's that it stands for."""
        kinds = (kind for kind in type(self.module).__mro__ if kind.__module__.startswith("torch.nn.modules."))
        return f"nn.{next(kinds, nn.Linear).__name__}"


@register_target(_ConvNd, nn.RNNBase, nn.RNNCellBase)
class FullPrecisionTarget(QuantizationTarget):
    """A module of torch's that multiplies and has no quantizers (yet): it is only listed in the plan."""

    def unquantized_product(self, args: Any, output: Any) -> Optional[UnquantizedProduct]:
        return unquantized_product(self.module, args[0], output)
