"""What the first call of a quantized model shows: products that no quantizer sees, and quantizers that nobody calls.

A product that is a module has its row in the plan from the start. One that is called as a function - `F.linear`,
`q @ k.mT`, `F.scaled_dot_product_attention`, `torch.einsum` - is seen when it runs: during the first call a
`TorchFunctionMode` notes each such function together with the module whose forward calls it, and the plan gets a row
for it. Quantizers of the plan that were not used by then are named, too: their module was skipped, or its weight was
multiplied past it. Both are said once; then the hooks are gone, and later calls cost nothing.

The mode sees calls and changes no numbers. It is not used where somebody traces or compiles the model.

    model = quantize_model(model, "int8")
    model(x)
    print(model.quantization.plan)        # with the rows of products that are called as functions

>>> some(["conv1", "conv2", "conv3", "conv4", "conv5"])
'conv1, conv2, conv3 and 2 more'
"""

import logging
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from types import FrameType
from typing import Any, Optional

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fairseq.quantization.context import Operand
from fairseq.quantization.plan.table import PlanRow
from fairseq.quantization.plan.targets import find_sites
from fairseq.quantization.quantized_model import Quantization
from fairseq.quantization.quantizer import Quantizer
from fairseq.quantization.schedules.base import schedule_of
from fairseq.quantization.spec import GRADIENT

logger = logging.getLogger(__name__)

# functions of torch that multiply and add, by the names under which a function mode sees them, without underscores
FUNCTIONS = frozenset(
    [
        "linear",
        "matmul",
        "rmatmul",
        "imatmul",
        "mm",
        "bmm",
        "mv",
        "dot",
        "vdot",
        "inner",
        "addmm",
        "addmv",
        "addbmm",
        "baddbmm",
        "einsum",
        "tensordot",
        "chain_matmul",
        "linalg_matmul",
        "linalg_multi_dot",
        "linalg_vecdot",
        "sparse_mm",
        "smm",
        "hspmm",
        "scaled_mm",
        "int_mm",
        "grouped_mm",
        "scaled_grouped_mm",
        "bilinear",
        "cdist",
        "conv1d",
        "conv2d",
        "conv3d",
        "conv_transpose1d",
        "conv_transpose2d",
        "conv_transpose3d",
        "conv_tbc",
        "convolution",
        "scaled_dot_product_attention",
        "multi_head_attention_forward",
        "flex_attention",
        "lstm",
        "gru",
        "rnn_tanh",
        "rnn_relu",
        "lstm_cell",
        "gru_cell",
        "rnn_tanh_cell",
        "rnn_relu_cell",
    ]
)
SAME = {"rmatmul": "matmul", "imatmul": "matmul"}  # other names of one function
OURS = ("fairseq.quantization.", "fairseq.native.", "fairseq.modules.attention.")  # their products are rows already
SHOWN = 3  # names in a warning


