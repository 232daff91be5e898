"""What all quantizers of one model share: the bits that are asked for, the key of the noise, and the callbacks.

`num_bits`, wherever it is an argument - of a model, of a layer, of a function here:

    None    inherit: what the caller above said. That is the argument of the innermost call of the model that is under
            way; else of the innermost block `running_at(bits)`; else the model's declared default. A lone layer has
            nothing above it and no default: full precision.
    0       full precision. A quantizer whose rule pins its bits keeps them.
    n       n bits for all quantizers that follow.

Bits that have been resolved are a number: `resolve` never gives None. What a quantizer makes of it (`Quantizer.bits`)
is the number of bits that a tensor is rounded to, or None where it is not rounded.

`num_bits` is threaded as an argument where a model's forward knows it (`bits.py`). In any other model the value given
to the outermost call, `model(x, num_bits=4)`, holds for that call. Nothing outlives the call (`call_state.py`).

>>> context = QuantizationContext(default_bits=8)
>>> context.resolve(4), context.resolve(None), context.resolve(0)
(4, 8, 0)
>>> with context.call(2):
...     context.resolve(4), context.resolve(None)
(4, 2)
"""

import contextlib
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Optional, Protocol

import torch
from torch import Tensor

from fairseq.errors import ConfigError
from fairseq.quantization.call_state import OFF, Block, CallState, current, untraced
from fairseq.quantization.rounding.noise import NoiseKey
from fairseq.quantization.scratch import Scratch


class Operand(NamedTuple):
    """One factor of a product: who quantized it, and to how many bits (None: full precision).

    Attributes:
        tensor: as its quantizer saw it.
        factor: as it enters the product, if that is another tensor; None: it is not.
    """

    quantizer: Any
    tensor: Tensor
    num_bits: Optional[int]
    factor: Optional[Tensor] = None


class Callback(Protocol):
    """Is notified of what happens, for reports, traces and costs; never part of the computation.

    One whose class says `counts_only = True` looks at sizes, bits and quantizers only. It may be passed other tensors
    of the same sizes, so that kernels can run that never hold what they round in a tensor.
    """

    def quantized(self, quantizer: Any, x: Tensor, result: Tensor, num_bits: int, reused: bool) -> None:
        """`quantizer` turned `x` into `result`, whose memory may be used again after this call.

        `reused`: without work, because a quantizer with the same settings has just done it.
        """

    def product(self, path: str, kind: str, left: Operand, right: Operand, macs: int) -> None:
        """A product is about to run: `kind` is forward, grad_input or grad_weight, `macs` its multiply-accumulates."""


Listener = Callback  # its name until the next release


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
    except (OverflowError, TypeError, ValueError):
        pass
    raise ConfigError(f"num_bits of a call must be a whole number, 0 (full precision) or None, got {num_bits!r}")


