"""Every registered format of at most 8 bits against the list of its own values; a new format needs no new test.

Which values a format should have is tested against its definition, file by file; here, that rounding goes to the
nearest one in every type, with ties as the format says, and that infinities and NaN become what it says.
"""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from fairseq.quantization import fake_quantize
from fairseq.quantization.formats import FORMATS, NumberFormat, QParams, build_format
from fairseq.quantization.kernels.rounding import round_to_levels
from fairseq.quantization.rounding.straight_through import BACKWARDS
from tests.quantization.formats.tools import DTYPES, bits_of, hard_inputs, same

NAMES = list(FORMATS)


def all_bits(number_format: NumberFormat) -> list[int]:
    return list(range(number_format.min_bits, min(number_format.max_bits, 8) + 1))


CASES = [(name, bits) for name in NAMES for bits in all_bits(build_format(name))]


def unit_qparams(number_format: NumberFormat, num_bits: int) -> QParams:
    """Parameters with which levels are `values`: those of a range that the values cover."""
    values = number_format.values(num_bits).float()
    return number_format.qparams(values[:1], values[-1:], num_bits)


def rounded(number_format: NumberFormat, x: Tensor, num_bits: int) -> Tensor:
    """`x` on the levels of `unit_qparams`, as a quantizer rounds it: in fp32, and then x's type."""
    wide = x.float()
    out = torch.empty_like(wide)
    round_to_levels(number_format, wide, unit_qparams(number_format, num_bits), None, out, clamp=True, fused=False)
    return out.to(x.dtype)


def nearest(number_format: NumberFormat, x: Tensor, num_bits: int) -> Tensor:
    """The nearest of all values, fp64, by comparing distances; beyond the outermost that one."""
    values, size = number_format.values(num_bits), x.double()
    high = torch.searchsorted(values, size).clamp(1, len(values) - 1)
    low = high - 1
    below, above = values[low], values[high]
    twice, middle = 2 * size, below + above  # exact
    if number_format.ties == "even":
        tie_goes_up = (high + number_format.code_range(num_bits)[0]) % 2 == 0
    elif number_format.ties == "inward":
        tie_goes_up = above.abs() <= below.abs()
    else:
        assert number_format.ties == "outward"
        tie_goes_up = torch.where((below == 0) | (above == 0), above == 0, above.abs() > below.abs())
    return torch.where((twice > middle) | ((twice == middle) & tie_goes_up), above, below)


def inputs(number_format: NumberFormat, num_bits: int, dtype: torch.dtype) -> Tensor:
    """Finite numbers, few enough for a small test, many enough for the kernels."""
    values = number_format.values(num_bits)
    x = hard_inputs(values.unique().numpy(), dtype)
    x = x[x.isfinite()]
    middles = ((values[1:] + values[:-1]) / 2).to(dtype)
    return torch.cat([x, values.to(dtype), middles, torch.nextafter(middles, middles + 1), -middles])


@pytest.mark.parametrize(("name", "num_bits"), CASES)
def test_nearest_value_in_every_type(name: str, num_bits: int) -> None:
    number_format = build_format(name)
    assert unit_qparams(number_format, num_bits).scale.flatten().tolist() in ([1.0], [])
    for dtype in DTYPES:
        x = inputs(number_format, num_bits, dtype)
        expected = nearest(number_format, x, num_bits)
        if number_format.special_values()["overflow"].startswith("becomes"):
            x, expected = inside_of(number_format, x, expected, num_bits)
        assert same(rounded(number_format, x, num_bits), expected.to(dtype))


def inside_of(number_format: NumberFormat, x: Tensor, expected: Tensor, num_bits: int) -> tuple[Tensor, Tensor]:
    """What does not round to more than the largest value of a format that does not saturate."""
    values = number_format.values(num_bits)
    inside = x.double().abs() < values[-1] + (values[-1] - values[-2]) / 2
    assert rounded(number_format, x[~inside], num_bits).isfinite().logical_not().all()
    return x[inside], expected[inside]


@pytest.mark.parametrize(("name", "num_bits"), CASES)
def test_idempotent_monotone_and_odd(name: str, num_bits: int) -> None:
    number_format = build_format(name)
    for dtype in DTYPES:
        x = inputs(number_format, num_bits, dtype).sort().values
        y = rounded(number_format, x, num_bits)
        assert same(rounded(number_format, y, num_bits), y)
        assert (y[1:] >= y[:-1]).all()
        if number_format.is_symmetric:
            off_zero = x[x != 0] if not number_format.has_exact_zero else x
            assert same(rounded(number_format, -off_zero, num_bits), -rounded(number_format, off_zero, num_bits))
        if number_format.has_exact_zero:
            assert not rounded(number_format, torch.zeros(3, dtype=dtype), num_bits).any()


