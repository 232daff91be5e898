"""Formats that are lists of levels, against an enumeration of them; the statistics that set their scales."""

import copy
import itertools
import math
from fractions import Fraction
from statistics import NormalDist

import pytest
import torch
from torch import Tensor, nn

from fairseq.checkpoint.packed import read_packed
from fairseq.errors import ConfigError
from fairseq.quantization import QLinear, fake_quantize, quantize_model
from fairseq.quantization.formats import FORMATS, FormatSpec, NumberFormat, QParams, build_format
from fairseq.quantization.formats.codebook.levels import CodebookFormat
from fairseq.quantization.integer_weights import keep_integer_weights, pack_weights
from fairseq.quantization.products.packed_weight import pack_weight
from fairseq.quantization.quantizer import ACTIVATION, WEIGHT, QuantizationContext, Quantizer, QuantizerSpec
from fairseq.quantization.rounding.noise import HashNoise, NoiseKey

UNEVEN = {"format": "codebook", "values": [-0.75, -0.125, 0.0, 0.3, 1.5]}
LISTS: list[tuple[FormatSpec, int]] = [
    *(("log", bits) for bits in range(2, 9)),
    *(({"format": "log", "steps_per_octave": 2}, bits) for bits in (2, 4, 6)),
    *(("apot", bits) for bits in range(2, 9)),
    *(({"format": "apot", "bits_per_term": k}, 6) for k in (1, 3)),
    ("nf4", 4),
    ("codebook", 2),
    (UNEVEN, 3),
    ("binary", 1),
    ("binary_unsigned", 1),
    ({"format": "binary", "scale": "power_of_two"}, 1),
    *(("midrise", bits) for bits in (1, 2, 4, 8)),
    *(("stretched", bits) for bits in (2, 4)),
    ({"format": "stretched", "zero": True}, 2),
]
THREE: FormatSpec = {"format": "binary_residual", "terms": 3}
OWN: list[tuple[FormatSpec, int]] = [*LISTS, ("ternary", 2), ("binary_residual", 2), (THREE, 3)]
BY_NAME = list({str(build_format(spec)): (spec, bits) for spec, bits in OWN}.values())


def unit(number_format: NumberFormat, num_bits: int, dtype: torch.dtype = torch.float32) -> QParams:
    """Levels at scale 1."""
    one = torch.ones(1, dtype=dtype)
    return QParams(one, torch.zeros_like(one), *number_format.code_range(num_bits))


def nearest(x: float, levels: list[float]) -> float:
    """The nearest level, by exact arithmetic; of two the one nearer zero, of two such the positive one."""
    exact = Fraction(x)
    return min(levels, key=lambda level: (abs(exact - Fraction(level)), abs(level), -level))


def awkward(levels: list[float], dtype: torch.dtype) -> Tensor:
    """Levels, midpoints, their neighbours in `dtype`, and numbers from beyond all ends to the least."""
    middles = [(low + high) / 2 for low, high in itertools.pairwise(levels)]
    points = torch.tensor([*levels, *middles, 0.0], dtype=torch.float64).to(dtype)
    infinity = torch.tensor(math.inf, dtype=dtype)
    powers = torch.tensor([sign * 2.0**e for e in range(-30, 10) for sign in (1, -1)], dtype=dtype)
    randoms = (torch.randn(300, dtype=torch.float64) * torch.logspace(-4, 0.5, 300)).to(dtype)
    return torch.cat([points, torch.nextafter(points, infinity), torch.nextafter(points, -infinity), powers, randoms])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("spec", "num_bits"), LISTS, ids=str)
