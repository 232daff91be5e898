"""A call's bits are its own: beside other threads, inside other calls, in backward, and after an interrupt."""

import contextlib
import copy
import inspect
import pickle
import random
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Optional

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fairseq.errors import ConfigError
from fairseq.quantization import PrecisionScheduler, QLinear, QMatmul, quantize_model, remove_quantization
from fairseq.quantization.call_state import current
from fairseq.quantization.context import QuantizationContext


class Plain(nn.Module):
    """A model that knows no `num_bits`; `between` runs in the middle of its forward."""

    between: Optional[Callable[[], Any]] = None

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(12, 16), nn.Linear(16, 12)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        if self.between is not None:
            self.between()
        return self.second(x)


class Threaded(Plain):
    """The same, which hands `num_bits` on."""

    def forward(self, x: Tensor, num_bits: Optional[int] = None) -> Tensor:  # type: ignore[override]
        x = torch.relu(self.first(x, num_bits=num_bits))
        if self.between is not None:
            self.between()
        return self.second(x, num_bits=num_bits)  # type: ignore[no-any-return]


class Checkpointed(Plain):
    """Its layers run again in backward."""

    use_reentrant = False
    nested = False

    def forward(self, x: Tensor) -> Tensor:
        def segment(x: Tensor) -> Tensor:
            x = torch.relu(self.first(x))
            return self._checkpoint(self.second, x) if self.nested else self.second(x)

        return torch.tanh(self._checkpoint(segment, x)).clone()

    def _checkpoint(self, function: Any, x: Tensor) -> Tensor:
        return checkpoint(function, x, use_reentrant=self.use_reentrant)  # type: ignore[no-any-return]


def quantized(kind: type[nn.Module] = Plain, preset: str = "int8", compute: str = "simulate") -> Any:
    torch.manual_seed(0)
    model = quantize_model(kind(), preset, compute=compute)
    model.quantization.begin_micro_batch(0)
    with torch.no_grad():
        model(batch())
    return model


def batch(seed: int = 1) -> Tensor:
    return torch.randn(6, 12, generator=torch.Generator().manual_seed(seed), requires_grad=True)


def gradients(model: nn.Module, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(model.parameters())))


# --- what None means ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Plain, Threaded])
def test_none_inherits_and_0_is_full_precision(kind: type[nn.Module]) -> None:
    model, x = quantized(kind).eval(), batch()
    exact = torch.nn.functional.linear(x, model.first.weight, model.first.bias)
    for layer in (lambda **bits: model.first(x, **bits), lambda **bits: model(x, **bits)):
        assert layer(num_bits=None).equal(layer(num_bits=8)) and layer().equal(layer(num_bits=8))
        assert not layer(num_bits=0).equal(layer(num_bits=8))
    assert model.first(x, num_bits=0).equal(exact)
    with model.quantization.context.running_at(3):
        assert model(x, num_bits=None).equal(model(x, num_bits=3)) and model.first(x).equal(model.first(x, num_bits=3))
        with model.quantization.context.full_precision():
            assert model.first(x, num_bits=4).equal(exact)
    assert model(x).equal(model(x, num_bits=8))


def test_a_layer_with_nobody_above() -> None:
    layer, product, x = QLinear(12, 4), QMatmul(), batch()
    assert layer(x).equal(layer(x, num_bits=0)) and not layer(x).equal(layer(x, num_bits=4))
    assert product(x, x.mT).equal(product(x, x.mT, num_bits=0))


def test_pinned_bits_stay() -> None:
    model, x = quantize_model(nn.Sequential(nn.Linear(12, 12)), "int8", rules=[{"match": "*", "bits": 3}]), batch()
    exact = torch.nn.functional.linear(x, model[0].weight, model[0].bias)
    assert not model(x, num_bits=0).equal(exact) and model(x, num_bits=0).equal(model(x, num_bits=8))
    with model.quantization.context.full_precision():
        assert model(x).equal(exact)


# --- threads and calls within calls -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Plain, Threaded])
@pytest.mark.parametrize("compute", ["simulate", "integer"])
def test_a_call_in_flight_keeps_its_bits_to_itself(kind: type[nn.Module], compute: str) -> None:
    model, x = quantized(kind, compute=compute).eval(), batch()
    expected = {bits: model(x, num_bits=bits) for bits in (2, 8)}
    inside, done = threading.Event(), threading.Event()

    def wait() -> None:
        if threading.current_thread() is not threading.main_thread():
            inside.set()
            assert done.wait(20)

    model.between = wait
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(lambda: model(x, num_bits=2))
        assert inside.wait(20)
        try:
            assert model(x, num_bits=8).equal(expected[8]) and model(x).equal(expected[8])
        finally:
            done.set()
        assert slow.result().equal(expected[2])


