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

from typing import Any

from torch import nn

from fairseq.errors import ConfigError
from fairseq.quantization.call_state import untraced
from fairseq.quantization.context import QuantizationContext
from fairseq.quantization.forward_wrapper import ForwardWrapper


def whole_bits(num_bits: Any) -> int:
    """`num_bits` of a call as a whole number.

    >>> whole_bits(8.0)
    8

    Raises:
        ConfigError: it is none, or negative.
    """
    try:
        whole = int(num_bits)
        if whole >= 0 and whole == num_bits:
            return whole
    except (TypeError, ValueError):
        pass
    raise ConfigError(f"num_bits of a call must be a whole number, 0 (full precision) or None, got {num_bits!r}")


class ModelCall(ForwardWrapper):
    """Calls of `module`.

    Args:
        context: of the model.
        threaded: whether the module's own forward takes `num_bits`.
    """

    def __init__(self, module: nn.Module, context: QuantizationContext, threaded: bool):
        super().__init__(module)
        self.context, self.threaded = context, threaded

    @untraced
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        module, forward, args = self.resolve(args)
        if not self.is_installed:
            return forward(*args, **kwargs)
        num_bits = kwargs.pop("num_bits", None)
        if num_bits is not None and (type(num_bits) is not int or num_bits < 0):
            num_bits = whole_bits(num_bits)
        argument = "num_bits" if self.threaded else None
        return self.context.run(forward, args, kwargs, num_bits, module.training, argument)
