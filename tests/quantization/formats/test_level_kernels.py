"""C++ kernels that round to levels (`kernels/levels.py`, `kernels/blocks.py`) against the formats' own operations."""

import contextlib
from typing import Any

import pytest
import torch
from torch import Tensor

from fairseq.errors import ConfigError
from fairseq.quantization import fake_quantize
from fairseq.quantization.formats import FORMATS, QParams, build_format
from fairseq.quantization.formats.base import NumberFormat
from fairseq.quantization.kernels import blocks, levels
from fairseq.quantization.observers.base import Request, whole_range
from tests.quantization.formats.tools import hard_inputs

SPECS: list[tuple[Any, int]] = [
    *((name, bits) for name in ("log", "apot") for bits in (2, 3, 5, 6, 7, 8)),
    *((name, build_format(name).fixed_bits or 8) for name in FORMATS.names() if name not in ("log", "apot")),
    ({"format": "fp8_e4m3", "scaled": True}, 8),
    ({"format": "fp4_e2m1", "scaled": True, "subnormals": False}, 4),
    ({"format": "minifloat", "exponent_bits": 3, "mantissa_bits": 0, "top": "fnuz", "saturating": False}, 4),
    ({"format": "minifloat", "exponent_bits": 2, "mantissa_bits": 2, "top": "fn", "saturating": False}, 5),
    ({"format": "minifloat_denorm", "scaled": True}, 8),
    ({"format": "codebook", "values": [0.001 * step for step in range(-17, 50)]}, 7),
    ({"format": "codebook", "values": [1.0, 1.5, 1e-30, 3e38, -2e-45]}, 3),
    ({"format": "ternary", "threshold": 0.0}, 2),
    ({"format": "log", "steps_per_octave": 3}, 8),
]
ROUNDED_IN_CXX = {"fp8_e4m3", "fp8_e5m2_ieee", "nf4", "log", "apot", "codebook", "ternary", "binary", "binary_residual",
                  "binary_unsigned", "minifloat", "minifloat_denorm"}  # fmt: skip


def numbers(number_format: NumberFormat, num_bits: int) -> Tensor:
    """(70, 260) with levels, middles and their neighbours in the first rows; finite."""
    hard = hard_inputs(number_format.values(num_bits).numpy(), torch.float32)
    hard = hard[hard.isfinite() & (hard.abs() < 1e30)]
    x = torch.randn(70, 260, generator=torch.Generator().manual_seed(1)) * 0.3
    count = min(len(hard), x.numel() // 2)
    x.view(-1)[:count] = hard[:count]
    return x


def special(x: Tensor) -> Tensor:
    x = x.clone()
    x[3, 4], x[20, 5], x[-1, -1], x[0, 0], x[1, 1] = torch.nan, torch.inf, -torch.inf, 0.0, -0.0
    return x


def same_bits(found: Tensor, expected: Tensor) -> bool:
    either = found.isnan() & expected.isnan()
    return torch.equal(found.view(torch.int32)[~either], expected.view(torch.int32)[~either])


@pytest.fixture(autouse=True)
def needs_compiler() -> None:
    if levels.library("levels") is None:
        pytest.skip("no C++ compiler")


@pytest.mark.parametrize(("spec", "num_bits"), SPECS, ids=str)
def test_equal_bits(spec: Any, num_bits: int) -> None:
    number_format = build_format(spec)
    x = numbers(number_format, num_bits)
    for axes in ((0, 1), (1,), (0,)):
        whole = whole_range(x, Request(axes, number_format, num_bits))
        qparams = number_format.qparams(whole.low, whole.high, num_bits)
        if not number_format.takes_range:
            nothing = torch.zeros(1, 1)
            qparams = number_format.qparams(nothing, nothing, num_bits)
        for given in (x, special(x)):
            found = torch.full_like(given, 77.0)
            done = levels.fake_quantize(number_format, given, qparams, found)
            if spec in ROUNDED_IN_CXX if isinstance(spec, str) else False:
                assert done or (axes == (0,) and number_format.needs_statistic)
            if not done:
                assert (found == 77).all()
                continue
            assert same_bits(found, number_format.fake_quantize(given, qparams))
            assert levels.fake_quantize(number_format, given, qparams, given) and same_bits(given, found)


@pytest.mark.parametrize(("spec", "num_bits"), SPECS, ids=str)
def test_whole_way(spec: Any, num_bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line's result, of any strides, with given scales, and of infinities."""
    number_format = build_format(spec)
    x = numbers(number_format, num_bits)
    scale = torch.rand(70, 1) + 0.01
    calls: list[dict[str, Any]] = [{}, {"granularity": "token"}, {"dim": 0}]
    if number_format.takes_range and number_format.block is None:
        calls.append({"granularity": "group:20"})
    if number_format.fixed_bits is None:
        calls = [{**call, "num_bits": num_bits} for call in calls]
    with contextlib.suppress(ConfigError):
        number_format.with_scale()
        calls += [{**calls[0], "scale": scale}, {**calls[0], "scale": 0.3}]
    tensors = [x, special(x), x.t(), x[:, ::2], x.view(2, 35, 260).movedim(0, 1), x.bfloat16()]
    found = [fake_quantize(each, spec, **call) for each in tensors for call in calls if _fits(call, each)]
    for module in (levels, blocks):
        monkeypatch.setattr(module, "library", lambda name: None)
    expected = [fake_quantize(each, spec, **call) for each in tensors for call in calls if _fits(call, each)]
    for mine, other in zip(found, expected, strict=True):
        assert same_bits(mine.float(), other.float())


def _fits(call: dict[str, Any], x: Tensor) -> bool:
    return not isinstance(call.get("scale"), Tensor) or x.shape[0] == 70


def test_lists_with_too_many_thresholds_side_by_side_are_left_to_torch() -> None:
    dense = build_format({"format": "codebook", "values": [1 + step * 2.0**-20 for step in range(60)]})
    x = numbers(dense, 6)
    qparams = QParams(torch.ones(1, 1), torch.zeros(1, 1), *dense.code_range(6))
    assert not levels.fake_quantize(dense, x, qparams, torch.empty_like(x))


def test_several_threads_and_sizes_that_fill_no_register(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    x = torch.randn(2 * 3 * 2**16 + 5)
    for spec in ("fp8_e4m3", "nf4", {"format": "log", "steps_per_octave": 4}):
        number_format = build_format(spec)
        bits = number_format.fixed_bits or 8
        qparams = number_format.qparams(x.min()[None], x.max()[None], bits)
        found = torch.empty_like(x)
        assert levels.fake_quantize(number_format, x, qparams, found)
        assert same_bits(found, number_format.fake_quantize(x, qparams))
