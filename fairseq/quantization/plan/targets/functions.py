"""Calls of functions as quantization targets: those with quantizers, and those that stay in full precision.

>>> from fairseq.quantization.functions.products import QuantizedProduct
>>> order = CallOrder("block", {"matmul": ("matmul",)}, frozenset({("matmul",)}))
>>> list(FunctionTarget(nn.Identity(), order, "matmul", "matmul", QuantizedProduct, ()).roles)
['block.matmul.left', 'block.matmul.right', 'block.matmul.grad_output', 'block.matmul.output']
"""

from typing import Any, Optional

from torch import nn

from fairseq.errors import ConfigError
from fairseq.quantization.context import QuantizationContext
from fairseq.quantization.functions.base import QuantizedFunction, Shapes
from fairseq.quantization.functions.forward import CHILD, CallOrder, FunctionQuantizers, FunctionsForward
from fairseq.quantization.plan.target import Product, QuantizationTarget, Specs

OUTPUT = "result"  # the key of a plain product's output


class FunctionTarget(QuantizationTarget):
    """A call of a function that has quantizers.

    Args:
        module: in whose forward it is.
        order: of that forward's calls.
        name: of this call.
        function: the function's name.
        call: its class.
        shapes: of the tensors that it was given.
    """

    quantizers_name = CHILD

    def __init__(
        self,
        module: nn.Module,
        order: CallOrder,
        name: str,
        function: str,
        call: type[QuantizedFunction],
        shapes: Shapes,
    ):
        super().__init__(f"{order.path}.{name}".lstrip("."), module)
        self.order, self.name, self.function, self.call, self.shapes = order, name, function, call, shapes
        self.module_path = order.path
        self.quantizers = call.quantizer_paths(self.path, shapes)

    @property
    def kind(self) -> str:
        return f"function {self.function}"

    @property
    def on_request(self) -> frozenset[str]:
        if self.call.on_request:
            return frozenset(self.roles)
        return super().on_request | {path for key, (path, _) in self.quantizers.items() if key == OUTPUT}

    def product(self, key: Any) -> Optional[str]:
        return self.call.product(self.path, key)

    def products(self) -> list[Product]:
        return [Product(*product) for product in self.call.products(self.path)]

    def install(self, specs: Specs, context: QuantizationContext, calibration_bits: int) -> nn.Module:
        quantizers: Any = self.module._modules.get(CHILD)
        if quantizers is None:
            quantizers = FunctionQuantizers()
            self.module.add_module(CHILD, quantizers)
            FunctionsForward(self.module, context, self.order).install()
        arguments = self.path, self.function, self.own(specs), context, calibration_bits, self.shapes
        quantizers.add_module(self.name, self.call(*arguments))
        return self.module


class UnquantizedFunction(QuantizationTarget):
    """A call of a function that multiplies and stays in full precision.

    Args:
        module: in whose forward it is.
        module_path: its path.
        name: of this call.
        function: the function's name.
        reason: why, in words.
    """

    def __init__(self, module: nn.Module, module_path: str, name: str, function: str, reason: str):
        super().__init__(f"{module_path}.{name}".lstrip("."), module)
        self.module_path = module_path
        self.function, self.reason = function, reason

    @property
    def kind(self) -> str:
        return f"function {self.function}"


def remove_functions(model: nn.Module) -> None:
    """Take quantizers off all functions that modules of `model` call."""
    for module in model.modules():
        if isinstance(module._modules.get(CHILD), FunctionQuantizers):
            forward = vars(module).get("forward")
            if isinstance(forward, FunctionsForward):
                forward.remove()
            del module._modules[CHILD]


def check_owner(path: str, module: nn.Module) -> Optional[str]:
    """Why functions of this module's forward cannot be quantized; None if they can."""
    if isinstance(module, (nn.Sequential, nn.ModuleList, nn.ModuleDict)):
        return f"a {type(module).__name__} would call their quantizers as its parts"
    if hasattr(module, CHILD):
        raise ConfigError(
            f"{path or 'the model'}: the attribute {CHILD} is needed for quantizers; give it another name"
        )
    return None
