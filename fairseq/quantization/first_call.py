"""What the first call of a quantized model shows: products without quantizers, and quantizers that are never called.

A product that is a module has its row in the plan from the start. One that is called as a function - `F.linear`,
`q @ k.mT`, `F.scaled_dot_product_attention`, `torch.einsum` - is seen when it runs, and the plan gets a row for it
(`watched_call.py`). Quantizers of the plan that were not used by then are named, too: their module was skipped, or its
weight was multiplied past it. Training that follows no schedule although one is set is the third thing. Each is said
once; then the hooks are gone, and later calls cost nothing.

    model = quantize_model(model, "int8")
    model(x)
    print(model.quantization)        # with the rows of products that are called as functions
"""

import logging
import sys
import threading
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from fairseq.quantization.quantized_model import Quantization
from fairseq.quantization.schedules.base import schedule_of
from fairseq.quantization.watched_call import WatchedCall

logger = logging.getLogger(__name__)


def undriven(quantization: Quantization) -> str:
    """The warning for a schedule that no quantizer follows."""
    schedule = schedule_of(quantization.config)
    return (
        f"quantization: nothing drives the schedule {schedule.name} ({schedule.span} bits), so every "
        f"update runs at {quantization.config.eval_bits} bits; create a PrecisionScheduler(model, total_updates=N) and "
        "call its step() after the optimizer's, or give each call its num_bits"
    )


class FirstCall:
    """Hooks on a quantized model that remove themselves when they have seen what they wait for.

    Args:
        quantization: the model's.
    """

    def __init__(self, quantization: Quantization):
        self.quantization = quantization
        self._watched: dict[str, WatchedCall] = {}  # at most one, of one thread
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
        if torch.compiler.is_compiling() or torch.jit.is_tracing() or self.quantization.context.in_call:
            return
        kwargs = self.quantization.by_name(args, dict(kwargs))[1]
        self._clear_up()
        if module.training and self._waits_for_training:
            self._waits_for_training = False
            if "num_bits" not in kwargs and not self.quantization.is_driven:
                logger.warning(undriven(self.quantization))
        if self._waits_for_call and self._can_watch(kwargs):
            watch = WatchedCall(module, self.quantization)
            if self._watched.setdefault("call", watch) is watch:  # in one step, whatever other threads do
                watch.start()
        elif not self._waits_for_call and not self._waits_for_training:
            self.remove()

    def after(self, module: nn.Module, args: Any, output: Any) -> None:
        """Forward hook, called also when the forward raises."""
        watch = self._watched.get("call")
        if watch is None or watch.thread is not threading.current_thread() or self.quantization.context.in_call:
            return
        watch.stop()
        failed = sys.exc_info()[1] is not watch.exception  # then the next call will do
        warnings = [] if failed else list(watch.conclude())
        self._waits_for_call = failed
        self._watched.pop("call", None)
        for warning in warnings:
            logger.warning(warning)
        if not (self._waits_for_call or self._waits_for_training):
            self.remove()

    def remove(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()

    def _clear_up(self) -> None:
        """Forget a call that was interrupted: no hook runs then."""
        watch = self._watched.get("call")
        if watch is not None and (watch.thread is threading.current_thread() or not watch.thread.is_alive()):
            watch.stop()
            self._watched.pop("call", None)

    def _can_watch(self, kwargs: Mapping[str, Any]) -> bool:
        if self.quantization.context.resolve(kwargs.get("num_bits")) <= 0:
            return False  # in full precision no quantizer is called
        return torch.is_grad_enabled() or not self._fast_attention

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_watched": {}}  # a copy has no call under way
