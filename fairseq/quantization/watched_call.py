"""`WatchedCall`: one call of a model, and what is multiplied in it.

A `TorchFunctionMode` notes each function of torch that multiplies, together with the module whose forward calls it; the
quantizers that are used say so themselves. The mode sees calls and changes no numbers. Modes belong to a thread: what
other threads call meanwhile is not seen.

>>> some(["conv1", "conv2", "conv3", "conv4", "conv5"])
'conv1, conv2, conv3 and 2 more'
"""

import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from types import FrameType
from typing import Any, Optional

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, _get_current_function_mode

from fairseq.quantization.call_state import CallState
from fairseq.quantization.context import Operand
from fairseq.quantization.functions.forward import MODE_CODE
from fairseq.quantization.functions.names import PRODUCTS, function_name
from fairseq.quantization.plan.table import PlanRow
from fairseq.quantization.plan.targets import find_targets
from fairseq.quantization.quantized_model import Quantization
from fairseq.quantization.quantizer import Quantizer
from fairseq.quantization.spec import GRADIENT

OURS = ("fairseq.quantization.", "fairseq.native.", "fairseq.modules.attention.")  # their products are rows already
SHOWN = 3  # names in a warning


class WatchedCall:
    """Notes what is multiplied between `start` and `stop`.

    Attributes:
        thread: the one that calls.
        exception: the one that it handles meanwhile, if any.
        used: quantizers.
        functions: path of a module -> functions that its forward calls.
    """

    counts_only = True  # a callback that reads no values, so that kernels may run

    def __init__(self, model: nn.Module, quantization: Quantization):
        self.model, self.quantization = model, quantization
        self.thread, self.exception = threading.current_thread(), sys.exc_info()[1]
        self.used: set[str] = set()
        self.functions: dict[str, list[str]] = {}
        self._paths = {id(module): path for path, module in model.named_modules()}
        self._planned = {
            id(part) for target in find_targets(model) if target.owns_children for part in target.module.modules()
        }
        self._mode = FunctionMode(self)

    def start(self) -> None:
        """The call begins."""
        self.quantization.context.callbacks.append(self)
        self._mode.__enter__()

    def stop(self) -> None:
        """The call is over."""
        self._mode.watch = None
        if _get_current_function_mode() is self._mode:  # not where another one was left behind on top of it
            self._mode.__exit__(None, None, None)
        if self in self.quantization.context.callbacks:
            self.quantization.context.callbacks.remove(self)

    # --- what is told ---------------------------------------------------------------------------------------------

    def quantized(self, quantizer: Any, x: Tensor, result: Tensor, num_bits: int, reused: bool) -> None:
        self.used.add(quantizer.path)

    def product(self, path: str, kind: str, left: Operand, right: Operand, macs: int) -> None:
        self.used.update(side.quantizer.path for side in (left, right) if side.quantizer is not None and side.num_bits)

    def called(self, function: str, frame: Optional[FrameType]) -> None:
        """`function` multiplies, at the request of `frame`."""
        path = self._caller(frame)
        if path is not None and function not in self.functions.setdefault(path, []):
            self.functions[path].append(function)

    def _caller(self, frame: Optional[FrameType]) -> Optional[str]:
        """The module whose forward is under way; None where the product is one that the plan knows."""
        while frame is not None and frame.f_code is MODE_CODE:  # of a forward around it: a call that passes through
            frame = frame.f_back
        while frame is not None and frame.f_code is not CallState._run.__code__:
            if frame.f_globals.get("__name__", "").startswith(OURS):
                return None
            if frame.f_code.co_argcount:  # a method's first argument, whatever it is called
                module = frame.f_locals.get(frame.f_code.co_varnames[0])
                if isinstance(module, nn.Module) and id(module) in self._paths:
                    return None if id(module) in self._planned else self._paths[id(module)]
            frame = frame.f_back
        return ""  # a forward that is no method of a module, such as one that was assigned: the model's

    # --- what follows ---------------------------------------------------------------------------------------------

    def conclude(self) -> Iterator[str]:
        """Complete the plan; gives warnings."""
        plan = self.quantization.plan
        known: set[str] = set()  # among them functions that rules leave alone
        for row in plan.rows:
            product = row.product or row.quantizer
            known |= {product, product.removesuffix(".qk_matmul")}  # attention, one function, is two products
        for path, names in [*self.functions.items()]:
            new = [name for name in names if f"{path}.{name}".lstrip(".") not in known]
            self.functions[path] = new
            if not new:
                del self.functions[path]
        plan.add(
            [
                PlanRow.in_full_precision(f"{path}.{name}".lstrip("."), f"function {name}")
                for path, names in self.functions.items()
                for name in names
            ]
        )
        if self.functions:
            found = [f"{' and '.join(names)} in {path or 'the model'}" for path, names in self.functions.items()]
            yield (
                f"quantization: in full precision, because called as functions, which no quantizer sees: "
                f"{some(found)}; give quantize_model example_inputs, or use nn.Linear or "
                "fairseq.quantization.MatMul there"
            )
        unused = [path for path in self._expected() if path not in self.used]
        products = list(dict.fromkeys(plan[path].product or path for path in unused))
        if products:
            yield (
                f"quantization: planned, but not used in the first call: {some(products)}; "
                "a module that is skipped, or whose weight is multiplied without calling it, quantizes nothing"
            )

    def _expected(self) -> Iterator[str]:
        """Quantizers that a call at these bits would use; those of gradients come later, with their product's, those
        of modules that others call, such as a criterion, after the call.
        """
        later = {
            id(part)
            for module in self.model.modules()
            if getattr(type(module), "called_by_others", False)
            for part in module.modules()
        }
        for owner in self.model.modules():
            if id(owner) in later:
                continue
            for name, child in owner.named_children():
                if not isinstance(child, Quantizer) or child.path not in self.quantization.plan:
                    continue
                if child.role == GRADIENT or child.bits(self.quantization.config.num_bits) is None:
                    continue
                if name == "weight" and getattr(owner, "integers", None) is not None:
                    continue  # codes lie in the weight's place
                yield child.path


class FunctionMode(TorchFunctionMode):
    """Tells a `WatchedCall` of functions that multiply."""

    sees_calls = True  # see `fairseq.native.compiled.calls_are_seen`

    def __init__(self, watch: Optional[WatchedCall] = None):
        super().__init__()
        self.watch = watch

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Optional[Mapping[str, Any]] = None
    ) -> Any:
        name = function_name(func)
        if name in PRODUCTS and self.watch is not None:
            self.watch.called(name, sys._getframe(1))
        return func(*args, **(kwargs or {}))


def some(names: Iterable[str]) -> str:
    """The first few of `names`, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
