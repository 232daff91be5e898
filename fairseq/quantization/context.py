"""What all quantizers of one model share: the bits of the call under way, the noise's key, and who is listening.

`num_bits` is threaded as an argument where a model's forward knows it. In any other model the value given to the
outermost call, `model(x, num_bits=4)`, holds for that call; `model(x)` runs at the declared default. Nothing outlives
the call.

>>> step = Step(default_bits=8)
>>> step.resolve(4), step.resolve(None)
(4, 8)
>>> with step.call(None):
...     step.resolve(4), step.resolve(None)
(4, None)
"""

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple, Optional, Protocol

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from fairseq.quantization.rounding.noise import NoiseKey

SCRATCH_LIMIT = 2**25  # elements: 128 MiB that stay allocated


class Operand(NamedTuple):
    """One factor of a product as it enters the GEMM: who quantized it, and to how many bits (None: full precision)."""

    quantizer: Any
    tensor: Tensor
    num_bits: Optional[int]


class Shared(NamedTuple):
    """The last activation that was quantized, for a next quantizer with the same settings: q, k, v share one."""

    x: Tensor
    version: int
    settings: Any
    range: Any
    result: Any  # a tensor, or its codes


class Listener(Protocol):
    """Told what happens, for reports, traces and costs; never part of the computation.

    One whose class says `counts_only = True` looks at sizes, bits and quantizers alone. It may be handed other tensors
    of the same sizes, and lets kernels run that have no tensor of what they round.
    """

    def quantized(self, quantizer: Any, x: Tensor, result: Tensor, num_bits: int, reused: bool) -> None:
        """`quantizer` turned `x` into `result`, whose memory may be used again after this call.

        `reused`: without work, because a quantizer with the same settings has just done it.
        """

    def product(self, path: str, kind: str, left: Operand, right: Operand, macs: int) -> None:
        """A product is about to run: `kind` is forward, grad_input or grad_weight, `macs` its multiply-accumulates."""


