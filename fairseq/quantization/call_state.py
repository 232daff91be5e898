"""The call of a model that is under way: its bits, and what its quantizers hand one another.

A call's state is the value of a context variable, so no other thread sees it. A call of a whole model runs in a copy of
the context: however it ends, by an interrupt too, its state goes with the copy.

Backward runs parts of a call again where activations are checkpointed. The call is over by then, or another one is
under way, and autograd may be in a thread of its own, which has no context. Such a part finds its call by the number
that autograd gave to the node it stands for: nodes of a call have the numbers between its begin and its end. Each
thread counts for itself, so of several calls with that number it is the one whose results this backward pass came
through.
"""

import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar, copy_context
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple, Optional, TypeVar

import torch
from torch import Tensor
from torch._C._dynamo import eval_frame as _frames

FULL_PRECISION = 0  # as `num_bits`: pinned bits are kept
OFF = -1  # instead of `num_bits`: nothing is rounded, with pinned bits neither


Function = TypeVar("Function", bound=Callable[..., Any])


def untraced(function: Function) -> Function:
    """Keep torch.compile out of the function's own frame; what it calls is compiled as ever.

    It cannot trace context variables. This is `torch.compiler.disable` without a wrapper, and without loading the
    compiler, which takes a second.
    """
    skip = _frames._FrameExecStrategy(_frames._FrameAction.SKIP, _frames._FrameAction.DEFAULT)
    _frames.set_code_exec_strategy(function.__code__, skip)
    function._torchdynamo_disable = True  # type: ignore[attr-defined]
    return function


def untraced_within(function: Function) -> Function:
    """Keep torch.compile out of the function and of all that it calls."""
    skip = _frames._FrameExecStrategy(_frames._FrameAction.SKIP, _frames._FrameAction.SKIP)
    _frames.set_code_exec_strategy(function.__code__, skip)
    function._torchdynamo_disable = True  # type: ignore[attr-defined]
    return function


class SharedResult(NamedTuple):
    """The last activation that was quantized, for a next quantizer with the same settings: q, k, v share one."""

    x: Tensor
    version: int
    settings: Any
    range: Any
    result: Any  # a tensor, or its codes


class CallState:
    """One call of a model, or a block of code for which bits are declared.

    Attributes:
        owner: the `QuantizationContext` of the model.
        bits: `num_bits` of layers that inherit them; 0 for full precision.
        off: nothing is rounded, whatever is asked for.
        running: a call is under way; False in a mere block, and once the call is over.
        noise: update and micro-batch, of the call's rounding noise; None in a block outside of calls.
        outer: what was under way when this began, of this model or another one.
        shared: the last quantized activation; only while running.
        unchanged: a tensor of inference mode, which has no version counter; its owner guarantees that it is unchanged.
    """

    __slots__ = (
        "__weakref__", "bits", "first", "graph_task", "last", "noise", "off", "outer", "owner", "running",
        "shared", "thread", "traversed", "unchanged",
    )  # fmt: skip

    @untraced
    def __init__(self, owner: Any, bits: int, off: bool, running: bool, noise: Optional[tuple[int, int]]):
        self.owner, self.bits, self.off, self.running, self.noise = owner, bits, off, running, noise
        self.outer: Optional[CallState] = _current.get()
        self.shared: Optional[SharedResult] = None
        self.unchanged: Optional[Tensor] = None
        self.graph_task = torch._C._current_graph_task_id()  # of the backward pass in which the call happens, or -1
        self.thread = threading.get_ident()
        self.traversed = -1  # the last backward pass that came through the call's results
        self.first = self.last = 0  # numbers of autograd's nodes

    @untraced
    def run(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """`function(*args, **kwargs)` as this call."""
        return copy_context().run(self._run, function, args, kwargs)

    @untraced
    def _run(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        _current.set(self)
        if not torch.is_grad_enabled():
            try:
                return function(*args, **kwargs)
            finally:
                self.close()
        self.first = torch.autograd._get_sequence_nr()  # type: ignore[attr-defined]
        try:
            result = function(*args, **kwargs)
        finally:
            self.close()
        self.last = torch.autograd._get_sequence_nr()  # type: ignore[attr-defined]
        if self.last > self.first:
            nodes = [tensor.grad_fn for tensor in _tensors(result) if tensor.grad_fn is not None]
            for node in nodes:  # the graph keeps the call for the parts that are run again
                node.metadata.setdefault(_NAME, []).append(self)  # type: ignore[attr-defined]  # a dict, in fact
                node.register_prehook(self._begin_backward)
            if nodes:
                self.owner.keep(self)
        return result

    @untraced
    def _begin_backward(self, grads: Any) -> None:
        """Hook on the nodes of the results."""
        self.traversed = torch._C._current_graph_task_id()

    @untraced
    def close(self) -> None:
        """The call is over."""
        self.running = False
        self.shared = self.unchanged = self.outer = None


_NAME = "fairseq.quantization.calls"
_current: ContextVar[Optional[CallState]] = ContextVar("quantized_call", default=None)
_recomputed: ContextVar[Optional["weakref.ref[CallState]"]] = ContextVar("recomputed_call", default=None)


@untraced
def current(owner: Any) -> Optional[CallState]:
    """The innermost call or block of the model with the context `owner`; None where there is none."""
    state = _current.get()
    while state is not None and state.owner is not owner:
        state = state.outer
    task = torch._C._current_graph_task_id()
    if task == -1 or (state is not None and state.graph_task == task):
        return state
    return _of_graph(owner) or state


@untraced
def _of_graph(owner: Any) -> Optional[CallState]:
    """The call of which backward runs a part again."""
    node = torch._C._current_autograd_node()
    number = -1 if node is None else node._sequence_nr()
    calls = [call for call in owner.live_calls() if call.first <= number < call.last]
    if not calls:  # a part within a part: its nodes were made in backward
        reference = _recomputed.get()
        call = None if reference is None else reference()
        return call if call is not None and call.owner is owner else None
    task, thread = torch._C._current_graph_task_id(), threading.get_ident()
    here = [call for call in calls if call.traversed == task]
    own = [call for call in here or calls if call.thread == thread]
    call = max(own or here or calls, key=lambda each: each.first)
    _recomputed.set(weakref.ref(call))
    return call


class Block:
    """Makes `state` the innermost one between `with` and its end."""

    def __init__(self, state: CallState):
        self.state = state

    def __enter__(self) -> CallState:
        _current.set(self.state)
        return self.state

    def __exit__(self, *_: Any) -> None:
        _current.set(self.state.outer)
        self.state.close()


def _tensors(result: Any) -> Iterator[Tensor]:
    """The tensors of a model's output, which may be nested."""
    if isinstance(result, Tensor):
        yield result
    elif isinstance(result, Mapping):
        for value in result.values():
            yield from _tensors(value)
    elif isinstance(result, (list, tuple)):
        for value in result:
            yield from _tensors(value)
    elif is_dataclass(result):
        yield from _tensors([getattr(result, field.name) for field in fields(result)])