def test_nearest_level(spec: FormatSpec, num_bits: int, dtype: torch.dtype) -> None:
    number_format = build_format(spec)
    levels = number_format.values(num_bits).tolist()
    assert levels == sorted(set(levels)) and len(levels) == number_format.num_levels(num_bits) <= 2**num_bits
    assert number_format.name == "stretched" or max(map(abs, levels)) == (1.5 if spec is UNEVEN else 1)
    x, qparams = awkward(levels, dtype), unit(number_format, num_bits, dtype)
    y = number_format.fake_quantize(x, qparams)
    assert y.tolist() == [nearest(value, levels) for value in x.tolist()]
    codes = number_format.quantize(x, qparams)
    assert torch.equal(number_format.dequantize(codes, qparams), y)
    assert codes.tolist() == [levels.index(value) for value in y.tolist()]
    assert torch.equal(number_format.fake_quantize(y, qparams), y)
    assert (number_format.quantize(x.sort().values, qparams).diff() >= 0).all()
    if number_format.is_symmetric:
        mirrored = number_format.fake_quantize(-x, qparams)
        assert torch.equal(mirrored[x != 0], -y[x != 0])
    for buffer in (torch.empty_like(x), x):  # where to work, the tensor itself included
        assert torch.equal(number_format.fake_quantize(x.clone(), qparams, out=buffer), y) and torch.equal(buffer, y)


@pytest.mark.parametrize(("spec", "num_bits"), OWN, ids=str)
def test_special_values(spec: FormatSpec, num_bits: int) -> None:
    number_format = build_format(spec)
    qparams = number_format.qparams(torch.tensor([-1.0]), torch.tensor([1.0]), num_bits)
    least, most = (number_format.dequantize(torch.tensor([float(end)]), qparams) for end in qparams[2:])
    x = torch.tensor([math.inf, -math.inf, math.nan, 0.0, -0.0, 3e38, -3e38])
    y = number_format.fake_quantize(x, qparams)
    assert y[2].isnan() and y[[0, 5]].tolist() == [most] * 2 and y[[1, 6]].tolist() == [least] * 2
    if number_format.has_exact_zero:
        assert y[3] == y[4] == 0
    assert {"zero", "overflow", "infinity", "NaN"} <= number_format.special_values().keys()
    # in a tensor they are not hidden, whatever takes its scale
    for bad in (math.inf, -math.inf, math.nan):
        x = torch.randn(4, 7)
        x[1, 2] = bad
        assert not fake_quantize(x, spec, num_bits=num_bits)[1, 2].isfinite()
        y = fake_quantize(x, spec, num_bits=num_bits, granularity="token")
        assert y[[0, 2, 3]].isfinite().all() and not y[1, 2].isfinite()


@pytest.mark.parametrize("granularity", ["tensor", "channel", "token", "group:3"])
@pytest.mark.parametrize(("spec", "num_bits"), BY_NAME, ids=str)
def test_shapes_and_types(spec: FormatSpec, num_bits: int, granularity: str) -> None:
    number_format = build_format(spec)
    for shape in ((), (1,), (7,), (3, 4), (2, 3, 5), (2, 1, 3, 4), (0,), (3, 0)):
        if granularity == "channel" and len(shape) < 2:
            continue
        for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float64):
            x = torch.randn(shape, dtype=torch.float64).to(dtype)
            settings = {"num_bits": num_bits, "granularity": granularity}
            y = fake_quantize(x, spec, **settings)
            assert y.shape == x.shape and y.dtype == dtype and y.isfinite().all()
            if dtype in (torch.bfloat16, torch.float16):
                assert torch.equal(y, fake_quantize(x.float(), spec, **settings).to(dtype))
        equal = fake_quantize(torch.full(shape, 0.25), spec, num_bits=num_bits, granularity=granularity)
        assert torch.allclose(equal, torch.full(shape, 0.25), rtol=1e-6) or "codebook" in str(spec)
        zeros = fake_quantize(torch.zeros(shape), spec, num_bits=num_bits, granularity=granularity)
        assert (zeros == 0).all() if number_format.has_exact_zero else (zeros.abs() < 1e-37).all()


