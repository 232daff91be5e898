"""Tensors that break quantizers elsewhere: right result, or one clear error."""

import pytest
import torch
from torch import nn

from fairseq.errors import ConfigError, DataError, TrainingError
from fairseq.quantization import QLinear, quantize_model
from fairseq.quantization.quantizer import ACTIVATION, GRADIENT, QuantizationContext, Quantizer, QuantizerSpec

NAMES = ["affine", "affine_float_zp", "symmetric"]  # whose levels stretch to any range
GRANULARITIES = ["tensor", "channel", "token", "group:3"]


def quantizer(name: str, granularity: str = "tensor", role: str = ACTIVATION, **settings: object) -> Quantizer:
    bits = {"bits": 8} if role == GRADIENT else {}
    return Quantizer(
        "t", role, QuantizerSpec(format=name, granularity=granularity, **bits, **settings), QuantizationContext()
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
def test_degenerate_tensors(name: str, granularity: str, rounding: str) -> None:
    ours = quantizer(name, granularity, rounding=rounding)
    for num_bits in (2, 8, 16):
        zeros = torch.zeros(4, 7)
        assert torch.equal(ours.fake(zeros, num_bits).abs(), zeros)
        for value in (5.0, -0.3, 1e-30, 1e30):
            constant = torch.full((4, 7), value)
            assert torch.allclose(ours.fake(constant, num_bits), constant, rtol=1e-5)
        one = torch.tensor([2.5])
        assert torch.allclose(ours.fake(one, num_bits), one)
        assert torch.allclose(ours.fake(torch.tensor(2.5), num_bits), torch.tensor(2.5))
        for shape in ((0,), (0, 7), (4, 0)):
            assert ours.fake(torch.zeros(shape), num_bits).shape == shape
            assert ours(torch.zeros(shape), num_bits).value.shape == shape


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_non_finite_values_are_never_hidden(name: str, bad: float) -> None:
    x = torch.randn(4, 7)
    x[1, 2] = bad
    for granularity in GRANULARITIES:
        y = quantizer(name, granularity).fake(x, 8)
        assert not y[1, 2].isfinite()  # the trainer's own check for a diverged loss fires
    y = quantizer(name, "token").fake(x, 8)
    assert y[[0, 2, 3]].isfinite().all()  # other rows keep their own scale
    with pytest.raises(DataError, match="inf or NaN"):
        quantizer(name).codes(x, 8)


def test_extreme_ranges() -> None:
    for name in ("affine", "symmetric"):
        for scale in (1e-35, 1e-20, 1e20, 1e38):
            x = torch.tensor([-1.0, -0.5, 0.0, 0.25, 1.0]) * scale
            y = quantizer(name).fake(x, 8)
            assert y.isfinite().all() and (y - x).abs().max() <= 0.01 * scale, (name, scale)
    tiny = torch.tensor([-1e-9, 3e-10])  # far below the reference's smallest step of 1e-8
    assert (quantizer("symmetric").fake(tiny, 8) - tiny).abs().max() < 1e-11


@pytest.mark.parametrize("preset", ["cpt", "int8"])
def test_padding_only_rows(preset: str) -> None:
    rules = [{"match": "*.input", "granularity": "token", "range": "minmax", "format": "symmetric"}]
    model = quantize_model(nn.Sequential(nn.Linear(6, 4)), preset, rules=rules)
    x = torch.randn(5, 6)
    x[2] = 0
    y = model(x)
    assert torch.equal(y[2], model[0].bias) and y.isfinite().all()


@pytest.mark.parametrize("preset", ["cpt", "int8"])
def test_zero_gradients_stay_zero_where_promised(preset: str) -> None:
    model = quantize_model(nn.Sequential(nn.Linear(6, 4)), preset)
    x = torch.randn(5, 6, requires_grad=True)
    y = model(x)
    grad = torch.randn(5, 4)
    grad[3] = 0
    y.backward(grad)
    if preset == "int8":
        assert (x.grad[3] == 0).all()
    model.zero_grad()
    model(x).backward(torch.zeros(5, 4))
    assert (model[0].weight.grad == 0).all()


def test_never_seen_data() -> None:
    for preset in ("cpt", "int8"):
        model = quantize_model(nn.Sequential(nn.Linear(6, 4)), preset).eval()
        with pytest.raises(TrainingError) as error:
            model(torch.randn(2, 6))
        assert "'0.input'" in str(error.value) and "\n" not in str(error.value)
    dynamic = quantize_model(
        nn.Sequential(nn.Linear(6, 4)), "int8", rules=[{"match": "*.input", "range": "minmax"}]
    ).eval()
    assert dynamic(torch.randn(2, 6)).isfinite().all()


def test_failed_call_leaves_no_trace() -> None:
    model = quantize_model(nn.Sequential(nn.Linear(6, 4)), "int8")
    with pytest.raises(RuntimeError):
        model(torch.randn(2, 5))
    assert not model.quantization.context.in_call
    with pytest.raises(ConfigError):
        model(torch.randn(2, 6), num_bits=99)
    assert not model.quantization.context.in_call and model(torch.randn(2, 6)).shape == (2, 4)


def test_nothing_to_quantize() -> None:
    with pytest.raises(ConfigError, match="nothing to quantize"):
        quantize_model(nn.Sequential(nn.ReLU()), "int8")
    with pytest.raises(ConfigError, match="nothing to quantize"):
        quantize_model(nn.Sequential(nn.Linear(2, 2)), "int8", rules=[{"match": "*", "quantize": False}])
    with pytest.raises(ConfigError, match="nothing that can be quantized"):
        quantize_model(nn.Sequential(nn.Dropout()), "int8", rules=[{"match": "*.fc1.*", "bits": 4}])


def test_one_row_of_output_and_input() -> None:
    layer = QLinear(1, 1)
    x = torch.tensor([[2.0]], requires_grad=True)
    y = layer(x, num_bits=2)
    y.backward(torch.ones(1, 1))
    assert torch.allclose(y, x * layer.weight + layer.bias) and torch.allclose(x.grad, layer.weight)
