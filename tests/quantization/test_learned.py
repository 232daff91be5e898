"""Learned scales and clips: gradients of torch's learnable fake quantization, and where parameters start."""

import pytest
import torch

from fairseq.errors import ConfigError, TrainingError
from fairseq.quantization.formats import build_format
from fairseq.quantization.layers import QLinear
from fairseq.quantization.products.packed_weight import pack_weight
from fairseq.quantization.quantizer import ACTIVATION, GRADIENT, WEIGHT, QuantizationContext, Quantizer, QuantizerSpec
from fairseq.quantization.rounding.learned import LearnedClip, LearnedScale


def leaf(*values: float) -> torch.Tensor:
    return torch.tensor(values, requires_grad=True)


@pytest.mark.parametrize(("qmin", "qmax"), [(-7, 7), (-8, 7), (0, 15), (0, 255)])
@pytest.mark.parametrize("zero", [0.0, 2.4, 3.6])
def test_per_tensor_equals_torch(qmin: int, qmax: int, zero: float) -> None:
    x, weights = torch.randn(300) * 4, torch.randn(300)
    factor = (300 * qmax) ** -0.5
    results = []
    for function in (torch._fake_quantize_learnable_per_tensor_affine, LearnedScale.apply):
        inputs = [x.clone().requires_grad_(), leaf(0.31), leaf(zero)]
        y = function(*inputs, qmin, qmax, factor)
        (y * weights).sum().backward()
        results.append((y.detach(), *(tensor.grad for tensor in inputs)))
    assert torch.equal(results[0][0], results[1][0]) and torch.equal(results[0][1], results[1][1])
    for theirs, ours in zip(results[0][2:], results[1][2:], strict=True):
        assert torch.allclose(theirs, ours, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("qmin", "qmax"), [(-7, 7), (0, 15)])
def test_per_channel_equals_torch(qmin: int, qmax: int) -> None:
    x, weights = torch.randn(6, 50) * 3, torch.randn(6, 50)
    scale, zero = torch.rand(6) + 0.1, torch.tensor([0.0, 1.0, 2.0, 0.0, 5.0, 3.0])
    theirs = [x.clone().requires_grad_(), scale.clone().requires_grad_(), zero.clone().requires_grad_()]
    y = torch._fake_quantize_learnable_per_channel_affine(*theirs, 0, qmin, qmax, 0.1)
    (y * weights).sum().backward()
    ours = [x.clone().requires_grad_(), scale[:, None].clone().requires_grad_(), zero[:, None].clone().requires_grad_()]
    z = LearnedScale.apply(*ours, qmin, qmax, 0.1)
    (z * weights).sum().backward()
    assert torch.equal(y, z) and torch.equal(theirs[0].grad, ours[0].grad)
    for a, b in zip(theirs[1:], ours[1:], strict=True):
        assert torch.allclose(a.grad, b.grad.flatten(), rtol=1e-4, atol=1e-5)


def test_clip_follows_the_formula() -> None:
    affine, symmetric = build_format("affine"), build_format("symmetric")
    x, clip = leaf(-1.0, 0.4, 1.9, 2.0, 7.0), leaf(2.0)
    y = LearnedClip.apply(x, clip, affine, 4)
    y.sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 0, 0] and clip.grad.item() == 2
    assert torch.allclose(y, torch.tensor([0.0, 0.4, 1.8667, 2.0, 2.0]), atol=0.07)
    x, clip = leaf(-5.0, -1.0, 0.3, 4.0, 6.0), leaf(2.0)
    LearnedClip.apply(x, clip, symmetric, 4).sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 0, 0] and clip.grad.item() == 1  # two above, one below


@pytest.mark.parametrize("learned", ["scale", "clip"])
@pytest.mark.parametrize("name", ["symmetric", "affine"])
@pytest.mark.parametrize("granularity", ["tensor", "channel"])
def test_quantizer_learns(learned: str, name: str, granularity: str) -> None:
    spec = QuantizerSpec(bits=4, format=name, granularity=granularity, learned=learned)
    quantizer = Quantizer("q", ACTIVATION, spec, QuantizationContext(), features=6)
    x = torch.linspace(0.1, 3, 30).view(5, 6)
    quantizer(x, 4)  # first values
    parameters = list(quantizer.parameters())
    assert parameters and not quantizer.state_dict()
    with torch.no_grad():
        parameters[0].mul_(3.0 if learned == "scale" else 0.3)  # far too wide, far too narrow
    optimizer = torch.optim.Adam(parameters[:1], lr=0.02)
    errors = []
    for _ in range(100):
        error = (quantizer(x, 4).tensor() - x).square().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append(error.item())
    assert min(errors) < errors[0] / 3
    assert torch.equal(quantizer.fake(x, 4), quantizer(x, 4).tensor())