@pytest.mark.parametrize(("spec", "num_bits"), BY_NAME, ids=str)
@pytest.mark.parametrize("value", [0.3, -0.11, 0.9, -0.02])
def test_stochastic_rounding_keeps_the_mean(spec: FormatSpec, num_bits: int, value: float) -> None:
    number_format = build_format(spec)
    if spec == "binary_unsigned":
        value = abs(value)
    x = torch.full((300, 500), value)
    qparams = number_format.qparams(torch.tensor([-1.0]), torch.tensor([1.0]), num_bits)
    y = number_format.fake_quantize(x, qparams, HashNoise(NoiseKey(1, 2, 3), x))
    assert y.unique().numel() <= 2
    assert float(y.mean()) == pytest.approx(value, abs=1e-2)
    nan = torch.full((2, 2), math.nan)
    assert number_format.fake_quantize(nan, qparams, HashNoise(NoiseKey(1, 2, 3), nan)).isnan().all()
    levels = number_format.dequantize(torch.arange(qparams.quant_max + 1.0), qparams)
    again = number_format.fake_quantize(levels, qparams, HashNoise(NoiseKey(1, 2, 4), levels))
    assert torch.allclose(again, levels)  # levels stay


def test_levels_by_hand() -> None:
    assert build_format("log").values(3).tolist() == [-1, -0.5, -0.25, 0, 0.25, 0.5, 1]
    root = build_format({"format": "log", "steps_per_octave": 2}).values(3)
    assert root[-3:].tolist() == pytest.approx([0.5, 0.5**0.5, 1])
    # three magnitude bits are terms of two bits and of one: {0, 1, 1/4, 1/16} + {0, 1/2}, over 3/2
    assert (build_format("apot").values(4) * 24)[7:].tolist() == pytest.approx([0, 1, 4, 8, 9, 12, 16, 24])
    assert build_format("apot").num_levels(8) == 255
    found, offset = build_format("nf4").values(4), (2 - 1 / 32 - 1 / 30) / 2
    quantile = NormalDist().inv_cdf
    for sign, count in ((1, 8), (-1, 7)):
        sides = [quantile(0.5 + (offset - 0.5) * step / count) for step in range(count + 1)]
        expected = [sign * side / sides[-1] for side in sides]
        own = found[7:] if sign > 0 else found[:8].flip(0)
        assert own.tolist() == pytest.approx(expected, abs=1e-6)
    assert build_format(UNEVEN).values(3).tolist() == pytest.approx([-0.75, -0.125, 0, 0.3, 1.5])


def test_log_values_are_powers_of_two() -> None:
    """Of any range; powers of two stay what they are, and small ones do not all become 0."""
    for scale in (1e-30, 0.3, 1.0, 1.49, 1.51, 5e20):
        x = torch.randn(1000) * scale
        y = fake_quantize(x, "log", num_bits=5)
        mantissa, _ = torch.frexp(y[y != 0])
        assert set(mantissa.abs().tolist()) == {0.5}
        assert torch.equal(fake_quantize(y, "log", num_bits=5), y)
    powers = 2.0 ** -torch.arange(7.0)
    assert torch.equal(fake_quantize(powers, "log", num_bits=4), powers)
    top = [fake_quantize(torch.tensor([most]), "log", num_bits=4).item() for most in (1.0, 1.5, 1.51, 2.0, 3e38)]
    assert top == [1, 1, 2, 2, 2.0**127]
    assert fake_quantize(torch.randn(4000) * 0.02, "log", num_bits=8).count_nonzero() == 4000