def test_a_block_in_another_thread_changes_nothing_here() -> None:
    model, x = quantized().eval(), batch()
    expected = model(x)
    context, inside, done = model.quantization.context, threading.Event(), threading.Event()

    def elsewhere() -> None:
        with context.running_at(2), context.full_precision():
            inside.set()
            done.wait(20)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    assert inside.wait(20)
    try:
        assert model(x).equal(expected)
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize("kind", [Plain, Threaded])
def test_a_hook_that_calls_the_model_again(kind: type[nn.Module]) -> None:
    model, x = quantized(kind).eval(), batch()
    expected = {bits: model(x, num_bits=bits) for bits in (2, 4, 8)}
    inner: list[Tensor] = []

    def again() -> None:
        model.between = None
        inner.extend([model(x, num_bits=2), model(x)])

    model.between = again
    assert model(x, num_bits=4).equal(expected[4])
    assert inner[0].equal(expected[2]) and inner[1].equal(expected[4])  # None: what the call above said
    handle = model.second.register_forward_hook(lambda *_: again() if model.between else None)
    model.between = None
    assert model(x, num_bits=4).equal(expected[4])
    handle.remove()


def test_a_model_inside_another() -> None:
    teacher, student, x = quantized().eval(), quantized().eval(), batch()
    expected, scores = teacher(x), student(x, num_bits=3)
    seen: list[Tensor] = []
    student.between = lambda: seen.append(teacher(x))
    assert student(x, num_bits=3).equal(scores) and seen[0].equal(expected)


# --- backward -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("use_reentrant", [False, True])
def test_checkpointed_segments_keep_their_bits(use_reentrant: bool, nested: bool) -> None:
    plain, model = quantized(Plain, "cpt_4_8"), quantized(Checkpointed, "cpt_4_8")
    model.use_reentrant, model.nested = use_reentrant, nested
    inputs = {2: batch(1), 8: batch(2)}
    expected = {}
    for bits, x in inputs.items():
        expected[bits] = gradients(plain, torch.tanh(plain(x, num_bits=bits)).sum())

    calls = {bits: model(x, num_bits=bits).sum() for bits, x in inputs.items()}
    for order in (2, 8), (8, 2):
        for bits in order:  # a call at other bits has come after this one, or has been gone through backward before
            model.zero_grad()
            calls[bits].backward(retain_graph=True)
            for parameter, wanted in zip(model.parameters(), expected[bits], strict=True):
                torch.testing.assert_close(parameter.grad, wanted, rtol=0, atol=0)
            model(inputs[8], num_bits=5)
    model.zero_grad()
    with model.quantization.context.call(3):  # neither the call around backward
        (calls[2] + calls[8]).backward()
    for parameter, *wanted in zip(model.parameters(), *expected.values(), strict=True):
        torch.testing.assert_close(parameter.grad, sum(wanted))


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_a_checkpointed_model_counts_one_update(use_reentrant: bool) -> None:
    torch.manual_seed(0)
    model = quantize_model(Plain(), "cpt_4_8")
    context = model.quantization.context
    y = checkpoint(lambda x: model(x, num_bits=4), batch(), use_reentrant=use_reentrant)
    assert context.update == 1
    y.sum().backward()
    assert context.update == 1


def test_gradients_of_several_threads() -> None:
    """More than once the gradients of two threads lay in one buffer."""
    torch.manual_seed(0)
    model = quantize_model(
        nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 64)), "int8"
    )
    model.quantization.begin_micro_batch(0)
    inputs = [torch.randn(256, 256) * 2.0**scale for scale in range(3)]

    def work(number: int) -> list[Tensor]:
        return gradients(model, model(inputs[number], num_bits=4 + 2 * number).square().sum())

    expected = [work(number) for number in range(3)]
    with switching_often(), ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda index: (index % 3, work(index % 3)), range(36)))
    wrong = sum(any(not a.equal(b) for a, b in zip(grads, expected[number], strict=True)) for number, grads in found)
    assert wrong == 0


@contextlib.contextmanager
def switching_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def test_evaluation_in_threads_at_several_bits() -> None:
    """The quantized weight is kept between calls, for one number of bits."""
    model, x = quantized().eval(), batch()
    with torch.no_grad():
        expected = {bits: model(x, num_bits=bits) for bits in (2, 3, 4, 8)}
        numbers = list(expected) * 40

        def run(bits: int) -> bool:
            with torch.no_grad():
                return model(x, num_bits=bits).equal(expected[bits])

        with switching_often(), ThreadPoolExecutor(4) as pool:
            assert all(pool.map(run, numbers))


def test_nothing_outlives_a_graph() -> None:
    model = quantized()
    context = model.quantization.context
    y = model(batch(), num_bits=4)
    assert len(context.live_calls()) == 1 and context.state is None
    del y
    assert not context.live_calls()


# --- interrupts ---------------------------------------------------------------------------------------------------


class Interrupt(BaseException):
    pass


