"""Block formats against an enumeration of their values in fp64, which shares only definitions with the library."""

import itertools
import math
import shutil
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fairseq.errors import ConfigError
from fairseq.native import compiled
from fairseq.quantization import fake_quantize
from fairseq.quantization.formats import build_format
from fairseq.quantization.formats.block.scales import SCALE_RULES, exponent_of, power_of_two
from fairseq.quantization.kernels import blocks, rounding
from fairseq.quantization.quantizer import ACTIVATION, QuantizationContext, Quantizer, QuantizerSpec

E8M0 = (-127, 127)


def minifloat_values(exponent_bits: int, mantissa_bits: int, bias: int, count: int) -> list[float]:
    """The first `count` values from 0 up: exponent field, then mantissa."""
    values = []
    for field, mantissa in itertools.product(range(2**exponent_bits), range(2**mantissa_bits)):
        whole, exponent = (1, field - bias) if field else (0, 1 - bias)
        values.append((whole + mantissa / 2**mantissa_bits) * 2.0**exponent)
    return values[:count]


# name -> values of an element from 0 up, bits of its mantissa, exponents of the scale
ELEMENTS: dict[str, tuple[list[float], int, tuple[int, int]]] = {
    "mxfp8_e4m3": (minifloat_values(4, 3, 7, 127), 3, E8M0),  # the last pattern is NaN
    "mxfp8_e5m2": (minifloat_values(5, 2, 15, 124), 2, E8M0),  # the last four: infinity, NaN
    "mxfp6_e2m3": (minifloat_values(2, 3, 1, 32), 3, E8M0),
    "mxfp6_e3m2": (minifloat_values(3, 2, 3, 32), 2, E8M0),
    "mxfp4": (minifloat_values(2, 1, 1, 8), 1, E8M0),
    "mxint8": ([k / 64 for k in range(128)], 6, E8M0),
    "block_fp": ([k / 64 for k in range(128)], 6, (-127, 128)),
    "block_minifloat": (minifloat_values(4, 3, 15, 128), 3, (15 - 127, 127)),  # a scale is an fp32 number
    "block_log": ([0.0, *(2.0 ** (k - 127) for k in range(1, 128))], 0, E8M0),
}
BITS = dict.fromkeys(ELEMENTS, 8) | {"mxfp6_e2m3": 6, "mxfp6_e3m2": 6, "mxfp4": 4}
BLOCK = dict.fromkeys(ELEMENTS, 32) | {"block_fp": 16}
DEFAULT_RULE = dict.fromkeys(ELEMENTS, "floor") | {"block_log": "even"}


def oracle(name: str, block: np.ndarray, rule: str) -> np.ndarray:
    """A block (fp64) rounded by the definition."""
    values, mantissa_bits, (least, most) = ELEMENTS[name]
    amax = float(np.abs(block).max())
    if not math.isfinite(amax):
        return np.full_like(block, np.nan)
    if amax == 0:
        return np.zeros_like(block)
    top = math.floor(math.log2(values[-1]))
    mantissa, exponent = math.frexp(amax)  # 1/2 <= mantissa < 1
    exponent -= 1
    if rule == "ceil":
        exponent += mantissa != 0.5
    elif rule == "even":
        exponent += round(mantissa * 2 ** (mantissa_bits + 1)) == 2 ** (mantissa_bits + 1)
    elif rule == "rceil":
        exponent += amax > values[-1] * 2.0 ** (exponent - top)
    scale = 2.0 ** min(max(exponent - top, least), most)
    levels = np.array(values)
    middles = (levels[:-1] + levels[1:]) / 2
    size = np.abs(block) / scale
    code = np.searchsorted(middles, size)  # a tie: the lower one
    tie = size == middles[np.minimum(code, len(middles) - 1)]
    upward = code > 0 if mantissa_bits == 0 else code % 2 == 1
    code = np.where(tie & upward & (code < len(middles)), code + 1, code)
    return np.sign(block) * levels[code] * scale


def rounded_by_oracle(name: str, x: Tensor, rule: str, size: int) -> Tensor:
    rows = x.double().reshape(-1, x.shape[-1] if x.dim() else 1).numpy()
    done = [
        np.concatenate([oracle(name, row[start : start + size], rule) for start in range(0, len(row), size)])
        for row in rows
    ]
    return torch.from_numpy(np.array(done)).view(x.shape)