class Step:
    """State of a quantized model between and during calls.

    Args:
        default_bits: bits where a call names none (the declared evaluation bits).
        seed: of the rounding noise.
        fused: use compiled kernels for large tensors.
    """

    def __init__(self, default_bits: Optional[int] = None, seed: int = 1, fused: bool = False):
        self.default_bits = default_bits
        self.seed = seed
        self.fused = fused
        self.update = 0
        self.micro_batch = 0
        self.counts_itself = True  # until a trainer says which update it is
        self.calibrating = False
        self.inspecting = False  # somebody looks at grids: running ranges stay as they are
        self.switched_off = False  # everything in full precision, pinned bits too
        self.rounded: Counter[Any] = Counter()  # values by kernel, which decide whether compiling it pays
        self.listeners: list[Listener] = []
        self.shared: Optional[Shared] = None
        self.unchanged: Optional[Tensor] = None  # a tensor of inference mode, whose owner vouches for it
        self._call_bits: Optional[int] = None
        self._depth = 0
        self._scratch: dict[torch.device, Tensor] = {}

    @property
    def in_call(self) -> bool:
        """Whether a call of the model is under way."""
        return self._depth > 0

    @property
    def is_looked_at(self) -> bool:
        """Whether a listener looks into tensors."""
        return any(not getattr(listener, "counts_only", False) for listener in self.listeners)

    @contextlib.contextmanager
    def running_at(self, num_bits: Optional[int]) -> Iterator[None]:
        """Calls inside the block that name no bits run at `num_bits`."""
        before = self.default_bits, self._call_bits
        self.default_bits = self._call_bits = num_bits
        try:
            yield
        finally:
            self.default_bits, self._call_bits = before

    @contextlib.contextmanager
    def full_precision(self) -> Iterator[None]:
        """No quantizer rounds inside the block."""
        before, self.switched_off = self.switched_off, True
        try:
            yield
        finally:
            self.switched_off = before

    def set(self, update: int, micro_batch: int = 0) -> None:
        """Say which update and which of its micro-batches (counted over all processes) comes next."""
        self.update, self.micro_batch, self.counts_itself = update, micro_batch, False

    def resolve(self, num_bits: Optional[int]) -> Optional[int]:
        """The bits that a quantizer follows: the argument; else the outermost call's; outside any call the default."""
        if num_bits is not None:
            return num_bits or None  # 0 is full precision, as in the reference
        # a checkpointed segment is run again during backward, when the call is over but its bits still count
        if self._depth or torch._C._current_graph_task_id() != -1:
            return self._call_bits
        return self.default_bits

    def layer_call(self, num_bits: Optional[int], training: bool) -> Optional[int]:
        """`resolve`, for a layer that is about to run. A layer trained on its own counts its calls as updates."""
        if training and self.counts_itself and not self._depth and torch._C._current_graph_task_id() == -1:
            self.update += 1
        return self.resolve(num_bits)

    def enter(self, num_bits: Optional[int], training: bool) -> None:
        """The outermost call begins."""
        if not self._depth:
            self._call_bits = num_bits or None
            if training and self.counts_itself:
                self.update += 1
        self._depth += 1

    def leave(self) -> None:
        """A call ends."""
        self._depth -= 1
        if not self._depth:
            self.shared = self.unchanged = None

    @contextlib.contextmanager
    def call(self, num_bits: Optional[int], training: bool = False) -> Iterator[None]:
        """`enter` and `leave` around a block."""
        self.enter(num_bits, training)
        try:
            yield
        finally:
            self.leave()

    @contextlib.contextmanager
    def listening(self, *listeners: Listener) -> Iterator[None]:
        """Have `listeners` told about everything inside the block."""
        self.listeners.extend(listeners)
        try:
            yield
        finally:
            for listener in listeners:
                self.listeners.remove(listener)

    def noise_key(self, layer: int) -> NoiseKey:
        """The key of the noise that quantizer number `layer` adds now."""
        return NoiseKey(self.seed, layer, self.update, self.micro_batch)

    def scratch(self, like: Tensor) -> Tensor:
        """An uninitialised fp32 tensor of `like`'s shape whose memory the next call on that device reuses.

        For quantized gradients, which are dead as soon as their two products are formed: no fresh pages for each of
        them. Very large ones get memory of their own.
        """
        if like.numel() > SCRATCH_LIMIT:
            return torch.empty(like.shape, dtype=torch.float32, device=like.device)
        buffer = self._scratch.get(like.device)
        if buffer is None or buffer.numel() < like.numel():
            buffer = self._scratch[like.device] = torch.empty(like.numel(), dtype=torch.float32, device=like.device)
        return buffer[: like.numel()].view(like.shape)

    def __getstate__(self) -> dict[str, Any]:
        # copies and pickles of a model start with no call under way, no listeners and no scratch memory
        return {
            **self.__dict__,
            "listeners": [],
            "shared": None,
            "unchanged": None,
            "_scratch": {},
            "_depth": 0,
            "_call_bits": None,
        }


class CallHook:
    """Hooks on the outermost module: take `num_bits` from the call, or give a forward that threads it the default."""

    def __init__(self, step: Step, threaded: bool):
        self.step = step
        self.threaded = threaded

    def before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Forward pre-hook, with keyword arguments."""
        num_bits = kwargs.get("num_bits", self.step.default_bits)
        self.step.enter(num_bits, module.training)
        rest = {name: value for name, value in kwargs.items() if name != "num_bits"}
        return args, {**rest, "num_bits": num_bits} if self.threaded else rest

    def after(self, module: nn.Module, args: Any, output: Any) -> None:
        """Forward hook, called also when the forward raises."""
        self.step.leave()

    def install(self, module: nn.Module) -> list[RemovableHandle]:
        """Hook `module`; the handles remove the hooks."""
        return [
            module.register_forward_pre_hook(self.before, with_kwargs=True, prepend=True),
            module.register_forward_hook(self.after, always_call=True),
        ]