def interrupted(function: Callable[[], Any], after: int) -> bool:
    """Whether `function` was ended by an interrupt at its line number `after`, counting lines in all that it calls."""
    left, grad_mode = after, torch.is_grad_enabled()

    def trace(frame: Any, event: str, argument: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            raise Interrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    except Interrupt:
        return True
    finally:
        sys.settrace(before)
        torch.set_grad_enabled(grad_mode)  # PyTorch's own block may have been interrupted in its last line
    return False


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # interrupts in destructors
@pytest.mark.parametrize("kind", [Plain, Threaded])
def test_interrupts_at_any_line(kind: type[nn.Module]) -> None:
    model, x = quantized(kind).eval(), batch()
    context = model.quantization.context
    expected = {bits: model(x, num_bits=bits) for bits in (2, 8)}
    lines = 1
    while interrupted(lambda: model(x, num_bits=2), lines):
        lines *= 2
    ended = 0
    for after in random.Random(3).sample(range(1, lines), 60):
        if interrupted(lambda: model(x, num_bits=2), after):
            ended += 1
            assert current(context) is None
            assert model(x).equal(expected[8]) and model.first(x).equal(model.first(x, num_bits=8))
    assert ended > 20
    assert model(x, num_bits=2).equal(expected[2])


# --- the module itself --------------------------------------------------------------------------------------------


def test_the_forward_is_still_the_models() -> None:
    model = quantized(Threaded).eval()
    assert list(inspect.signature(model.forward).parameters) == ["x", "num_bits"]
    x = batch()
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other(x, num_bits=3).equal(model(x, num_bits=3)) and other.quantization is not model.quantization
    shallow, calls = copy.copy(model), []
    shallow.between = lambda: calls.append(1)  # the copy's own attributes count, and only there
    assert shallow(x, num_bits=3).equal(model(x, num_bits=3)) and calls == [1]
    assert model.forward(x, num_bits=3).equal(model(x, num_bits=3))


def test_a_forward_of_the_instance_comes_back() -> None:
    model = Plain()
    own = model.forward = lambda x: x + 1  # type: ignore[method-assign, assignment]
    quantize_model(model, "int8")
    assert model(torch.zeros(1), num_bits=4).item() == 1
    remove_quantization(model)
    assert model.forward is own


def test_resolving_outside_of_any_call() -> None:
    assert QuantizationContext().resolve(None) == 0 and QuantizationContext(default_bits=5).resolve(None) == 5


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_segments_of_calls_of_other_threads_keep_their_bits(use_reentrant: bool) -> None:
    """Backward in a thread of neither call, as on a GPU, where autograd has threads of its own."""

    class Segment(Plain):
        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(super().forward, x, use_reentrant=use_reentrant)  # type: ignore[no-any-return]

    rules = [{"match": "*.grad_output", "quantize": False}]
    model = quantize_model(Segment(), "int8", rules=rules).train()
    model.quantization.begin_micro_batch(0)
    x, results, all_bits = torch.randn(4, 12, requires_grad=True), {}, (2, 8, 4)
    expected = {}
    for bits in all_bits:
        x.grad = None
        model(x, num_bits=bits).square().sum().backward()
        assert x.grad is not None
        expected[bits] = x.grad.clone()

    def forward(bits: int) -> None:
        results[bits] = model(x, num_bits=bits).square().sum()

    for bits in all_bits:
        thread = threading.Thread(target=forward, args=(bits,))
        thread.start()
        thread.join()
    for bits in all_bits:
        x.grad = None
        results[bits].backward()
        assert torch.equal(x.grad, expected[bits]), bits


class Positional(nn.Module):
    """Takes bits in the middle, as the models of CPT do."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)

    def forward(self, x: Tensor, num_bits: Optional[int] = None, factor: float = 1.0) -> Tensor:
        self.given = num_bits
        return self.fc(x) * factor


def test_bits_by_position() -> None:
    model = quantize_model(Positional(), "cpt_4_8", schedule={"num_cycles": 1})
    x = torch.randn(3, 8)
    scheduler = PrecisionScheduler(model, total_updates=5)
    assert torch.equal(model(x, 3), model(x, num_bits=3)) and model.given == 3
    assert torch.equal(model(x, 5, 2.0), 2 * model(x, 5)) and not torch.equal(model(x, 5), model(x, 3))
    assert torch.equal(model(x, 5, factor=2.0), model(x, 5, 2.0))
    model(x)
    assert model.given == scheduler.bits == 4
    with pytest.raises(TypeError, match="multiple values"):
        model(x, 3, num_bits=3)


@pytest.mark.parametrize("num_bits", [-1, -3, "8", float("nan"), float("inf"), [4]])
def test_what_is_no_number_of_bits(num_bits: Any) -> None:
    """Negative ones were full precision, or switched pinned bits off."""
    model = quantize_model(nn.Sequential(nn.Linear(8, 8)), "int8")
    for call in (model, QLinear(8, 8)):
        with pytest.raises(ConfigError, match="must be a whole number"):
            call(torch.randn(2, 8), num_bits=num_bits)
