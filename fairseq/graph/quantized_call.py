"""`QuantizedCall`: what a node calls where a model calls a function of torch with quantizers."""

from typing import Any

from fairseq.quantization.functions.base import QuantizedFunction


class QuantizedCall:
    """A function with its quantizers, as the target of a node.

    Args:
        module: the quantizers, which are the model's.
        function: what the model calls, such as torch.matmul.
    """

    def __init__(self, module: QuantizedFunction, function: Any):
        self.module, self.function = module, function
        self.__name__ = self.__qualname__ = module.function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(self.function, *args, **kwargs)

    def __repr__(self) -> str:
        return f"quantized {self.__name__}"
