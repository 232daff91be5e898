"""Running ranges: the short way for a single number and the way of tensors fold alike."""

import sys
import threading
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from fairseq.errors import TrainingError
from fairseq.quantization import quantize_model
from fairseq.quantization.context import QuantizationContext
from fairseq.quantization.observers.base import Range
from fairseq.quantization.observers.running import AverageFromZero, ExponentialAverage, RunningObserver


@pytest.mark.parametrize("kind", [AverageFromZero, ExponentialAverage])
@pytest.mark.parametrize("momentum", [0.0, 0.9, 0.37])
def test_one_number_is_folded_as_tensors_are(kind: type[RunningObserver], momentum: float) -> None:
    context = QuantizationContext()
    one, several = kind(momentum, shape=(1,), context=context), kind(momentum, shape=(2,), context=context)
    for update in range(120):
        context.set(update)
        context.calibrating = update >= 80
        for _ in range(1 + update % 3):
            low = torch.randn(1, 1) * 10.0 ** (update % 7 - 3)
            high = low + torch.rand(1, 1) * (torch.inf if update % 37 == 5 else 7)
            one.update(Range(low, high, True))
            several.update(Range(low.expand(1, 2), high.expand(1, 2), True))
        for observer in (one, several):
            observer.commit()
        assert torch.equal(one.running_low.expand(2), several.running_low)
        assert torch.equal(one.running_width.expand(2), several.running_width)
        assert torch.equal(one.weight, several.weight)
    assert bool(one.running_width.isfinite().all()) and float(one.running_width) > 0


@pytest.mark.parametrize("granularity", ["tensor", "channel"])
@pytest.mark.parametrize("source", ["ema", "running"])
def test_what_is_not_finite_gives_no_range(source: str, granularity: str) -> None:
    rule = {"match": "*.input", "range": source, "granularity": granularity}
    model = quantize_model(nn.Sequential(nn.Linear(4, 4)), "int8", rules=[rule])
    x = torch.ones(2, 4)
    bad = x.clone()
    bad[0] = torch.inf
    model.train()(bad)
    with pytest.raises(TrainingError, match="no range"):  # instead of NaN or zeros
        model.eval()(x)
    model.quantization.calibrate(model, [bad, 3 * x, bad, 5 * x])
    (observer,) = (module for module in model.modules() if isinstance(module, RunningObserver))
    low, width = observer.corrected()
    assert torch.equal(low + width, torch.full_like(low, 4))  # the mean of the two good ones


@pytest.fixture
def switching() -> Iterator[None]:
    """Threads take turns as often as possible."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("switching")
@pytest.mark.parametrize("kind", [AverageFromZero, ExponentialAverage])
def test_the_numbers_of_a_range_are_those_of_its_tensors(kind: type[RunningObserver]) -> None:
    """To the last bit, also where a subclass corrects them otherwise."""

    class Wider(kind):  # type: ignore[misc, valid-type]
        def corrected(self) -> tuple[torch.Tensor, torch.Tensor]:
            low, width = super().corrected()
            return 2 * low, 2 * width

    torch.manual_seed(1)
    for made in (kind, Wider):
        for _ in range(30):
            observer = made(momentum=0.9, shape=(1,))
            for _ in range(3):
                low, high = torch.randn(2).sort().values
                observer.update(Range(low, high, True))
                observer.commit()
            tensors = observer.eval().evaluation_range(torch.empty(()))
            assert observer.evaluation_numbers() == (tensors.low.item(), tensors.high.item())


def test_threads_that_train_one_model_lose_no_range() -> None:
    context = QuantizationContext()
    observer = ExponentialAverage(shape=(1,), context=context)
    found, threads, each = Range(torch.tensor([1.0]), torch.tensor([3.0]), True), 4, 2000
    for update in range(3):
        context.set(update)
        workers = [
            threading.Thread(target=lambda: [observer.update(found) for _ in range(each)]) for _ in range(threads)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert observer.pending_count == threads * each
        assert observer.pending.flatten().tolist() == [threads * each, 2 * threads * each]
