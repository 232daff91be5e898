"""`ModelCall`: the forward of a quantized model's outermost module. It takes `num_bits` whatever the module's own
forward knows, and runs that forward as a call of the model.

It stands in the module's place for `forward` instead of being a pair of hooks, because PyTorch runs no hook when an
interrupt ends a forward.

>>> from fairseq.quantization.context import QuantizationContext
>>> class Model(nn.Module):
...     def forward(self, x):
...         return x, context.resolve(None)
>>> context, model = QuantizationContext(default_bits=8), Model()
>>> call = ModelCall(model, context, threaded=False)
>>> hooks = call.install()
>>> model(1, num_bits=4), model(1), model(1, num_bits=0)
((1, 4), (1, 8), (1, 0))
>>> call.remove()
>>> "forward" in vars(model)
False
"""

import inspect
from typing import Any, NamedTuple, Optional

from torch import nn
from torch.utils.hooks import RemovableHandle

from fairseq.quantization.call_state import untraced
from fairseq.quantization.context import QuantizationContext


class _Replica(NamedTuple):
    """Says of which copy of the module this is the call."""

    module: nn.Module


class ModelCall:
    """Calls of `module`.

    Args:
        context: of the model.
        threaded: whether the module's own forward takes `num_bits`.
    """

    def __init__(self, module: nn.Module, context: QuantizationContext, threaded: bool):
        self.module, self.context, self.threaded = module, context, threaded
        self._replaced = vars(module).get("forward")  # of the instance's own
        self._installed = False

    @property
    def _own_forward(self) -> Any:
        """The module's own forward, as a method."""
        return self._replaced if self._replaced is not None else type(self.module).forward.__get__(self.module)

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self._own_forward)

    @property
    def __code__(self) -> Any:  # torch.export notes where a forward was written
        return self._own_forward.__code__

    @untraced
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        module = self.module
        if args and isinstance(args[0], _Replica):
            module, args = args[0].module, args[1:]
        forward = self._replaced
        if forward is None:  # the class's, with the module as an argument: as its method it would be looked up again
            forward, args = type(module).forward, (module, *args)
        if not self._installed:  # somebody has wrapped this one and kept it
            return forward(*args, **kwargs)
        num_bits = kwargs.pop("num_bits", None)
        argument = "num_bits" if self.threaded else None
        return self.context.run(forward, args, kwargs, num_bits, module.training, argument)

    def install(self) -> list[RemovableHandle]:
        """Take the place of `module.forward`; the handles remove hooks that it needs."""
        self.module.forward = self  # type: ignore[method-assign, assignment]
        self._installed = True
        return [self.module.register_forward_pre_hook(self._before, prepend=True)]

    def remove(self) -> None:
        """Give `module.forward` back."""
        self._installed = False
        if vars(self.module).get("forward") is self:
            if self._replaced is not None:
                self.module.forward = self._replaced
            else:
                del self.module.forward

    def _before(self, module: nn.Module, args: tuple[Any, ...]) -> Optional[tuple[Any, ...]]:
        """Forward pre-hook: copies of a module (nn.DataParallel, copy.copy) share its attributes, this forward too."""
        return None if module is self.module else (_Replica(module), *args)