def hard_values(name: str) -> Tensor:
    """Levels, ties and their neighbours at several scales, under a largest value that pins the scale, and others."""
    levels = torch.tensor(ELEMENTS[name][0], dtype=torch.float64)
    wanted = torch.cat([levels, (levels[1:] + levels[:-1]) / 2]).float()
    near = torch.cat([wanted, wanted.nextafter(torch.tensor(9e9)), wanted.nextafter(torch.tensor(-9e9))])
    near = torch.cat([near, -near])
    near = near[torch.randperm(near.numel())][: near.numel() // 31 * 31].view(-1, 31)
    near = torch.cat([near, torch.full((near.shape[0], 1), float(levels[-1]))], dim=1)
    powers = 2.0 ** torch.arange(-149, 128, dtype=torch.float64)
    singles = torch.cat([powers, powers * 1.5, powers * 1.75, powers * 1.984375, powers * (2 - 2**-23)]).float()
    single_rows = torch.zeros(singles.numel(), 32)
    single_rows[:, 5], single_rows[:, 20] = singles, singles * -0.37
    normal = torch.randn(200, 32) * 10.0 ** torch.randint(-38, 38, (200, 1))
    mixed = torch.randn(200, 32) * 2.0 ** torch.randint(-20, 20, (200, 32))
    special = torch.randn(6, 32)
    special[0, 3], special[1, 4], special[2, 5] = math.inf, -math.inf, math.nan
    special[3:] = 0
    special[4, 0] = 1e-45
    return torch.cat([near, near * 2.0**-60, near * 2.0**60, single_rows, normal, mixed, special])


def same(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a.isnan(), b.isnan()) and torch.equal(a.nan_to_num(), b.nan_to_num())


def quantizer(spec: Any, **settings: Any) -> Quantizer:
    return Quantizer("x", ACTIVATION, QuantizerSpec(format=spec, **settings), QuantizationContext())


@pytest.mark.parametrize("rule", SCALE_RULES)
@pytest.mark.parametrize("name", ELEMENTS)
def test_every_value_and_tie(name: str, rule: str) -> None:
    x, size, bits = hard_values(name), BLOCK[name], BITS[name]
    spec = {"format": name, "scale_rule": rule}
    expected = rounded_by_oracle(name, x, rule, size).float()
    ours = quantizer(spec)
    y = ours.fake(x, bits)
    assert same(y, expected)
    assert same(ours.fake(x.double(), bits), rounded_by_oracle(name, x, rule, size))
    # the kernel that takes whole tensors, the one for blocks down columns, and torch's operations
    large = x.repeat(-(-(2**15) // x.numel()), 1)
    for turned in (large, large.repeat(1, 2).t().contiguous().t()):
        whole = ours.fake(turned, bits)
        with blocks_disabled():
            assert same(ours.fake(turned, bits), whole)
        assert same(whole[: len(x), :32], expected)


class blocks_disabled(pytest.MonkeyPatch):
    """Without the C++ kernel."""

    def __enter__(self) -> None:
        self.setattr(blocks, "library", lambda name: None)

    def __exit__(self, *error: object) -> None:
        self.undo()


@pytest.mark.parametrize("name", ELEMENTS)
def test_codes_number_the_values(name: str) -> None:
    values, _, _ = ELEMENTS[name]
    number_format, bits = build_format(name), BITS[name]
    found = number_format.values(bits)
    assert number_format.num_levels(bits) == 2 * len(values) - 1 <= 2**bits
    expected = torch.tensor([-v for v in values[:0:-1]] + values, dtype=torch.float64)
    assert torch.equal(found, expected * (float(found[-1]) / values[-1]))  # the scale's unit is a matter of notation
    x = hard_values(name)[:-6]
    ours = quantizer(name)
    codes, (qparams,) = ours.codes(x, bits), ours.qparams(x, bits)
    back = number_format.dequantize(next(ours.pieces(codes.float())), qparams)
    assert torch.equal(back.view_as(x), ours.fake(x, bits))


@pytest.mark.parametrize("name", [*ELEMENTS, "nvfp4"])
@pytest.mark.parametrize("shape", [(), (1,), (5,), (33,), (4, 50), (2, 3, 47), (2, 1, 3, 64)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_shapes_and_types(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    spec: Any = {"format": "block_fp", "width": 8} if name == "block_fp" else name
    x = torch.randn(shape).to(dtype)
    y = fake_quantize(x, spec)
    assert y.shape == x.shape and y.dtype == dtype and y.isfinite().all()
    assert torch.equal(fake_quantize(-x, spec), -y)
    again = fake_quantize(y, spec)
    if name == "nvfp4":  # its scales are no powers of two
        assert torch.allclose(again, y, rtol=1e-6 if dtype == torch.float32 else 1e-2)
    else:
        assert torch.equal(y, rounded_by_oracle(name, x, DEFAULT_RULE[name], BLOCK[name]).to(dtype))
        assert torch.equal(again, y)
    zeros = fake_quantize(torch.zeros(shape, dtype=dtype), spec)
    assert not zeros.any() and zeros.shape == x.shape


@pytest.mark.parametrize(
    ("spec", "decibels"),
    [
        ("mxint8", 42),
        ({"format": "block_fp", "width": 8, "block_size": 16}, 43),
        ("mxfp8_e4m3", 30),
        ("mxfp6_e2m3", 30),
        ("block_minifloat", 30),
        ("nvfp4", 19),
        ("mxfp4", 18),
        ("block_log", 13.8),
    ],
)
def test_noise_of_normal_data(spec: Any, decibels: float) -> None:
    x = torch.randn(256, 768) * 0.04
    error = fake_quantize(x, spec) - x
    assert 10 * torch.log10(x.square().mean() / error.square().mean()) > decibels


def test_where_mantissas_carry() -> None:
    x = torch.tensor([1.99, 7.99, 448.0, 0.03, 1e-9])
    assert fake_quantize(x, "mxfp8_e4m3").tolist() == [2.0, 8.0, 448.0, 15 / 512, 0.0]


def test_powers_of_two() -> None:
    exponent = torch.arange(-149, 128, dtype=torch.int32)
    for dtype in (torch.float32, torch.float64):
        scale = power_of_two(exponent, dtype)
        assert torch.equal(scale.double(), 2.0 ** exponent.double())
        assert torch.equal(exponent_of(scale), exponent)


def test_blocks_of_a_matrix() -> None:
    x = torch.randn(2, 37, 50) * torch.linspace(0.1, 9, 50)
    spec = {"format": "mxfp8_e4m3", "block_size": [8, 16]}
    y = fake_quantize(x, spec)
    for matrix, rounded in zip(x, y, strict=True):
        for top, left in itertools.product(range(0, 37, 8), range(0, 50, 16)):
            block = matrix[top : top + 8, left : left + 16]
            expected = rounded_by_oracle("mxfp8_e4m3", block.reshape(1, -1), "floor", block.numel()).float()
            assert torch.equal(rounded[top : top + 8, left : left + 16].reshape(1, -1), expected)
    assert torch.equal(fake_quantize(x[0, 0], spec), fake_quantize(x[0, 0], {**spec, "block_size": 16}))
    assert build_format(spec).spec() == {"format": "mxfp8_e4m3", "block_size": (8, 16)}
    assert build_format({"format": "mxfp4", "block_size": [1, 32]}) == build_format("mxfp4")


def test_along_another_axis() -> None:
    x = torch.randn(3, 40, 5)
    assert torch.equal(fake_quantize(x, "mxfp4", dim=1), fake_quantize(x.mT.contiguous(), "mxfp4").mT)


def test_nvfp4_by_hand() -> None:
    x = torch.randn(4, 40) * torch.tensor([[1.0], [100.0], [1e-6], [0.0]])
    shared = x.abs().max() / (448 * 6)
    levels = torch.tensor(minifloat_values(2, 1, 1, 8))
    y = fake_quantize(x, "nvfp4")
    for row, rounded in zip(x, y, strict=True):
        for start in range(0, 40, 16):
            block = row[start : start + 16]
            scale = (block.abs().max() / 6 / shared).to(torch.float8_e4m3fn).float().clamp(min=2**-9) * shared
            sizes = torch.from_numpy(np.abs((block / scale).numpy()))
            nearest = (sizes[:, None] - levels).abs().argmin(1)
            assert torch.equal(rounded[start : start + 16], block.sign() * levels[nearest] * scale)
    x[0, 0] = math.nan
    assert fake_quantize(x, "nvfp4").isnan().all()
    assert build_format("nvfp4").special_values()["NaN"] == "makes the tensor NaN"
    assert build_format("mxfp4").special_values()["infinity"] == "makes its block NaN"


def test_bits_per_value() -> None:
    expected = {"mxint8": 8.25, "mxfp8_e4m3": 8.25, "mxfp6_e3m2": 6.25, "mxfp4": 4.25, "nvfp4": 4.5}
    for name, bits in expected.items():
        number_format = build_format(name)
        assert number_format.bits_per_value(number_format.fixed_bits) == bits
    assert build_format({"format": "block_fp", "width": 8, "exponent_bits": 5}).bits_per_value(8) == 8 + 5 / 16
    assert build_format({"format": "mxfp4", "block_size": [16, 16]}).bits_per_value(4) == 4 + 8 / 256


@pytest.mark.parametrize("exponent_bits", [2, 4])
def test_a_shared_exponent_of_few_bits_clamps(exponent_bits: int) -> None:
    spec = {"format": "block_fp", "width": 8, "exponent_bits": exponent_bits}
    bias = 2 ** (exponent_bits - 1) - 1
    x = torch.tensor([[1e30, -3.0], [2.0**-60, 2.0 ** -(bias + 6)]])
    y = fake_quantize(x, spec)
    most = 127 / 64 * 2.0 ** (2**exponent_bits - 1 - bias)
    assert y[0, 0] == most and y[1].tolist() == [0, 2.0 ** -(bias + 6)]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"format": "mxfp4", "block_size": 0}, "format mxfp4: block_size must be a whole number above 0 or"),
        ({"format": "mxfp4", "block_size": [4]}, "got \\[4\\]"),
        ({"format": "mxfp4", "block_size": True}, "got True"),
        ({"format": "mxfp4", "block_size": "32"}, "got '32'"),
        ({"format": "mxfp4", "scale_rule": "flor"}, "unknown scale_rule 'flor' in format mxfp4; did you mean 'floor'"),
        ({"format": "mxfp4", "blocksize": 4}, "unknown option 'blocksize'; did you mean 'block_size'"),
        ({"format": "block_fp", "width": 1}, "width must be a whole number from 2 to 16, got 1"),
        ({"format": "block_fp", "exponent_bits": 9}, "exponent_bits must be a whole number from 1 to 8, got 9"),
        ({"format": "block_minifloat", "width": 4, "exponent_bits": 4}, "exponent_bits must be .* from 1 to 3, got 4"),
        ({"format": "block_log", "width": 9}, "width must be a whole number from 2 to 8, got 9"),
        ({"format": "block_log", "bias_bits": 0}, "bias_bits must be a whole number from 1 to 8, got 0"),
    ],
)
def test_bad_settings(spec: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        fake_quantize(torch.ones(3), spec)
    assert "\n" not in str(error.value)


def test_stochastic_rounding_keeps_the_mean() -> None:
    ours = quantizer("mxfp8_e4m3", rounding="stochastic")
    x = torch.full((2000, 32), 0.3)
    x[:, 0], x[:, 1], x[:, 2] = 1.0, 0.011, -0.97
    y = ours.fake(x, 8)
    assert y[:, 3].unique().numel() == 2
    assert torch.allclose(y.mean(0)[[1, 2]], x.mean(0)[[1, 2]], rtol=5e-3)
    assert abs(float(y[:, 3:].mean()) - 0.3) < 1e-3


@pytest.mark.parametrize("source", ["mse", {"name": "percentile", "percent": 90.0}])
def test_other_sources_of_ranges(source: Any) -> None:
    x = torch.randn(64, 96)
    spec = {"format": "mxfp4", "scale_rule": "ceil"}
    usual, y = quantizer(spec).fake(x, 4), quantizer(spec, range=source).fake(x, 4)
    assert not torch.equal(usual, y)
    if source == "mse":
        assert (y - x).square().mean() <= (usual - x).square().mean()


def test_clipped_gradient() -> None:
    x = torch.tensor([7.9, 1.0, -7.0, 6.0], requires_grad=True)  # mxfp4: a scale of 1, and 6 is the largest
    quantizer("mxfp4", ste="clipped")(x, 4).tensor().sum().backward()
    assert x.grad is not None and x.grad.tolist() == [0, 1, 0, 1]


def test_compiled_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    if not any(shutil.which(name) for name in ("c++", "g++", "clang++")):
        pytest.skip("no compiler")
    monkeypatch.setattr(compiled.compiler(), "break_even", 0)
    x, number_format = torch.randn(512, 4, 32) * torch.logspace(-30, 30, 512)[:, None, None], build_format("mxfp8_e4m3")
    out = torch.empty_like(x)
    assert rounding.fake_quantize_blocks(number_format, x, 8, (2,), out)
    assert torch.equal(out, quantizer("mxfp8_e4m3").fake(x, 8))
