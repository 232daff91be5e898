"""Gradients of rounding by name, and FlexRound: a learned division before rounding."""

import copy

import pytest
import torch
from torch import Tensor, nn

from fairseq.checkpoint.packed import read_packed
from fairseq.errors import ConfigError
from fairseq.quantization import QLinear, fake_quantize, quantize_model
from fairseq.quantization.integer_weights import pack_weights
from fairseq.quantization.quantizer import ACTIVATION, WEIGHT, QuantizationContext, Quantizer, QuantizerSpec
from fairseq.quantization.rounding.learned_qparams import LEARNED_QPARAMS
from fairseq.quantization.rounding.straight_through import BACKWARDS


def test_registries() -> None:
    assert list(BACKWARDS) == ["clipped", "ede", "plain", "tanh", "trust", "within"]
    assert list(LEARNED_QPARAMS) == ["alpha", "clip", "elastic", "flexround", "scale"]
    spec = QuantizerSpec(ste="straight_through")
    assert Quantizer("x", ACTIVATION, spec, QuantizationContext()).spec == QuantizerSpec(ste="plain")
    model = quantize_model(nn.Sequential(nn.Linear(3, 2)), "int8", rules=[{"match": "*", "ste": "straight_through"}])
    assert model.quantization.plan["0.weight"].spec.ste == "plain"


@pytest.mark.parametrize("granularity", ["tensor", "channel", "group:5"])
def test_tanh(granularity: str) -> None:
    spec = QuantizerSpec(bits=1, format="binary", ste="tanh", granularity=granularity)
    quantizer = Quantizer("w", WEIGHT, spec, QuantizationContext(), shape=(4, 13))
    w = torch.randn(4, 13, requires_grad=True)
    grad = torch.randn(4, 13)
    quantizer(w, 1).tensor().backward(grad)
    size = w.detach().abs()
    if granularity == "tensor":
        scale = size.mean().expand(4, 13)
    elif granularity == "channel":
        scale = size.mean(1, keepdim=True).expand(4, 13)
    else:
        scale = torch.cat([part.mean(1, keepdim=True).expand_as(part) for part in size.split(5, dim=1)], dim=1)
    smooth = w.detach().clone().requires_grad_()
    (scale * (smooth / scale).tanh()).backward(grad)
    assert torch.allclose(w.grad, smooth.grad, atol=1e-6)
    assert torch.allclose(quantizer(w, 1).value.abs(), scale)


