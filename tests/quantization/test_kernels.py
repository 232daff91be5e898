"""Compiled rounding: the same numbers as eagerly, no compilation for new sizes and bits, a fallback that says so."""

import functools
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from fairseq.native import compiled as kernels
from fairseq.quantization import quantize_model
from fairseq.quantization.formats import FORMATS, build_format
from fairseq.quantization.quantizer import ACTIVATION, QuantizationContext, Quantizer, QuantizerSpec
from tests import needs

COMPILE = torch.compile


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    kernels.clear()
    yield
    kernels.clear()
    torch._dynamo.reset()


@pytest.fixture
def traced_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch.compile traces, run by PyTorch: the plumbing without a C++ compiler."""
    monkeypatch.setattr(torch, "compile", functools.partial(COMPILE, backend="eager"))
    monkeypatch.setattr(kernels, "MIN_KERNEL_ELEMENTS", 8)
    kernels.compiler().break_even = 0


def pair(**settings: Any) -> tuple[Quantizer, Quantizer]:
    spec = QuantizerSpec(**settings)
    return Quantizer("t", ACTIVATION, spec, QuantizationContext(fused=True)), Quantizer(
        "t", ACTIVATION, spec, QuantizationContext()
    )


# families (no presets) whose ranges granularity decides, of operations that do not depend on the bits
FAMILIES = [name for name in FORMATS if isinstance(FORMATS.lookup(name), type)]
TRACED = [name for name in FAMILIES if build_format(name).compiles and build_format(name).block is None]


def graphs() -> int:
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])


def agree(compiled: Quantizer, eager: Quantizer, sizes: list[tuple[int, ...]]) -> None:
    for size in sizes:
        x = torch.randn(size)
        for num_bits in (2, 5, 8, 16):
            assert torch.equal(compiled.fake(x, num_bits), eager.fake(x, num_bits)), (size, num_bits)


@pytest.mark.usefixtures("traced_only")
@pytest.mark.parametrize("name", TRACED)
@pytest.mark.parametrize("granularity", ["tensor", "token", "channel", "group:5"])
@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
def test_plumbing(name: str, granularity: str, rounding: str) -> None:
    compiled, eager = pair(format=name, granularity=granularity, rounding=rounding)
    agree(compiled, eager, [(6, 9), (3, 4, 7), (10, 11)])
    before = graphs()
    assert before > 0
    agree(compiled, eager, [(13, 8), (5, 5, 12)])
    assert graphs() == before  # new sizes and bits compile nothing
    strided = torch.randn(6, 5, 7).transpose(0, 1)
    assert torch.equal(compiled.fake(strided, 4), eager.fake(strided, 4))
    for odd in (torch.randn(9), torch.randn(9, 1), torch.randn(1, 9), torch.tensor(2.0), torch.randn(0, 9)):
        if granularity != "group:5" or odd.dim():
            assert torch.equal(compiled.fake(odd, 4), eager.fake(odd, 4))
    assert kernels.compiler().works


@needs.torch_compiler
@pytest.mark.slow
def test_real_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels.compiler().break_even = 0
    for settings in (
        {"format": "affine_float_zp", "range": {"name": "running"}},
        {"format": "symmetric", "rounding": "stochastic"},
        {"format": "symmetric", "granularity": "token"},
        {"format": "fp8_e4m3", "bits": 8},
        {"format": {"format": "fp4_e2m1", "scaled": True}, "granularity": "token"},
        {"format": "fp8_e5m2", "rounding": "stochastic"},
    ):
        compiled, eager = pair(**settings)
        agree(compiled, eager, [(300, 400), (7, 50, 310)])
        assert kernels.compiler().works


def test_small_tensors_compile_nothing() -> None:
    compiled, eager = pair()
    before = graphs()
    agree(compiled, eager, [(100, 100)])
    assert graphs() == before


@pytest.mark.usefixtures("traced_only")
def test_compiling_waits_until_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels.compiler().break_even = 1000
    compiled, eager = pair()
    before = graphs()
    agree(compiled, eager, [(10, 20)])
    assert graphs() == before  # 4 x 200 values
    agree(compiled, eager, [(10, 20)])
    assert graphs() > before


def test_missing_compiler_is_reported_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no C++ compiler\nmore")

    monkeypatch.setattr(torch, "compile", broken)
    monkeypatch.setattr(kernels, "MIN_KERNEL_ELEMENTS", 8)
    kernels.compiler().break_even = 0
    compiled, eager = pair()
    with caplog.at_level(logging.WARNING):
        agree(compiled, eager, [(6, 9), (7, 8)])
    assert [record.getMessage() for record in caplog.records] == [
        "quantization: no compiled kernels, the same operations run eagerly (no C++ compiler)"
    ]
    assert not kernels.compiler().works


@pytest.mark.usefixtures("traced_only")
def test_training_is_the_same_with_and_without() -> None:
    x = torch.randn(40, 16)
    losses = []
    for switch in (True, False):
        torch.manual_seed(0)
        layers = nn.Sequential(nn.Linear(16, 16), nn.GELU(), nn.Linear(16, 4))
        model = quantize_model(layers, "cpt_3_8", fused=switch)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for update in range(6):
            model.quantization.begin_micro_batch(update)
            loss = model(x, num_bits=3 + update).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            model.quantization.end_update(model)
        with torch.inference_mode():
            losses.append((loss.item(), model.eval()(x).sum().item()))
    assert losses[0] == losses[1]
