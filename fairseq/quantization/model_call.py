"""`ModelCall`: the forward of a quantized model's outermost module. It takes `num_bits` whatever the module's own
forward knows, and runs that forward as a call of the model.

>>> from fairseq.quantization.context import QuantizationContext
>>> class Model(nn.Module):
...     def forward(self, x):
...         return x, context.resolve(None)
>>> context, model = QuantizationContext(default_bits=8), Model()
>>> call = ModelCall(model, context, threaded=False)
>>> call.install()
>>> model(1, num_bits=4), model(1), model(1, num_bits=0)
((1, 4), (1, 8), (1, 0))
>>> call.remove()
>>> "forward" in vars(model)
False
"""

import inspect
from typing import Any

from torch import nn

from fairseq.quantization.call_state import untraced
from fairseq.quantization.context import QuantizationContext
from fairseq.quantization.forward_wrapper import ForwardWrapper


class ModelCall(ForwardWrapper):
    """Calls of `module`.

    Args:
        context: of the model.
        threaded: whether the module's own forward takes `num_bits`.
    """

    def __init__(self, module: nn.Module, context: QuantizationContext, threaded: bool):
        super().__init__(module)
        self.context, self.threaded = context, threaded
        self._names: list[str] = []  # of `num_bits` and what follows it, where they can be given by position
        self._position = 0  # of `num_bits`
        if threaded:
            positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
            names = [name for name, each in self.__signature__.parameters.items() if each.kind in positional]
            if "num_bits" in names:
                self._position = names.index("num_bits")
                self._names = names[self._position :]

    @untraced
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        module, forward, args = self.resolve(args)
        if not self.is_installed:
            return forward(*args, **kwargs)
        if self._names and len(args) > self._position:
            args, kwargs = self.by_name(args, kwargs, behind=int(self._replaced is None))
        num_bits = kwargs.pop("num_bits", None)
        argument = "num_bits" if self.threaded else None
        return self.context.run(forward, args, kwargs, num_bits, module.training, argument)

    def by_name(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], behind: int = 0
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """A call's arguments with `num_bits`, and what follows it, by name.

        Args:
            behind: so many arguments that are not the caller's.
        """
        start = self._position + behind
        named = dict(zip(self._names, args[start:], strict=False))
        if not named or len(args) - start > len(self._names) or named.keys() & kwargs.keys():
            return args, kwargs  # the forward itself says what is wrong
        return args[:start], {**named, **kwargs}
