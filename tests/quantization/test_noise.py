"""Stochastic rounding: unbiased, reproducible, the same on one and on two processes."""

import math

import pytest
import torch

from fairseq.quantization import quantize_model
from fairseq.quantization.quantizer import GRADIENT, QuantizationContext, Quantizer, QuantizerSpec
from fairseq.quantization.rounding.noise import HashNoise, NoiseKey, layer_number


def noise(key: NoiseKey, *shape: int) -> torch.Tensor:
    x = torch.zeros(shape)
    return HashNoise(key, x).add_to(x)


KEY = NoiseKey(seed=1, layer=2, update=3)


def test_uniform_and_uncorrelated() -> None:
    u = noise(KEY, 1000, 1000)
    assert u.min() >= -0.5 and u.max() <= 0.5
    n = u.numel()
    assert abs(u.mean()) < 3 * math.sqrt(1 / 12 / n)
    counts = torch.histc(u, 64, -0.5, 0.5)
    chi_square = ((counts - n / 64) ** 2 / (n / 64)).sum()
    assert chi_square < 63 + 4 * math.sqrt(2 * 63)
    # neighbours, rows, columns: correlations of independent numbers
    for other in (u.roll(1, 0), u.roll(1, 1), u.roll((1, 1), (0, 1)), u.flip(0), u.flip(1)):
        assert abs((u * other).mean()) < 4 / 12 / math.sqrt(n)
    # sums over rows and columns, as in both gradient products, vary as for independent noise
    for sums in (u.sum(0), u.sum(1), u @ torch.randn(1000, 50) / 1000**0.5):
        expected = 1000 / 12 if sums.dim() == 1 else 1 / 12
        assert abs(sums.var() / expected - 1) < 0.2


@pytest.mark.parametrize("name", ["affine_float_zp", "affine", "symmetric"])
@pytest.mark.parametrize("num_bits", [2, 4, 8])
def test_rounding_is_unbiased(name: str, num_bits: int) -> None:
    quantizer = Quantizer(
        "g", GRADIENT, QuantizerSpec(bits=8, format=name, rounding="stochastic"), QuantizationContext()
    )
    # the ends of affine_int's grid lie up to half a step inside the range: stay clear of them
    x = torch.rand(60, 70) * 2 - 0.8 if name != "affine" else torch.rand(60, 70).round(decimals=2) * 2
    (qparams,) = quantizer.qparams(x, num_bits)
    repeats = 64
    error = torch.stack([quantizer.fake(x, num_bits, key=NoiseKey(1, 1, update)) - x for update in range(repeats)])
    sigma = (
        qparams.scale.item() / 2 / math.sqrt(error.numel())
    )  # a bound: rounding varies by at most a quarter step squared
    assert abs(error.mean()) < 3 * sigma
    # and element by element: the mean over updates comes close to every value
    assert (error.mean(0).abs() < 5 * qparams.scale.item() / 2 / math.sqrt(repeats)).all()
    assert error.abs().max() <= qparams.scale.item() * 1.001


def test_reproducible_and_different_where_it_should() -> None:
    u = noise(KEY, 20, 30)
    assert torch.equal(u, noise(KEY, 20, 30))
    for field in NoiseKey._fields:
        other = KEY._replace(**{field: getattr(KEY, field) + 1})
        assert (noise(other, 20, 30) == u).float().mean() < 0.01
    assert layer_number("a.weight") == layer_number("a.weight") != layer_number("b.weight")
    torch.manual_seed(0)
    before = torch.get_rng_state()
    noise(KEY, 5, 5)
    assert torch.equal(before, torch.get_rng_state())  # no global random numbers


def test_pieces_and_layouts_give_the_same_noise() -> None:
    big = noise(KEY, 3000, 300)  # more than one piece
    x = torch.zeros(300, 3000).t()
    assert torch.equal(HashNoise(KEY, x).add_to(x), big)
    assert torch.equal(noise(KEY, 3000 * 300 // 300, 300), big)
    assert noise(KEY).shape == () and noise(KEY, 0, 4).shape == (0, 4) and noise(KEY, 5).shape == (5,)


def gradients(model: torch.nn.Module, batches: list[torch.Tensor], numbers: list[int], update: int) -> torch.Tensor:
    model.zero_grad()
    for number, batch in zip(numbers, batches, strict=True):
        model.quantization.begin_micro_batch(update, number)
        model(batch).square().sum().backward()
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


def test_same_on_one_and_two_processes() -> None:
    model = quantize_model(torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 4)), "cpt_3_8")
    batches = [torch.randn(6, 8) for _ in range(4)]
    one = gradients(model, batches, [0, 1, 2, 3], update=5)
    # rank r of 2 has every other batch; its i-th is number i * 2 + r of the update
    two = gradients(model, batches[0::2], [0, 2], update=5) + gradients(model, batches[1::2], [1, 3], update=5)
    assert torch.allclose(one, two, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(one, gradients(model, batches, [0, 1, 2, 3], update=6), rtol=1e-5, atol=1e-6)
    assert torch.equal(one, gradients(model, batches, [0, 1, 2, 3], update=5))


class Twins(torch.nn.Module):
    """Two layers of the same weights whose outputs get the same gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = torch.nn.Linear(8, 4), torch.nn.Linear(8, 4)
        self.b.load_state_dict(self.a.state_dict())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.a(x) + self.b(x)


def test_gradients_are_rounded_by_seed_layer_update_and_micro_batch() -> None:
    twins, x = Twins(), torch.randn(6, 8)
    model = quantize_model(twins, "cpt_3_8")
    found = gradients(model, [x], [0], update=5)
    assert torch.equal(found, gradients(model, [x], [0], update=5))
    assert not torch.equal(found, gradients(model, [x], [1], update=5))
    assert not torch.equal(found, gradients(model, [x], [0], update=6))
    assert not torch.equal(model.a.weight.grad, model.b.weight.grad)
    assert not torch.equal(found, gradients(quantize_model(twins, "cpt_3_8", seed=2), [x], [0], update=5))


def test_untold_loops_get_fresh_noise() -> None:
    model = quantize_model(torch.nn.Sequential(torch.nn.Linear(8, 8)), "cpt_3_8")
    x = torch.randn(6, 8)
    grads = []
    for _ in range(2):
        model.zero_grad()
        model(x).square().sum().backward()
        grads.append(model[0].weight.grad.clone())
    assert not torch.equal(*grads)