def test_scale_starts_at_the_mean_magnitude_and_keeps_its_extent_at_other_bits() -> None:
    spec = QuantizerSpec(format="symmetric", learned="scale")
    quantizer = Quantizer("w", WEIGHT, spec, QuantizationContext(), shape=(3, 4), calibration_bits=4)
    w = torch.randn(3, 4)
    (qparams,) = quantizer.qparams(w, 4)
    assert torch.allclose(qparams.scale, 2 * w.abs().mean() / 7**0.5)
    (wider,) = quantizer.qparams(w, 8)
    assert torch.allclose(wider.scale * 127, qparams.scale * 7)


def test_learned_layer_trains_weight_and_scale() -> None:
    specs = {
        "weight": QuantizerSpec(bits=3, format="symmetric", granularity="channel", learned="scale"),
        "input": QuantizerSpec(bits=3, format="symmetric", learned="clip"),
        "grad_output": QuantizerSpec(bits=8, rounding="stochastic"),
    }
    torch.manual_seed(1)
    layer = QLinear(6, 4, specs=specs)
    assert len(list(layer.parameters())) == 4 and list(layer.state_dict()) == ["weight", "bias"]
    layer(torch.randn(5, 6)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in layer.parameters())


def test_what_cannot_be_learned() -> None:
    cases = [
        (GRADIENT, {"learned": "scale", "format": "symmetric"}),
        (ACTIVATION, {"learned": "scale", "format": "affine_float_zp"}),
        (ACTIVATION, {"learned": "scale", "format": "symmetric", "granularity": "token"}),
        (ACTIVATION, {"learned": "clip", "format": "symmetric", "rounding": "stochastic"}),
        (ACTIVATION, {"learned": "clip", "format": "symmetric", "granularity": "channel"}),  # features unknown
    ]
    for role, settings in cases:
        with pytest.raises(ConfigError, match=r"learned|granularity"):
            Quantizer("q", role, QuantizerSpec(**settings), QuantizationContext())
    fresh = Quantizer("q", ACTIVATION, QuantizerSpec(format="symmetric", learned="scale"), QuantizationContext()).eval()
    with pytest.raises(TrainingError, match="has seen no data"):
        fresh(torch.randn(3), 4)


def learning_weight(learned: str, name: str, sign: float) -> tuple[Quantizer, torch.Tensor]:
    """A weight and its quantizer, whose scale or clip has that sign."""
    spec = QuantizerSpec(format=name, granularity="channel", learned=learned)
    quantizer = Quantizer("w", WEIGHT, spec, QuantizationContext(), shape=(3, 40), calibration_bits=4)
    weight = torch.randn(3, 40, generator=torch.Generator().manual_seed(0), requires_grad=True)
    quantizer.fake(weight, 4)  # first values
    assert quantizer.learned is not None
    with torch.no_grad():
        next(iter(quantizer.learned.parameters())).mul_(sign)
    return quantizer, weight


@pytest.mark.parametrize("learned", ["scale", "clip", "flexround"])
@pytest.mark.parametrize("name", ["symmetric", "affine"])
@pytest.mark.parametrize("num_bits", [4, 8])
def test_a_scale_that_trained_across_zero_is_its_magnitude(learned: str, name: str, num_bits: int) -> None:
    results = []
    for sign in (1.0, -1.0):
        quantizer, weight = learning_weight(learned, name, sign)
        y = quantizer(weight, num_bits).tensor()
        (y * torch.linspace(-1, 1, 40)).sum().backward()
        parameter, *others = quantizer.parameters()
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0
        assert torch.equal(quantizer.fake(weight, num_bits), y)
        packed = pack_weight(quantizer, weight, num_bits)
        assert all(bool((scale > 0).all()) for scale in packed.scales) and torch.equal(packed.values(), y)
        results.append((y, weight.grad, sign * parameter.grad, *(other.grad for other in others)))
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


def test_a_scale_of_zero_is_trained_away_from_it() -> None:
    quantizer, weight = learning_weight("scale", "symmetric", 0.0)
    y = quantizer(weight, 4).tensor()
    assert y.isfinite().all()
    (y - weight).square().sum().backward()
    parameter = next(quantizer.parameters())
    assert parameter.grad is not None and parameter.grad.isfinite().all() and (parameter.grad < 0).all()
