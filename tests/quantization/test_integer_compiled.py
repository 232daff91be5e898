"""Kernels around integer products, compiled: the same numbers, compiled once that pays, and without a compiler."""

import functools
import logging
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fairseq.native import compiled
from fairseq.quantization import quantize_model
from tests import needs
from tests.quantization.integer_tools import without_own_kernels

pytestmark = pytest.mark.usefixtures("each_kernel")


def train(preset: str, updates: int = 3) -> list[Tensor]:
    torch.manual_seed(0)
    model = quantize_model(nn.Sequential(nn.Linear(24, 32), nn.GELU(), nn.Linear(32, 4)), preset, compute="integer")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for update in range(updates):
        model.quantization.begin_micro_batch(update)
        loss = model(torch.randn(20 + update, 24)).square().mean()  # no batch is as large as the one before
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.detach())
    return losses


@pytest.mark.parametrize("preset", ["int8", "cpt_3_8"])
def test_compiled_kernels_equal_eager_ones(preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch.compile traces, run by PyTorch: the plumbing without a C++ compiler; and new sizes compile nothing."""
    expected = train(preset)
    traced = functools.partial(torch.compile, backend="eager")
    monkeypatch.setattr(torch, "compile", traced)
    monkeypatch.setattr(compiled, "MIN_KERNEL_ELEMENTS", 8)
    compiled.clear()
    compiled.compiler().break_even = 0
    assert train(preset, 2) == expected[:2]
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert graphs > 0
    assert train(preset) == expected
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == graphs
    assert compiled.compiler().works
    torch._dynamo.reset()


@needs.torch_compiler
@pytest.mark.slow
def test_real_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = train("int8")
    monkeypatch.setattr(compiled, "MIN_KERNEL_ELEMENTS", 8)
    compiled.clear()
    compiled.compiler().break_even = 0
    found = train("int8")
    assert compiled.compiler().works and found == expected


def test_kernels_are_compiled_once_that_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    without_own_kernels(monkeypatch)
    calls: list[Any] = []
    monkeypatch.setattr(torch, "compile", lambda function, **_: calls.append(function) or function)
    monkeypatch.setattr(compiled, "MIN_KERNEL_ELEMENTS", 8)
    compiled.clear()
    train("int8")
    assert not calls
    compiled.compiler().break_even = 3 * 24 * 32  # the larger weight in its third update
    train("int8")
    assert calls


def test_missing_compiler_is_reported_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    without_own_kernels(monkeypatch)
    expected = train("int8")

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no C++ compiler\nmore")

    monkeypatch.setattr(torch, "compile", broken)
    monkeypatch.setattr(compiled, "MIN_KERNEL_ELEMENTS", 8)
    compiled.clear()
    compiled.compiler().break_even = 0
    with caplog.at_level(logging.WARNING):
        assert train("int8") == expected
    assert [record.getMessage() for record in caplog.records] == [
        "quantization: no compiled kernels, the same operations run eagerly (no C++ compiler)"
    ]
