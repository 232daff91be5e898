"""Recurrent layers and cells: a linear product for the input and one for the state, per layer and direction."""

from typing import Any, Optional

from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from fairseq.quantization.context import QuantizationContext
from fairseq.quantization.layers.recurrent import QUANTIZED, RecurrentQuantizers, parts
from fairseq.quantization.plan.target import (
    Product,
    QuantizationTarget,
    Specs,
    UnquantizedProduct,
    register_target,
    retype,
)
from fairseq.quantization.plan.targets.products import linear_product, linear_quantizers
from fairseq.quantization.plan.targets.unsupported import UnsupportedTarget
from fairseq.quantization.plan.unquantized_products import unquantized_product
from fairseq.quantization.quantizer import Quantizer


@register_target(*QUANTIZED)
class RecurrentTarget(QuantizationTarget):
    """nn.LSTM, nn.GRU, nn.RNN or a cell of these."""

    supports = "nn.LSTM, nn.GRU, nn.RNN and their cells"

    @classmethod
    def of(cls, path: str, module: Any) -> QuantizationTarget:
        base = next(kind for kind in type(module).__mro__ if kind in QUANTIZED)
        if type(module).forward not in (base.forward, QUANTIZED[base].forward):
            return UnsupportedTarget(path, module, f"{type(module).__name__} has a forward of its own")
        if is_parametrized(module):
            return UnsupportedTarget(path, module, "its weights are parametrized")
        return cls(path, module)

    def __init__(self, path: str, module: nn.Module):
        super().__init__(path, module)
        self.quantizers = {
            (part, key): value
            for part, (_, bias) in parts(module).items()
            for key, value in linear_quantizers(f"{path}.{part}".lstrip("."), bias is not None).items()
        }

    def products(self) -> list[Product]:
        found = []
        for part, (name, _) in parts(self.module).items():
            shape: Any = tuple(getattr(self.module, name).shape)
            found.append(linear_product(f"{self.path}.{part}".lstrip("."), shape)._replace(has_kernel=False))
        return found

    def product(self, key: Any) -> Optional[str]:
        return f"{self.path}.{key[0]}".lstrip(".")

    def install(self, specs: Specs, context: QuantizationContext, calibration_bits: int) -> nn.Module:
        base = next(kind for kind in type(self.module).__mro__ if kind in QUANTIZED)
        layer = retype(self.module, QUANTIZED[base])
        layer.quantizers = RecurrentQuantizers(self.path, layer, self.own(specs), context, calibration_bits)
        return layer  # type: ignore[no-any-return]

    def weights(self) -> list[tuple[Quantizer, Tensor]]:
        quantizers: Any = getattr(self.module, "quantizers", None)
        if quantizers is None:
            return []
        named = parts(self.module).items()
        return [
            (quantizers._modules[part].quantizer("weight"), getattr(self.module, name)) for part, (name, _) in named
        ]

    def unquantized_product(self, args: Any, output: Any) -> Optional[UnquantizedProduct]:
        return unquantized_product(self.module, args[0], output)
