"""Fixed point against its definition in exact arithmetic."""

import math
from fractions import Fraction

import pytest
import torch
from torch import nn

from fairseq.errors import ConfigError
from fairseq.quantization import fake_quantize, quantize_model
from fairseq.quantization.formats import build_format
from fairseq.quantization.quantizer import ACTIVATION, QuantizationContext, Quantizer, QuantizerSpec
from tests.quantization.formats.tools import DTYPES, hard_inputs, same


def expected(x: torch.Tensor, width: int, places: int, signed: bool = True, floor: bool = False) -> torch.Tensor:
    """By fractions, one value at a time."""
    low, high = (-(2 ** (width - 1)), 2 ** (width - 1) - 1) if signed else (0, 2**width - 1)
    step, found = Fraction(2) ** -places, []
    for value in x.double().tolist():
        if math.isnan(value):
            found.append(value)
            continue
        if math.isinf(value):
            code = high if value > 0 else low
        else:
            exact = Fraction(value) / step
            code = min(max(math.floor(exact) if floor else round(exact), low), high)
        found.append(float(code * step))
    return torch.tensor(found, dtype=torch.float64)


def few(x: torch.Tensor) -> torch.Tensor:
    return x[torch.randperm(len(x), generator=torch.Generator().manual_seed(3))[:3000]]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [2, 4, 8, 12])
def test_definition(width: int, dtype: torch.dtype) -> None:
    for places in (-3, 0, 2, 4, 11):
        for signed in (True, False):
            for rounding in ("nearest", "floor"):
                fields = {"width": width, "frac_width": places, "signed": signed, "rounding": rounding}
                values = build_format({"format": "fixed_point", **fields}).values(width) * 2.0**-places
                x = few(hard_inputs(values[values >= 0].numpy(), dtype))
                found = fake_quantize(x, {"format": "fixed_point", **fields})
                assert same(found, expected(x, width, places, signed, rounding == "floor").to(dtype)), fields
                assert same(fake_quantize(found, {"format": "fixed_point", **fields}), found)


def test_vectors_of_the_definition_and_half() -> None:
    x = torch.tensor([0.03125, 0.09375, 0.15625, 7.99, -8.1])
    for frac_width in (4, "half"):
        spec = {"format": "fixed_point", "width": 8, "frac_width": frac_width}
        assert fake_quantize(x, spec).tolist() == [0, 0.125, 0.125, 7.9375, -8]
    wide = {"format": "fixed_point", "width": 5, "frac_width": "half"}
    assert fake_quantize(torch.tensor([0.13]), wide).item() == 0.25  # 5 // 2 places
    # as many bits as num_bits says, where settings do not fix them
    assert fake_quantize(x, {"format": "fixed_point", "frac_width": "half"}, num_bits=8).tolist()[3] == 7.9375


@pytest.mark.parametrize("width", [25, 28, 32])
def test_more_bits_than_fp32_has_digits(width: int) -> None:
    spec = {"format": "fixed_point", "width": width, "frac_width": width - 2}
    x = torch.tensor([0.3, -0.7, 1.9, 5.0, -5.0, 1e-9])
    found = fake_quantize(x, spec)
    assert 2 - 2.0**-22 <= found[3] < 2  # the largest number of fp32 that is a level
    fine = x.double()
    assert same(found[[0, 1, 2, 4, 5]], expected(fine, width, width - 2)[[0, 1, 2, 4, 5]])
    assert same(fake_quantize(fine, spec), expected(fine, width, width - 2))
    codes = Quantizer("x", ACTIVATION, QuantizerSpec(format=spec), QuantizationContext()).codes(x, width)
    assert codes[3] > 0 and codes[4] == -(2 ** (width - 1))


def test_auto_takes_the_largest_places_that_fit() -> None:
    quantizer = Quantizer(
        "x", ACTIVATION, QuantizerSpec(format={"format": "fixed_point", "width": 8}), QuantizationContext()
    )
    for high, places in (
        (1.0, 6),
        (127 / 128, 7),
        (0.99, 7),
        (1.01, 6),
        (127.0, 0),
        (128.0, -1),
        (1e-20, 73),
        (1e20, -60),
    ):
        (qparams,) = quantizer.qparams(torch.tensor([high, 0.1 * high]), 8)
        assert qparams.scale.item() == 2.0**-places, high
    assert quantizer.qparams(torch.tensor([-128.0, 1.0]), 8)[0].scale == 1  # there is one more code below zero
    assert torch.equal(quantizer.fake(torch.zeros(3), 8), torch.zeros(3))
    assert quantizer.fake(torch.tensor([1.0, math.inf]), 8).isnan().all()
    by_row = QuantizerSpec(format={"format": "fixed_point", "width": 8}, granularity="token")
    (qparams,) = Quantizer("x", ACTIVATION, by_row, QuantizationContext()).qparams(
        torch.tensor([[1.0, 2.0], [3.0, 100.0]]), 8
    )
    assert qparams.scale.flatten().tolist() == [2.0**-5, 1.0]


def test_signal_to_noise_on_weights_of_a_transformer() -> None:
    x = torch.randn(400, 500, generator=torch.Generator().manual_seed(0)) * 0.04

    def sqnr(**fields: object) -> float:
        error = fake_quantize(x, {"format": "fixed_point", "width": 8, **fields}) - x
        return float(10 * torch.log10(x.square().mean() / error.square().mean()))

    best = max(sqnr(frac_width=places) for places in range(4, 14))
    assert sqnr(frac_width="auto") == best > 36
    assert 6.5 < sqnr(frac_width="half") < 7.5


def test_stochastic_rounding_and_its_contradiction() -> None:
    x = torch.full((400, 500), 0.3)
    y = fake_quantize(x, {"format": "fixed_point", "width": 8, "frac_width": 2}, rounding="stochastic")
    assert y.unique().tolist() == [0.25, 0.5] and abs(float(y.mean()) - 0.3) < 1e-3
    with pytest.raises(ConfigError, match="cannot round stochastically"):
        fake_quantize(x, {"format": "fixed_point", "width": 8, "rounding": "floor"}, rounding="stochastic")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"width": 1}, "width is a whole number from 2 to 32, got 1"),
        ({"width": 33}, "width is a whole number from 2 to 32, got 33"),
        (
            {"width": 8, "frac_width": "halve"},
            "is half, auto or a whole number from -120 to 120, got 'halve'",
        ),
        ({"width": 8, "frac_width": 1.5}, "frac_width is half, auto or a whole number"),
        ({"width": 8, "rounding": "flor"}, "did you mean 'floor'"),
        ({"width": 8, "signed": "no"}, "signed is true or false, got 'no'"),
        ({}, "has 2 to 32 bits; say how many by num_bits="),
    ],
)
def test_what_cannot_be_is_one_line(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        fake_quantize(torch.ones(2), {"format": "fixed_point", **fields})
    assert "\n" not in str(error.value)


def test_no_scale_can_be_given_or_learned() -> None:
    with pytest.raises(ConfigError, match="takes no scale"):
        fake_quantize(torch.ones(2), {"format": "fixed_point", "width": 8}, scale=0.3)
    rules = [{"match": "*.weight", "format": "fixed_point", "learned": "scale"}]
    with pytest.raises(ConfigError, match="a free scale, which the format fixed_point does not have"):
        quantize_model(nn.Sequential(nn.Linear(4, 4)), "int8", rules=rules)