class FirstCall:
    """Hooks on a quantized model that remove themselves when they have seen what they wait for.

    Args:
        quantization: the model's.
    """

    def __init__(self, quantization: Quantization):
        self.quantization = quantization
        self._watch: Optional[Watch] = None
        self._waits_for_call = True
        self._waits_for_training = quantization.config.schedule.name not in (None, "constant")
        self._fast_attention = False

    def install(self, model: nn.Module) -> None:
        """Hook `model`."""
        # torch's own attention takes another path in evaluation when it sees a mode: it is left alone there
        self._fast_attention = any(type(module) is nn.MultiheadAttention for module in model.modules())
        # in front of the hook that takes `num_bits` from the call
        self.quantization.hooks += [
            model.register_forward_pre_hook(self.before, prepend=True, with_kwargs=True),
            model.register_forward_hook(self.after, always_call=True),
        ]
        self._handles = self.quantization.hooks[-2:]

    def before(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Forward pre-hook."""
        if torch.compiler.is_compiling() or torch.jit.is_tracing() or self.quantization.step.in_call:
            return
        if self._watch is not None:
            if self._watch.thread != threading.get_ident():
                return
            self._watch.stop()  # left over from a call that was interrupted
            self._watch = None
        if module.training and self._waits_for_training:
            self._waits_for_training = False
            if "num_bits" not in kwargs and not self.quantization.is_driven:
                logger.warning(undriven(self.quantization))
        if self._waits_for_call and self._can_watch(kwargs):
            self._watch = Watch(module, self.quantization)
            self._watch.start()
        elif not self._waits_for_call and not self._waits_for_training:
            self.remove()

    def after(self, module: nn.Module, args: Any, output: Any) -> None:
        """Forward hook, called also when the forward raises."""
        watch = self._watch
        if watch is None or watch.thread != threading.get_ident() or self.quantization.step.in_call:
            return
        self._watch = None
        watch.stop()
        if sys.exc_info()[1] is not watch.exception:
            return  # the call failed half-way: the next one will do
        self._waits_for_call = False
        for warning in watch.conclude():
            logger.warning(warning)
        if not self._waits_for_training:
            self.remove()

    def remove(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()

    def _can_watch(self, kwargs: Mapping[str, Any]) -> bool:
        step = self.quantization.step
        if step.switched_off or not kwargs.get("num_bits", step.default_bits):
            return False  # in full precision no quantizer is called
        return torch.is_grad_enabled() or not self._fast_attention

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_watch": None}  # a copy has no call under way


class Watch:
    """One call: notes what is multiplied."""

    counts_only = True  # a listener that looks at no values, so that kernels may run

    def __init__(self, model: nn.Module, quantization: Quantization):
        self.model, self.quantization = model, quantization
        self.thread, self.exception = threading.get_ident(), sys.exc_info()[1]
        self.used: set[str] = set()  # quantizers
        self.functions: dict[str, list[str]] = {}  # path of a module -> what its forward calls
        self._paths = {id(module): path for path, module in model.named_modules()}
        self._planned = {id(part) for site in find_sites(model) for part in site.module.modules()}
        self._mode = FunctionMode(self)

    def start(self) -> None:
        """The call begins."""
        self.quantization.step.listeners.append(self)
        self._mode.__enter__()

    def stop(self) -> None:
        """The call is over."""
        self._mode.__exit__(None, None, None)
        self.quantization.step.listeners.remove(self)

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
        while frame is not None:
            if frame.f_globals.get("__name__", "").startswith(OURS):
                return None
            if "self" in frame.f_code.co_varnames:
                module = frame.f_locals.get("self")
                if isinstance(module, nn.Module) and id(module) in self._paths:
                    return None if id(module) in self._planned else self._paths[id(module)]
            frame = frame.f_back
        return None

    # --- what follows ---------------------------------------------------------------------------------------------

    def conclude(self) -> Iterator[str]:
        """Complete the plan; gives warnings."""
        plan = self.quantization.plan
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
                f"{some(found)}; use nn.Linear or fairseq.quantization.MatMul there"
            )
        unused = [path for path in self._expected() if path not in self.used]
        products = list(dict.fromkeys(plan[path].product or path for path in unused))
        if products:
            yield (
                f"quantization: planned, but not used in the first call: {some(products)}; "
                "a module that is skipped, or whose weight is multiplied without calling it, quantizes nothing"
            )

    def _expected(self) -> Iterator[str]:
        """Quantizers that a call at these bits would use; those of gradients come later, with their product's."""
        for owner in self.model.modules():
            for name, child in owner.named_children():
                if not isinstance(child, Quantizer) or child.path not in self.quantization.plan:
                    continue
                if child.role == GRADIENT or child.bits(self.quantization.config.num_bits) is None:
                    continue
                if name == "weight" and getattr(owner, "integers", None) is not None:
                    continue  # codes lie in the weight's place
                yield child.path


class FunctionMode(TorchFunctionMode):
    """Tells a `Watch` of functions that multiply."""

    sees_calls = True  # see `fairseq.native.compiled.calls_are_seen`

    def __init__(self, watch: Watch):
        super().__init__()
        self.watch = watch

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Optional[Mapping[str, Any]] = None
    ) -> Any:
        name = getattr(func, "__name__", "").partition(".")[0].strip("_")
        if name in FUNCTIONS:
            self.watch.called(SAME.get(name, name), sys._getframe(1))
        return func(*args, **(kwargs or {}))


def some(names: Iterable[str]) -> str:
    """The first few of `names`, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def undriven(quantization: Quantization) -> str:
    """The warning for a schedule that nobody follows."""
    schedule = schedule_of(quantization.config)
    return (
        f"quantization: nothing drives the schedule {schedule.name} ({schedule.low} to {schedule.high} bits), so every "
        f"update runs at {quantization.config.eval_bits} bits; create a PrecisionScheduler(model, total_updates=N) and "
        "call its step() after the optimizer's, or give each call its num_bits"
    )