def test_statistics_of_rows() -> None:
    x = torch.tensor([[4.0, -2.0, 0.1, -0.1], [0.3, 0.2, 0.3, -0.2]])
    rows = {"granularity": "token"}
    assert torch.allclose(fake_quantize(x, "binary", **rows)[0], torch.tensor([1.55, -1.55, 1.55, -1.55]))
    assert fake_quantize(x, "ternary", **rows)[0].tolist() == [3, -3, 0, 0]  # threshold 0.7 * 1.55
    assert torch.allclose(fake_quantize(x, "ternary", **rows)[1], torch.tensor([0.25, 0.25, 0.25, -0.25]))
    bitnet = {"format": "ternary", "threshold": 0.5, "scale": "mean"}
    w = torch.randn(64)
    gamma = w.abs().mean()
    assert torch.allclose(fake_quantize(w, bitnet), (w / gamma).round().clamp(-1, 1) * gamma)
    positive = torch.tensor([[0.0, 1.0, 2.0, 6.0], [0.25, 0.25, 0.25, 0.25]])
    assert fake_quantize(positive, "binary_unsigned", **rows).tolist() == [[0, 0, 0, 6], [0.25] * 4]
    # half of a softmax's values do not become 1
    probabilities = torch.randn(40, 30).softmax(-1)
    assert 0.05 < (fake_quantize(probabilities, "binary_unsigned", **rows) > 0).float().mean() < 0.5
    first, second = 1.55, (2.45 + 0.45 + 1.45 + 1.45) / 4
    expected = torch.tensor([first + second, -first - second, first - second, second - first])
    assert torch.allclose(fake_quantize(x, "binary_residual", **rows)[0], expected)


@pytest.mark.parametrize("terms", [3, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_residual_of_many_terms_goes_to_the_nearest_sum(terms: int, dtype: torch.dtype) -> None:
    """Against all sums, written down; each row with scales of its own, taken one after the other."""
    x = torch.randn(5, 101, generator=torch.Generator().manual_seed(terms), dtype=dtype)
    x[0], x[1], x[2, ::2], x[3, 0] = 0, 0.75, 0, -30
    spec = {"format": "binary_residual", "terms": terms}
    found = fake_quantize(x, spec, granularity="channel:0")
    for row, y in zip(x, found, strict=True):
        left, scales = row.abs(), []
        for _ in range(terms):
            scales.append(torch.minimum(left.mean(), scales[-1]) if scales else left.mean())
            left = (left - scales[-1]).abs()
        signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=dtype)] * terms)
        sums = (signs * torch.stack(scales)).sum(1)
        least = (row[:, None] - sums).abs().amin(1)
        assert torch.allclose((row - y).abs(), least, rtol=1e-4, atol=1e-6)
        assert all(bool(((sums - value).abs() < 1e-5 * (1 + value.abs())).any()) for value in y)
    assert torch.equal(found[0], torch.zeros(101, dtype=dtype)) or found[0].abs().max() < 1e-37
    assert torch.equal(fake_quantize(-x[3:], spec, granularity="channel:0"), -found[3:])  # no ties there
    many = torch.stack([fake_quantize(x[3:], spec, granularity="channel:0", rounding="stochastic", seed=n)
                        for n in range(400)]).mean(0)  # fmt: skip
    inside = x[3:].abs() < found[3:].abs().amax(1, keepdim=True)
    assert (many - x[3:])[inside].abs().max() < 0.3


def test_residual_of_many_terms_keeps_no_running_range() -> None:
    spec = QuantizerSpec(format=THREE, range="ema")
    with pytest.raises(ConfigError, match=r"x: a running range does not keep all scales .*; use range: minmax"):
        Quantizer("x", ACTIVATION, spec, QuantizationContext())
    with pytest.raises(ConfigError, match="terms is a whole number from 2 to 4, got 9"):
        build_format({"format": "binary_residual", "terms": 9})


def test_binary_of_zero_is_positive() -> None:
    qparams = unit(build_format("binary"), 1)
    assert build_format("binary").fake_quantize(torch.tensor([0.0, -0.0, -1e-40]), qparams).tolist() == [1, 1, -1]