@pytest.mark.parametrize("ste", list(BACKWARDS))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("shape", [(), (1,), (6,), (3, 4), (2, 3, 4), (2, 2, 3, 4)])
def test_every_kind_on_every_shape(ste: str, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    for values in (torch.randn(shape), torch.zeros(shape), torch.full(shape, 0.5)):
        x = values.to(dtype).requires_grad_()
        y = fake_quantize(x, "binary", ste=ste)
        y.sum().backward()
        assert x.grad.shape == x.shape and x.grad.dtype == dtype and x.grad.isfinite().all()
        assert (x.grad == 1).all() if ste == "plain" else (x.grad <= 1).all()


@pytest.mark.parametrize("name", ["ternary", "binary_residual", "nf4", "log", "symmetric"])
def test_tanh_is_for_two_levels(name: str) -> None:
    with pytest.raises(ConfigError, match="w: ste tanh is for two levels") as error:
        QuantizerSpec(format=name, ste="tanh").check("w", WEIGHT)
    assert "\n" not in str(error.value)


def test_clipped_between_the_levels_of_a_list() -> None:
    x = torch.tensor([0.2, 1.6, -0.9, -0.7, 0.0], requires_grad=True)
    spec = {"format": "codebook", "values": [-0.5, 0.0, 1.0]}
    fake_quantize(x, spec, ste="clipped").sum().backward()
    assert x.grad.tolist() == [1, 1, 0, 1, 1]  # the scale is 1.6: levels from -0.8


# --- FlexRound --------------------------------------------------------------------------------------------------------


def flexround(name: str = "symmetric", granularity: str = "channel", num_bits: int = 3) -> Quantizer:
    spec = QuantizerSpec(bits=num_bits, format=name, granularity=granularity, learned="flexround")
    return Quantizer("w", WEIGHT, spec, QuantizationContext(), shape=(4, 13))


@pytest.mark.parametrize("name", ["symmetric", "affine"])
@pytest.mark.parametrize("granularity", ["tensor", "channel"])
@pytest.mark.parametrize("num_bits", [2, 4, 8])
def test_flexround_starts_at_plain_rounding(name: str, granularity: str, num_bits: int) -> None:
    w = torch.randn(4, 13)
    plain = Quantizer(
        "w", WEIGHT, QuantizerSpec(format=name, granularity=granularity), QuantizationContext(), shape=(4, 13)
    )
    ours = flexround(name, granularity, num_bits)
    assert torch.equal(ours(w, num_bits).value, plain.fake(w, num_bits))
    assert torch.equal(ours.fake(w, num_bits), plain.fake(w, num_bits))
    assert torch.equal(ours.codes(w, num_bits), plain.codes(w, num_bits))


def test_flexround_gradients() -> None:
    """By the formulas of the file, one element after the other."""
    ours, w = flexround(num_bits=3), (torch.randn(4, 13) * 2).requires_grad_()
    ours(w, 3)
    grid = ours.learned
    with torch.no_grad():
        grid.element.uniform_(-0.4, 0.4)
        grid.row.uniform_(-0.2, 0.2)
        grid.scale.mul_(0.6)  # so that some are clamped
    grad = torch.randn(4, 13)
    y = ours(w, 3).tensor()
    y.backward(grad)
    scale, factor = grid.scale.detach(), (grid.element + grid.row).exp().detach()
    place = w.detach() / (scale * factor)
    inside = place.round().abs() <= 3
    assert inside.any() and not inside.all()
    assert torch.equal(y.detach(), ours.fake(w, 3)) and torch.allclose(y.detach(), place.round().clamp(-3, 3) * scale)
    assert torch.allclose(w.grad, grad / factor * inside, atol=1e-6)
    by_element = -grad * w.detach() / factor * inside
    assert torch.allclose(grid.element.grad, by_element, atol=1e-5)
    assert torch.allclose(grid.row.grad, by_element.sum(1, keepdim=True), atol=1e-5)
    by_scale = grad * torch.where(inside, place.round() - place, place.sign() * 3)
    assert torch.allclose(grid.scale.grad, by_scale.sum(1, keepdim=True), atol=1e-5)


def test_flexround_learns_the_output_better_than_plain_rounding() -> None:
    """What it is for: least error of a layer's output, not of its weight."""
    x, w = torch.randn(256, 16) @ torch.randn(16, 16), torch.randn(8, 16)
    spec = QuantizerSpec(bits=3, format="symmetric", granularity="channel", learned="flexround")
    ours = Quantizer("w", WEIGHT, spec, QuantizationContext(), shape=(8, 16))

    def loss() -> Tensor:
        return (x @ (ours(w, 3).tensor() - w).t()).square().mean()

    first = loss().item()
    optimizer = torch.optim.Adam(ours.parameters(), 3e-3)
    losses = []
    for _ in range(300):
        optimizer.zero_grad()
        found = loss()
        found.backward()
        optimizer.step()
        losses.append(found.item())
    assert min(losses) < 0.75 * first


def test_flexround_in_a_model(transformer: nn.Module, tokens: Tensor) -> None:
    rules = [
        {"match": "layers.*.weight", "learned": "flexround", "format": "symmetric", "bits": 4, "compute": "simulate"}
    ]

    def quantized() -> nn.Module:
        return quantize_model(copy.deepcopy(transformer), "int8", num_bits=8, rules=rules)

    model = quantized()
    optimizer = torch.optim.SGD(model.parameters(), 0.003)
    for _ in range(3):
        optimizer.zero_grad()
        model(tokens).square().sum().backward()
        optimizer.step()
    grid = model.layers[0].fc1.quantizers.quantizer("weight").learned
    assert (grid.element != 0).any() and (grid.row != 0).any()
    model.eval()
    expected = model(tokens)
    other = quantized().eval()
    other.load_state_dict(model.state_dict(), strict=True)
    assert torch.equal(other(tokens), expected) and torch.equal(copy.deepcopy(model)(tokens), expected)
    packed, _ = pack_weights(model)
    entry = read_packed(packed["layers.0.fc1.weight"].as_dict())
    quantizer = model.layers[0].fc1.quantizers.quantizer("weight")
    assert torch.equal(entry.values(), quantizer.fake(model.layers[0].fc1.weight, 4)) and entry.code_bits == 4
    plan = model.quantization.plan["layers.0.fc1.weight"]
    assert plan.cells()["range"] == "learned flexround"


@pytest.mark.parametrize(
    ("role", "settings", "message"),
    [
        (ACTIVATION, {"format": "symmetric"}, "parameters for each element, so for weights only"),
        ("gradient", {"format": "symmetric", "bits": 8}, "cannot be learned"),
        (WEIGHT, {"format": "log"}, "needs evenly spaced levels with an exact zero"),
        (WEIGHT, {"format": "symmetric", "granularity": "group:4"}, "needs granularity tensor or channel"),
        (WEIGHT, {"format": "symmetric", "learned": "flexroun"}, "did you mean 'flexround'"),
    ],
)
def test_flexround_refusals(role: str, settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        QuantizerSpec(**{"learned": "flexround", **settings}).check("place", role)
    assert "\n" not in str(error.value) and "place" in str(error.value)


def test_flexround_layer_in_bf16() -> None:
    specs = {
        "weight": QuantizerSpec(bits=4, format="symmetric", granularity="channel", learned="flexround"),
        "input": QuantizerSpec(bits=8, format="symmetric"),
        "grad_output": QuantizerSpec(quantize=False),
    }
    layer = QLinear(6, 4, specs=specs).bfloat16()
    x = torch.randn(3, 6, dtype=torch.bfloat16, requires_grad=True)
    layer(x, num_bits=8).square().sum().backward()
    grid = layer.quantizers.quantizer("weight").learned
    assert grid.element.dtype == torch.float32 and grid.element.grad.isfinite().all()
    assert layer.weight.grad.dtype == torch.bfloat16 and x.grad.isfinite().all()