@pytest.mark.parametrize("name", NAMES)
def test_types_are_rounded_alike(name: str) -> None:
    number_format = build_format(name)
    num_bits = bits_of(number_format)
    for x in (torch.randn(6, 40) * 3, torch.randn(130, 140)):
        for dtype in DTYPES:
            given = x.to(dtype)
            y = fake_quantize(given, name, num_bits=num_bits)
            assert torch.equal(y, fake_quantize(given.float(), name, num_bits=num_bits).to(dtype))


# --- infinities and NaN -----------------------------------------------------------------------------------------------


def none_finite(x: Tensor, y: Tensor) -> bool:
    return not bool(y.isfinite().any())


def block_nan(x: Tensor, y: Tensor) -> bool:
    return bool(y[1, :16].isnan().all() and y[0].isfinite().all())


def stays_nan(x: Tensor, y: Tensor) -> bool:
    return bool(y[x.isnan()].isnan().all())


def becomes(value: float) -> Callable[[Tensor, Tensor], bool]:
    def check(x: Tensor, y: Tensor) -> bool:
        others = y[~x.isinf()]
        return same(y[x.isinf()], torch.full((1,), value)) and bool(others.isfinite().all())

    return check


def policy(number_format: NumberFormat, num_bits: int, words: str) -> Callable[[Tensor, Tensor], bool]:
    """What is to hold of a tensor with an infinity or a NaN in its second row, by what the format says of itself."""
    largest = number_format.max_value(num_bits)
    known = {
        "spoils the range": none_finite,
        "makes the tensor NaN": none_finite,
        "makes its block NaN": block_nan,
        "NaN": stays_nan,
        "stays NaN": stays_nan,
        f"saturates at {largest:g}": becomes(largest),
        "clamped to the ends": becomes(largest),
        "becomes inf": becomes(math.inf),
        "becomes nan": becomes(math.nan),
    }
    words = words.partition(" when simulated")[0]
    assert words in known, f"the test does not know what {words!r} means"
    return known[words]


@pytest.mark.parametrize("name", [*NAMES, {"format": "fixed_point", "width": 8, "frac_width": 4}], ids=str)
@pytest.mark.parametrize(("kind", "value"), [("infinity", math.inf), ("NaN", math.nan)])
def test_infinities_and_nan(name: Any, kind: str, value: float) -> None:
    number_format = build_format(name)
    num_bits = bits_of(number_format)
    holds = policy(number_format, num_bits, number_format.special_values()[kind])
    for rows in (2, 600):  # 600: for the kernels
        x = torch.rand(rows, 32, generator=torch.Generator().manual_seed(1)) + 0.1
        x[1, 3] = value
        y = fake_quantize(x, name, num_bits=num_bits)
        # of fixed point the largest value is a number of steps
        steps = y * 16 if not isinstance(name, str) and kind == "infinity" else y
        assert holds(x, steps), y[:2]


# --- what a format has to say -----------------------------------------------------------------------------------------


def assert_declared(number_format: NumberFormat) -> None:
    assert 1 <= number_format.min_bits <= number_format.max_bits <= 32
    assert number_format.ties in ("even", "inward", "outward") and number_format.backward in BACKWARDS
    for num_bits in all_bits(number_format):
        assert number_format.code_bits(num_bits) >= 1 and number_format.bits_per_value(num_bits) >= num_bits
        values = number_format.values(num_bits)
        assert values.dtype == torch.float64 and 2 <= len(values) <= 2**num_bits and values.isfinite().all()
        assert (values.diff() > 0).all() and values[-1] == number_format.max_value(num_bits)
        assert number_format.has_exact_zero <= (0.0 in values.tolist())


@pytest.mark.parametrize("name", NAMES)
def test_values_and_bits_are_declared(name: str) -> None:
    assert_declared(build_format(name))


@pytest.mark.parametrize(
    "lacking",
    [{"values": lambda self, num_bits: torch.empty(0, dtype=torch.float64)}, {"min_bits": 0}, {"max_bits": 64},
     {"bits_per_value": lambda self, num_bits, values_per_scale=None: 0.0}, {"ties": "up"}, {"backward": "none"}],
    ids=lambda lacking: next(iter(lacking)),
)  # fmt: skip
def test_a_format_without_them_is_found(lacking: dict[str, Any]) -> None:
    kind = type(build_format("symmetric"))
    assert_declared(type("Whole", (kind,), {})())
    with pytest.raises(AssertionError):
        assert_declared(type("Lacking", (kind,), lacking)())


def test_formats_without_rounding_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="abstract"):
        type("Nothing", (NumberFormat,), {"name": "nothing"})()