class QuantizationContext:
    """State of a quantized model between calls, and what a call needs to know of it.

    Args:
        default_bits: bits where a call names none (the declared evaluation bits); None for full precision.
        seed: of the rounding noise.
        fused: use compiled kernels for large tensors.
    """

    def __init__(self, default_bits: Optional[int] = None, seed: int = 1, fused: bool = False):
        self.default_bits = default_bits
        self.seed = seed
        self.fused = fused
        self.update = 0
        self.total_updates = 0  # of the run, where a scheduler knows them
        self.micro_batch = 0
        self.waiting = False  # before the update from which on anything is rounded
        self.counts_itself = True  # until a trainer says which update it is
        self.calibrating = False
        self.frozen = False  # running ranges stay as they are
        self.callbacks: list[Callback] = []
        self.scratch = Scratch()
        self.lock = threading.RLock()  # of what quantizers keep between calls: threads may train one model at once
        self._live_calls: dict[int, weakref.ref[CallState]] = {}  # whose graphs may run parts of them again

    # --- bits -----------------------------------------------------------------------------------------------------

    @property
    def state(self) -> Optional[CallState]:
        """The innermost call or block that is under way; in backward, the call of which a part is run again."""
        return current(self)

    @property
    def in_call(self) -> bool:
        """Whether a call of the model is under way."""
        state = current(self)
        return state is not None and state.running

    @untraced
    def resolve(self, num_bits: Optional[int]) -> int:
        """The bits that a quantizer follows where it is handed `num_bits` (see the table above)."""
        return self._resolved(num_bits, current(self))

    @untraced
    def layer_call(self, num_bits: Optional[int], training: bool) -> tuple[int, Optional[CallState]]:
        """`resolve`, for a layer that is about to run, and `state`, which it hands to its quantizers.

        A layer trained on its own counts its calls as updates.
        """
        state = current(self)
        alone = training and self.counts_itself and (state is None or not state.running)
        if alone and torch._C._current_graph_task_id() == -1:  # else a part that has been counted is run again
            self.update += 1
        if num_bits is None or self.waiting or (state is not None and state.off):
            return self._resolved(num_bits, state), state
        return (num_bits if type(num_bits) is int and num_bits >= 0 else whole_bits(num_bits)), state

    def _resolved(self, num_bits: Optional[int], state: Optional[CallState]) -> int:
        if self.waiting or (state is not None and state.off):
            return OFF
        if num_bits is None:
            num_bits = self.default_bits if state is None else state.bits
        elif type(num_bits) is not int or num_bits < 0:
            num_bits = whole_bits(num_bits)
        return num_bits or 0

    # --- calls and blocks -----------------------------------------------------------------------------------------

    @untraced
    def _state(self, num_bits: Optional[int], call: bool, training: bool = False, off: bool = False) -> CallState:
        """A state to enter: of a call, or of a block of code."""
        above = current(self)
        bits = self.resolve(num_bits)
        inside = above is not None and above.running
        again = torch._C._current_graph_task_id() != -1  # a checkpointed call, which has been counted
        if call and training and self.counts_itself and not inside and not again:
            self.update += 1
        noise = (self.update, self.micro_batch) if call else None
        if above is not None and (inside or again):
            noise = above.noise
        return CallState(self, max(bits, 0), off or bits == OFF, call or inside, noise)

    @untraced
    def run(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        num_bits: Optional[int],
        training: bool,
        argument: Optional[str] = None,
    ) -> Any:
        """`function(*args, **kwargs)` as a call of the model at `num_bits`.

        Args:
            training: the outermost call in training counts as an update where no trainer counts them.
            argument: name under which the function takes its bits, if it does.
        """
        state = self._state(num_bits, call=True, training=training)
        return state.run(function, args, kwargs if argument is None else {**kwargs, argument: state.bits})

    def call(self, num_bits: Optional[int], training: bool = False) -> Block:
        """A block of code that is a call of the model at `num_bits`."""
        return Block(self._state(num_bits, call=True, training=training))

    def running_at(self, num_bits: Optional[int]) -> Block:
        """Calls inside the block that name no bits run at `num_bits`."""
        return Block(self._state(num_bits, call=False))

    def full_precision(self) -> Block:
        """No quantizer rounds inside the block."""
        return Block(self._state(0, call=False, off=True))

    @contextlib.contextmanager
    def vouching(self, x: Tensor) -> Iterator[None]:
        """Nobody writes to `x` inside the block, so its codes may be shared though its writes are not counted."""
        state = current(self) if x.is_inference() else None
        if state is None:
            yield
            return
        try:
            state.unchanged = x
            yield
        finally:
            state.unchanged = None

    def keep(self, call: CallState) -> None:
        """Remember a call that is over for as long as its graph holds it."""
        key, calls = id(call), self._live_calls

        def forget(reference: "weakref.ref[CallState]") -> None:
            if calls.get(key) is reference:
                del calls[key]

        calls[key] = weakref.ref(call, forget)

    def live_calls(self) -> list[CallState]:
        """Calls with a graph."""
        return [call for call in (reference() for reference in list(self._live_calls.values())) if call is not None]

    # --- between calls --------------------------------------------------------------------------------------------

    def set(self, update: int, micro_batch: int = 0) -> None:
        """Say which update and which of its micro-batches (counted over all processes) comes next."""
        self.update, self.micro_batch, self.counts_itself = update, micro_batch, False

    @property
    def progress(self) -> float:
        """Share of the run that is done: 0 at its first update, 1 at its last; 0 where nobody knows its length."""
        return min(self.update / (self.total_updates - 1), 1.0) if self.total_updates > 1 else 0.0

    def noise_key(self, layer: int) -> NoiseKey:
        """The key of the noise that quantizer number `layer` adds now."""
        return self.noise_key_in(current(self), layer)

    def noise_key_in(self, state: Optional[CallState], layer: int) -> NoiseKey:
        """The same for one who knows the `state`."""
        noise = None if state is None else state.noise
        return NoiseKey(self.seed, layer, *(noise or (self.update, self.micro_batch)))

    @property
    def needs_tensors(self) -> bool:
        """Whether a callback looks into tensors."""
        return any(not getattr(callback, "counts_only", False) for callback in self.callbacks)

    @contextlib.contextmanager
    def with_callback(self, *callbacks: Callback) -> Iterator[None]:
        """Have `callbacks` notified of everything inside the block."""
        self.callbacks.extend(callbacks)
        try:
            yield
        finally:
            for callback in callbacks:
                self.callbacks.remove(callback)

    def __getstate__(self) -> dict[str, Any]:
        # copies and pickles of a model start with no callbacks, no scratch memory and no graphs
        kept = {**self.__dict__, "callbacks": [], "scratch": Scratch(), "_live_calls": {}}
        del kept["lock"]
        return kept

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, lock=threading.RLock())
