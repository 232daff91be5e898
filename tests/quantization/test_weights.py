"""The weight's codes in one pass: the format's own, to the last bit; the same training without a compiler."""

import pytest
import torch
from torch import nn

from fairseq.quantization import quantize_model
from fairseq.quantization.formats import build_format
from fairseq.quantization.kernels import weights
from fairseq.quantization.products import integer_encode
from tests import needs


@needs.compiler
@pytest.mark.parametrize("shape", [(64, 96), (37, 53), (1, 5), (50, 1), (300, 500)])
@pytest.mark.parametrize("num_bits", [2, 3, 4, 8])
@pytest.mark.parametrize("threads", [1, 3])
def test_codes_are_those_of_the_format(shape, num_bits, threads, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    weight = torch.randn(shape) * torch.logspace(-37, 30, shape[0])[:, None]
    weight[0] = 0  # a row without values
    weight[-1, 0] = weight[-1].abs().max() * 1.5  # ties at half a step
    data, transposed, scale = weights.encode_rows(weight, num_bits)
    largest = weight.abs().amax(1, keepdim=True)
    qparams = (symmetric := build_format("symmetric")).qparams(-largest, largest, num_bits)
    assert torch.equal(scale, qparams.scale)
    assert torch.equal(data, symmetric.quantize(weight, qparams).to(torch.int8))
    assert torch.equal(transposed, data.t())


@needs.compiler
@pytest.mark.parametrize("weight", [torch.ones(4, 4).double(), torch.ones(4, 6).t(), torch.ones(4), torch.ones(0, 4)])
def test_other_tensors_go_the_other_way(weight):
    assert not weights.is_available(weight, build_format("symmetric"))


@needs.compiler
@pytest.mark.parametrize("preset", ["int8", "int4"])
def test_same_numbers_with_and_without(preset, monkeypatch):
    results = []
    for least in (0, 2**40):
        monkeypatch.setattr(integer_encode, "MIN_WEIGHT_ELEMENTS", least)
        torch.manual_seed(1)
        layer = quantize_model(nn.Linear(48, 32), preset, compute="integer")
        x = torch.randn(20, 48, requires_grad=True)
        layer(x).square().sum().backward()
        results.append((x.grad, layer.weight.grad, layer.bias.grad, layer.eval()(x)))
    assert all(torch.equal(first, second) for first, second in zip(*results, strict=True))
