"""Running ranges: the short way for a single number and the way of tensors fold alike."""

import pytest
import torch

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
