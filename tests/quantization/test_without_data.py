"""Tracing without data, in the middle of everything: what caches hold and where quantizers stand afterwards."""

import copy

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from fairseq.graph import trace
from fairseq.quantization import quantize_model
from fairseq.quantization.context import QuantizationContext
from fairseq.quantization.kernels import codes, levels, rounding, torch_gemm
from fairseq.quantization.quantizer import ACTIVATION, Quantizer, QuantizerSpec
from fairseq.quantization.rounding import noise
from fairseq.quantization.scratch import Scratch
from tests.quantization.layer_registry import formats

CPU = torch.device("cpu")
CACHES = {
    "indices of noise": lambda: noise._spread_indices(7, CPU),
    "zeros": lambda: torch_gemm._zeros(5),
    "bounds of codes": lambda: torch.stack(codes._bounds(0, 13, 0, CPU)),
    "bounds of levels": lambda: torch.stack(rounding._bounds(0, 13, CPU)),
    "long lists": lambda: levels._starts((0.5, 1.5, 2.5)).thresholds,
}


@pytest.mark.parametrize("name", list(CACHES))
def test_caches_hold_tensors_with_data(name: str) -> None:
    with FakeTensorMode(allow_non_fake_inputs=True):
        CACHES[name]()
    found = CACHES[name]()
    assert type(found) is torch.Tensor and found.numel() == len(found.flatten().tolist())
    assert torch.equal(CACHES[name](), found)


def test_every_format_rounds_before_during_and_after() -> None:
    torch.manual_seed(1)
    for name, number_format, bits in formats():
        for way in ("nearest", "stochastic") if number_format.takes_noise else ("nearest",):
            spec = QuantizerSpec(format=number_format.spec(), range="minmax", rounding=way)
            spec = spec if number_format.block is None else spec.in_blocks(number_format.block, "x")
            x = torch.randn(17, 48 + len(name))  # sizes of its own, so that caches are filled here
            for first in (False, True):  # with caches that are empty, and then full
                quantizer = Quantizer("x", ACTIVATION, spec, QuantizationContext())
                with FakeTensorMode() as mode:
                    assert quantizer.fake(mode.from_tensor(x), bits).shape == x.shape, (name, way, first)
                y = quantizer.fake(x, bits)
                assert type(y) is torch.Tensor and bool(y.isfinite().all()), (name, way)


def test_memory_for_gradients() -> None:
    scratch = Scratch()
    scratch.give_back(torch.empty(8))
    with FakeTensorMode():
        buffer = scratch.take(8, CPU)
        assert type(buffer) is not torch.Tensor
        scratch.give_back(buffer)
    assert type(scratch.take(8, CPU)) is torch.Tensor and type(scratch.take(8, CPU)) is torch.Tensor


@pytest.mark.parametrize("preset", ["int8", "w2", "cpt"])
@pytest.mark.parametrize("training", [True, False])
def test_a_traced_model_goes_on_as_if_nobody_had_looked(preset: str, training: bool) -> None:
    torch.manual_seed(1)
    x = torch.randn(6, 16)
    model = quantize_model(nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4)), preset)
    if not training and preset != "w2":  # which needs no ranges
        model(x)
    model.train(training)
    other = copy.deepcopy(model)
    trace(model, {"input": torch.randn(5, 16)})
    assert model.quantization.context.update == other.quantization.context.update
    for _ in range(2):
        a, b = (each(x) for each in (model, other))
        assert torch.equal(a, b)
        for each, y in ((model, a), (other, b)):
            each.zero_grad()
            y.sum().backward()
    assert all(torch.equal(p.grad, q.grad) for p, q in zip(model.parameters(), other.parameters(), strict=True))
    assert torch.equal(model.eval()(x), other.eval()(x))