def test_errors_are_no_larger_than_they_should_be() -> None:
    """Mean squared errors of a normal distribution, against what is known of them."""
    x = torch.randn(2**17, generator=torch.Generator().manual_seed(3))

    def error(spec: FormatSpec, **settings: object) -> float:
        return float((fake_quantize(x, spec, **settings) - x).square().mean())

    assert error("binary") == pytest.approx(1 - 2 / math.pi, rel=0.01)  # the least there is
    assert error("ternary") == pytest.approx(0.1902, rel=0.02)  # the least there is: Max, 1960
    assert 0.1175 < error("binary_residual") < 0.14  # the least of 4 levels is 0.1175
    assert 0.03454 < error(THREE) < 0.06  # of 8
    assert 0.009497 < error({"format": "binary_residual", "terms": 4}) < 0.035  # of 16
    assert error("nf4", granularity="group:64") < 0.011
    assert error("nf4", granularity="group:64") < error("symmetric", num_bits=4, granularity="group:64")
    assert error("apot", num_bits=4, range="mse") < error("log", num_bits=4, range="mse")


@pytest.mark.parametrize(("spec", "num_bits"), [each for each in BY_NAME if each[0] != THREE], ids=str)
def test_running_and_searched_ranges(spec: FormatSpec, num_bits: int) -> None:
    """A running statistic averages that of the batches; a searched one has no larger error."""
    quantizer = Quantizer(
        "x", ACTIVATION, QuantizerSpec(format=spec, range={"name": "ema", "momentum": 0.5}), QuantizationContext()
    )
    x = torch.randn(50, 8).abs()
    quantizer.context.set(update=1)
    in_training = quantizer(x, num_bits).value
    quantizer.eval()
    assert torch.allclose(quantizer(x, num_bits).value, in_training)
    plain = fake_quantize(x, spec, num_bits=num_bits)
    searched = fake_quantize(x, spec, num_bits=num_bits, range="mse")
    assert (searched - x).square().sum() <= (plain - x).square().sum() * 1.0001
    if build_format(spec).needs_statistic:
        with pytest.raises(ConfigError, match=r"percentile: the format .* statistic of its own") as error:
            fake_quantize(x, spec, range="percentile")
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(("spec", "num_bits"), OWN, ids=str)
@pytest.mark.parametrize("granularity", ["tensor", "channel", "group:5"])
def test_packed(spec: FormatSpec, num_bits: int, granularity: str) -> None:
    quantizer = Quantizer(
        "w", WEIGHT, QuantizerSpec(format=spec, granularity=granularity), QuantizationContext(), shape=(6, 21)
    )
    weight = torch.randn(6, 21)
    packed = pack_weight(quantizer, weight, num_bits)
    assert torch.equal(packed.values(), quantizer.fake(weight, num_bits))
    assert packed.data.shape == (6, -(-21 * num_bits // 8)) and packed.code_bits == num_bits
    assert (packed.zero_points is None) == (spec not in ("binary_residual", THREE))
    assert torch.equal(read_packed(packed.as_dict()).values(), packed.values())


def test_many_codes_of_one_bit_pack() -> None:
    """Sizes at which compiled code packs them."""
    quantizer = Quantizer(
        "w", WEIGHT, QuantizerSpec(format="binary", granularity="channel"), QuantizationContext(), shape=(257, 1031)
    )
    weight = torch.randn(257, 1031)
    packed = pack_weight(quantizer, weight, 1)
    assert packed.num_bytes == 257 * 129 + 257 * 4
    assert torch.equal(packed.values(), quantizer.fake(weight, 1))


@pytest.mark.parametrize(("spec", "num_bits"), BY_NAME, ids=str)
def test_layers_train_and_are_saved(spec: FormatSpec, num_bits: int, transformer: nn.Module, tokens: Tensor) -> None:
    def quantized() -> nn.Module:
        rules = [{"match": "layers.*.weight", "format": spec, "bits": num_bits, "granularity": "channel"}]
        return quantize_model(copy.deepcopy(transformer), "int8", num_bits=8, rules=rules)

    model = quantized()
    assert str(build_format(spec)) in model.quantization.plan.table()
    optimizer = torch.optim.SGD(model.parameters(), 0.003)
    losses = []
    for _ in range(6):
        loss = model(tokens).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] and all(map(math.isfinite, losses))
    model.eval()
    expected = model(tokens)
    other = quantized().eval()
    other.load_state_dict(model.state_dict(), strict=True)
    assert torch.equal(other(tokens), expected)
    packed, _ = pack_weights(model)
    assert packed["layers.0.fc1.weight"].code_bits == num_bits
    read = {key: read_packed(weight.as_dict()) for key, weight in packed.items()}
    for key, weight in read.items():
        other.get_parameter(key).data = weight.values()
    keep_integer_weights(other, read)
    assert torch.allclose(other(tokens), expected, atol=1e-6)


def test_layer_alone() -> None:
    specs = {
        "weight": QuantizerSpec(bits=1, format="binary", granularity="channel", ste="tanh"),
        "input": QuantizerSpec(bits=2, format="ternary", ste="clipped"),
        "grad_output": QuantizerSpec(quantize=False),
    }
    layer = QLinear(6, 4, specs=specs).bfloat16()
    x = torch.randn(3, 6, dtype=torch.bfloat16, requires_grad=True)
    layer(x, num_bits=8).sum().backward()
    assert x.grad.shape == x.shape and layer.weight.grad.isfinite().all() and layer.weight.grad.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"format": "codebook", "values": [1.0]}, "values must be a list of 2 to"),
        ({"format": "codebook", "values": [1.0, math.nan]}, "finite numbers"),
        ({"format": "codebook", "values": [0.5, 1, 1 + 1e-9]}, "differ"),
        ({"format": "codebook", "values": "abc"}, "values must be"),
        ({"format": "log", "steps_per_octave": 0}, "steps_per_octave is a whole number from 1"),
        ({"format": "log", "step_per_octave": 2}, "did you mean 'steps_per_octave'"),
        ({"format": "apot", "bits_per_term": 4}, "bits_per_term is a whole number"),
        ({"format": "ternary", "threshold": -0.1}, "threshold is a number from 0"),
        ({"format": "ternary", "threshold": math.nan}, "threshold is a number"),
        ({"format": "ternary", "scale": "abov"}, "did you mean 'above'"),
        ("ternery", "did you mean 'ternary'"),
    ],
)
def test_bad_settings(spec: FormatSpec, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        build_format(spec)
    assert "\n" not in str(error.value)


def test_bits_that_cannot_be() -> None:
    for spec, num_bits in (("ternary", 3), ("binary", 2), ("nf4", 8), ("log", 9), ("apot", 1), (UNEVEN, 2)):
        with pytest.raises(ConfigError) as error:
            fake_quantize(torch.randn(3), spec, num_bits=num_bits)
        assert "\n" not in str(error.value) and str(num_bits) in str(error.value)


def test_specs_are_kept() -> None:
    for spec, _ in OWN:
        number_format = build_format(spec)
        again = build_format(number_format.spec())
        assert again == number_format and again.values(again.max_bits).equal(number_format.values(again.max_bits))
    assert build_format({"format": "codebook", "values": [0.5, 0.25]}) == build_format(
        {"format": "codebook", "values": (0.25, 0.5)}
    )


def test_a_given_scale() -> None:
    x = torch.tensor([0.2, 0.6, -3.0, 0.0])
    assert fake_quantize(x, "ternary", scale=1.0).tolist() == [0, 1, -1, 0]
    assert fake_quantize(x, "binary", scale=2.0).tolist() == [2, 2, -2, 2]
    assert fake_quantize(x, "log", scale=1.0, num_bits=3).tolist() == [0.25, 0.5, -1, 0]
    with pytest.raises(ConfigError, match="takes no scale"):
        fake_quantize(x, "binary_residual", scale=1.0)


def test_every_list_is_tested() -> None:
    named = {name for name in FORMATS if isinstance(build_format(name), CodebookFormat)}
    assert named == {build_format(spec).name for spec, _ in LISTS}
