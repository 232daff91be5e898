"""`FunctionsForward`: the forward of a module that calls products as functions. While it runs, they are intercepted.

A `TorchFunctionMode` is active for the length of one call: in its thread, for the calls that the module's own forward
makes, not for those of modules that are called in it. Each call of a function has its name by its place in the order,
`matmul`, `matmul_1`; a forward that calls others than those that were found is an error. Interrupts, threads and
recomputed calls (activation checkpointing of whole modules) have modes of their own.
"""

import sys
from collections.abc import Collection, Iterator, Mapping
from types import FrameType
from typing import Any, NamedTuple, Optional

from torch import nn
from torch.overrides import TorchFunctionMode

from fairseq.errors import ConfigError
from fairseq.quantization.call_state import untraced_within
from fairseq.quantization.context import QuantizationContext
from fairseq.quantization.forward_wrapper import ForwardWrapper
from fairseq.quantization.functions.base import FUNCTIONS, QuantizedFunction
from fairseq.quantization.functions.names import PRODUCTS, function_name

CHILD = "function_quantizers"  # the submodule that holds the quantizers
_CALL = nn.Module._call_impl.__code__
_CHECKPOINT = "torch.utils.checkpoint"


class CallOrder(NamedTuple):
    """Which functions the forward of the module at `path` calls.

    Attributes:
        names: function -> names of its calls, in order.
        orders: functions in the order of a forward's calls, for each order that has been seen.
    """

    path: str
    names: Mapping[str, tuple[str, ...]]
    orders: frozenset[tuple[str, ...]]

    def of(self, functions: Collection[str]) -> frozenset[tuple[str, ...]]:
        """The orders of calls of these functions alone."""
        return frozenset(tuple(name for name in order if name in functions) for order in self.orders)


def obstacle(name: str, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Optional[str]:
    """Why a call of the function called `name` cannot be quantized, in words; None if it can."""
    kind, called = FUNCTIONS.get(name), getattr(func, "__name__", "")
    if kind is None:
        return "it has no quantizers"
    if kind.has_order and called.endswith("_") and not called.startswith("_"):
        return "it works in place"
    return kind.obstacle(name, args, kwargs)


def counts(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether a call of the function has a place in the order."""
    kind = FUNCTIONS.get(name)
    return kind is None or kind.has_order or kind.obstacle(name, args, kwargs) is None


class FunctionQuantizers(nn.Module):
    """The functions of one module's forward that have quantizers, by name."""

    def function(self, name: str) -> Optional[QuantizedFunction]:
        """The one called `name`; None where the call stays as it is."""
        return self._modules.get(name)  # type: ignore[return-value]

    def functions(self) -> Iterator[QuantizedFunction]:
        """All of them."""
        yield from self._modules.values()  # type: ignore[misc]


class FunctionsForward(ForwardWrapper):
    """Calls of `module`.

    Args:
        module: whose forward calls functions.
        context: of the model.
        order: of the functions that its forward calls.
    """

    def __init__(self, module: nn.Module, context: QuantizationContext, order: "CallOrder"):
        super().__init__(module)
        self.context, self.order = context, order

    @untraced_within
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        module, forward, args = self.resolve(args)
        quantizers: Any = module._modules.get(CHILD)
        if not self.is_installed or quantizers is None or not self._is_needed(quantizers):
            return forward(*args, **kwargs)
        return run_under(FunctionMode(self, quantizers), forward, args, kwargs)

    def _is_needed(self, quantizers: FunctionQuantizers) -> bool:
        """Whether this call rounds anything, or somebody counts what is multiplied."""
        return bool(self.context.callbacks) or any(
            function.is_active(self.context.resolve(None)) for function in quantizers.functions()
        )


def run_under(mode: "InterceptingMode", forward: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """`forward(*args, **kwargs)` with the mode; the frame by which the mode knows its own forward's calls."""
    with mode:
        result = forward(*args, **kwargs)
    mode.conclude()
    return result


class InterceptingMode(TorchFunctionMode):
    """Takes over the functions in `watched` that the forward under `run_under` calls itself."""

    sees_calls = True  # what is compiled runs eagerly under the mode, see `fairseq.native.compiled`
    steps_aside = True  # for the products of quantized layers, see `ProductQuantizers.__call__`
    watched: frozenset[str]

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Optional[Mapping[str, Any]] = None
    ) -> Any:
        kwargs = kwargs or {}
        name = function_name(func)
        if name not in self.watched or not self._is_own(sys._getframe(1)):
            return func(*args, **kwargs)
        return self.intercept(name, func, args, kwargs)

    def intercept(self, name: str, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Run a call of the forward."""
        raise NotImplementedError

    def recomputes(self) -> None:
        """A call lies in a part of the forward that backward will run again, by itself."""

    def conclude(self) -> None:
        """The forward has returned."""

    def _is_own(self, frame: Optional[FrameType]) -> bool:
        """Whether `frame` belongs to the forward, and not to a module that it has called."""
        in_part = False
        while frame is not None:
            code = frame.f_code
            if code is _RUN:
                if frame.f_locals.get("mode") is not self:
                    return False
                if in_part:
                    self.recomputes()
                return True
            if code is _CALL:
                return False
            in_part = in_part or frame.f_globals.get("__name__") == _CHECKPOINT
            frame = frame.f_back
        return False


_RUN = run_under.__code__
MODE_CODE = InterceptingMode.__torch_function__.__code__


class FunctionMode(InterceptingMode):
    """Gives the functions of one call of a forward their quantizers."""

    def __init__(self, owner: FunctionsForward, quantizers: FunctionQuantizers):
        super().__init__()
        self.owner, self.quantizers = owner, quantizers
        rounded = frozenset(function.function for function in quantizers.functions())
        # a product that nobody has seen is an error, one that rules leave alone is none
        self.watched = (PRODUCTS - owner.order.names.keys()) | rounded
        self.orders = owner.order.of(self.watched)
        self.calls: tuple[str, ...] = ()

    def intercept(self, name: str, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if not counts(name, args, kwargs):
            return func(*args, **kwargs)
        place = self.calls.count(name)
        self.calls += (name,)
        if not any(order[: len(self.calls)] == self.calls for order in self.orders):
            raise ConfigError(self._other_order())
        function = self.quantizers.function(self.owner.order.names[name][place])
        if function is None:
            return func(*args, **kwargs)
        reason = obstacle(name, func, args, kwargs)
        if reason is not None:
            raise ConfigError(f"{function.path}: cannot be quantized in this call: {reason}")
        return function(func, *args, **kwargs)

    def recomputes(self) -> None:
        if self.owner.module.training:
            raise ConfigError(
                f"{self._where()}: activation checkpointing of a part of a forward whose functions are quantized would "
                "run them again in full precision; checkpoint the whole module, or use fairseq.quantization.MatMul"
            )

    def conclude(self) -> None:
        if self.calls not in self.orders:
            raise ConfigError(self._other_order())

    def _where(self) -> str:
        return f"{self.owner.order.path or 'the model'} ({type(self.owner.module).__name__})"

    def _other_order(self) -> str:
        found = " or ".join(", ".join(order) or "nothing" for order in sorted(self.orders))
        return (
            f"{self._where()}: its forward calls {', '.join(self.calls) or 'nothing'}, and called {found} when "
            "example_inputs were given, so it is unclear which quantizers these calls have; use "
            "fairseq.quantization.MatMul there, or turn the quantizers of the module's functions off by a rule"
        )
