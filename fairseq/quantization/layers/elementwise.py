"""`ElementwiseQuantizers`: the input and the output of an activation, a softmax or a norm, rounded.

    y = Q(f(Q(x)))

They are hooks on the module, whose type, parameters and forward stay. Gradients pass both as the estimator of their
settings says, straight through by default.

>>> import torch
>>> act = nn.ReLU()
>>> specs = {key: QuantizerSpec(format="symmetric") for key in KEYS}
>>> quantizers = ElementwiseQuantizers("act", specs, QuantizationContext(default_bits=2))
>>> quantizers.install(act)
>>> act(torch.tensor([0.1, 1.2, 2.0]))
tensor([0., 2., 2.])
>>> quantizers.remove()
>>> act(torch.tensor([0.1, 1.2, 2.0]))
tensor([0.1000, 1.2000, 2.0000])
"""

from collections.abc import Mapping
from typing import Any, Optional

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from fairseq.errors import DataError
from fairseq.quantization.context import QuantizationContext
from fairseq.quantization.quantizer import Quantizer, one_line_repr
from fairseq.quantization.spec import ACTIVATION, QuantizerSpec

KEYS = ("input", "output")


class ElementwiseQuantizers(nn.Module):
    """The quantizers of one module, and the hooks that call them.

    Args:
        path: the module's path.
        specs: settings for "input" and "output".
        context: state shared by the model's quantizers.
        features: size of the last axis, where the module fixes it.
        calibration_bits: bits for which learned scales are kept where none are pinned.
    """

    def __init__(
        self,
        path: str,
        specs: Mapping[str, QuantizerSpec],
        context: QuantizationContext,
        features: Optional[int] = None,
        calibration_bits: int = 8,
    ):
        super().__init__()
        self.context = context
        for key in KEYS:
            if specs[key].quantize and specs[key].bits is not None:
                where = f"{path}.{key}".lstrip("."), ACTIVATION, specs[key], context
                self.add_module(key, Quantizer(*where, features, calibration_bits=calibration_bits))
        self._handles: list[RemovableHandle] = []

    def install(self, module: nn.Module) -> None:
        """Round what `module` takes and gives from now on."""
        module.add_module("quantizers", self)
        self._handles = [
            module.register_forward_pre_hook(self._before, with_kwargs=True),
            module.register_forward_hook(self._after),
        ]

    def remove(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()

    def _before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            return (self._rounded("input", args[0]), *args[1:]), kwargs
        first = next(iter(kwargs), None)
        return args, kwargs if first is None else {**kwargs, first: self._rounded("input", kwargs[first])}

    def _after(self, module: nn.Module, args: Any, output: Tensor) -> Tensor:
        return self._rounded("output", output)

    def _rounded(self, key: str, x: Tensor) -> Tensor:
        quantizer = self._modules.get(key)
        if not isinstance(quantizer, Quantizer):
            return x
        bits = quantizer.bits(None)
        if bits is None:
            return x
        if not x.is_floating_point():
            raise DataError(f"{quantizer.path}: a tensor of {x.dtype} cannot be quantized, only floating-point ones")
        return quantizer.result(x, bits)  # which an activation in place may write to

    def __repr__(self) -> str:
        return one_line_repr(self)
