"""Every statistic against torch, over one tensor and over several passes of several tensors."""

import math

import pytest
import torch

from fairseq.errors import ConfigError
from fairseq.graph.statistics import STATISTICS, build_statistic


def measure(name: str, tensors: list[torch.Tensor], **settings) -> dict:
    statistic = build_statistic(name, **settings)
    for _ in range(5):
        for x in tensors:
            statistic.update(x)
        if not statistic.next_pass():
            return statistic.result()
    raise AssertionError("never has enough")


def make(dtype: torch.dtype, several: bool, offset: float = 0.0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    sizes = [(7, 5003), (3, 4, 5), (1,), (0, 4), (70000,)] if several else [(123, 457)]
    return [(torch.randn(size, generator=generator, dtype=torch.float64) + offset).to(dtype) for size in sizes]


DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
SEVERAL = pytest.mark.parametrize("several", [False, True], ids=["one", "several"])


@SEVERAL
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_variances(dtype: torch.dtype, several: bool, offset: float) -> None:
    tensors = make(dtype, several, offset)
    values = torch.cat([x.flatten() for x in tensors]).double()
    online, precise = measure("variance_online", tensors), measure("variance_precise", tensors)
    assert precise["count"] == online["count"] == values.numel()
    assert precise["mean"] == pytest.approx(float(values.mean()), rel=1e-12, abs=1e-14)
    assert precise["variance"] == pytest.approx(float(values.var()), rel=1e-10)
    scale = max(abs(precise["mean"]), precise["variance"] ** 0.5)
    assert online["mean"] == pytest.approx(precise["mean"], abs=1e-6 * scale)
    assert online["variance"] == pytest.approx(precise["variance"], rel=1e-6 if offset == 0 else 1e-5)


def test_variance_of_one_value_is_undefined() -> None:
    for name in ("variance_online", "variance_precise"):
        assert math.isnan(measure(name, [torch.ones(1)])["variance"]) and math.isnan(measure(name, [])["mean"])


@SEVERAL
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("quantile", [0.975, 0.5, 1.0, 0.3])
def test_quantiles_equal_those_of_torch(dtype: torch.dtype, several: bool, absolute: bool, quantile: float) -> None:
    tensors = make(dtype, several)
    values = torch.cat([x.flatten() for x in tensors]).double()
    expected = torch.quantile(
        values.abs() if absolute else values, torch.tensor([1 - quantile, quantile], dtype=torch.float64)
    )
    found = measure("range_quantile", tensors, quantile=quantile, abs=absolute)
    assert [found["min"], found["max"]] == pytest.approx(expected.tolist(), rel=1e-12, abs=1e-12)
    assert found["count"] == values.numel() and found["range"] == found["max"] - found["min"]


@pytest.mark.parametrize("several", [False, True])
def test_quantiles_of_special_values(several: bool) -> None:
    values = torch.tensor([-math.inf, -0.0, 0.0, 0.0, 1e-45, -1e-45, math.inf, 3.0, 3.0])
    parts = list(values.split(4)) if several else [values]
    for quantile in (0.5, 0.75, 1.0):
        found = measure("range_quantile", parts, quantile=quantile)
        assert found["max"] == float(values.sort().values[int(quantile * 8)])
    assert math.isnan(measure("range_quantile", [*parts, torch.tensor([math.nan])])["max"])
    assert math.isnan(measure("range_quantile", [])["max"])


def test_quantile_beyond_the_limit_of_torch() -> None:
    ramp = torch.arange(256, dtype=torch.uint8).view(torch.float8_e5m2).to(torch.float16)
    ramp = ramp[ramp.isfinite()]
    values = ramp.repeat(2**24 // ramp.numel() + 100)
    assert values.numel() > 16_777_216
    with pytest.raises(RuntimeError, match="too large"):
        torch.quantile(values.float(), 0.5)
    found = measure("range_quantile", [values], quantile=0.9)
    place = 0.9 * (values.numel() - 1)
    levels = ramp.sort().values  # each occurs equally often
    assert found["max"] == float(levels[int(place / values.numel() * levels.numel())])
    assert found["count"] == values.numel()


def passes_and_values(tensors: list[torch.Tensor], quantile: float) -> tuple[int, list[float]]:
    statistic, passes = build_statistic("range_quantile", quantile=quantile), 1
    while True:
        for x in tensors:
            statistic.update(x)
        if not statistic.next_pass():
            break
        passes += 1
    return passes, [statistic.result()["min"], statistic.result()["max"]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("kind", ["normal", "relu", "clamped", "grid", "constant", "drift", "heavy digit"])
@pytest.mark.parametrize("quantile", [0.975, 0.5, 1.0])
def test_quantiles_of_more_values_than_are_kept(kind: str, quantile: float, dtype, monkeypatch) -> None:
    """One look is enough but where later tensors differ much from the first, or one digit has too many values."""
    monkeypatch.setattr("fairseq.graph.near_ranks.REACH", 4)
    monkeypatch.setattr("fairseq.graph.near_ranks.LEAST_REACH", 256)
    generator = torch.Generator().manual_seed(3)
    tensors = list(torch.randn(6, 40_000, generator=generator, dtype=dtype))
    change = {
        "normal": lambda x, number: x,
        "relu": lambda x, number: x.relu(),
        "clamped": lambda x, number: x.clamp(-1, 1),
        "grid": lambda x, number: (8 * x).round() / 8,
        "constant": lambda x, number: torch.full_like(x, -3.3),
        "drift": lambda x, number: x * (1 + number) + 20 * number,
        "heavy digit": lambda x, number: 1 + x.abs() * 2**-12,
    }[kind]
    tensors = [change(x, number) for number, x in enumerate(tensors)]
    passes, found = passes_and_values(tensors, quantile)
    values = torch.cat(tensors).double()
    expected = torch.quantile(values, torch.tensor([1 - quantile, quantile], dtype=torch.float64))
    assert found == pytest.approx(expected.tolist(), rel=1e-13, abs=0)
    if kind not in ("drift", "heavy digit"):
        assert passes == 1
    elif kind == "heavy digit" or quantile == 0.5:
        assert passes == dtype.itemsize // 2


def test_what_is_kept_for_quantiles_is_bounded(monkeypatch) -> None:
    monkeypatch.setattr("fairseq.graph.near_ranks.REACH", 4)
    monkeypatch.setattr("fairseq.graph.near_ranks.LEAST_REACH", 256)
    generator, statistic = torch.Generator().manual_seed(3), build_statistic("range_quantile")
    for number in range(1, 11):
        statistic.update(torch.randn(100_000, generator=generator))
        assert sum(map(len, statistic.near.parts)) < 32 * 4 * (100_000 * number) ** 0.5


@SEVERAL
def test_ranges_and_means(several: bool) -> None:
    tensors = make(torch.float32, several)
    values = torch.cat([x.flatten() for x in tensors])
    low, high = float(values.min()), float(values.max())
    assert measure("range_min_max", tensors) == {
        "min": low, "max": high, "range": high - low, "count": values.numel()
    }  # fmt: skip
    assert measure("range_min_max", tensors, abs=True)["min"] == float(values.abs().min())
    mean, sigma = float(values.double().mean()), float(values.double().std())
    found = measure("range_n_sigma", tensors, num_sigma=2)
    assert [found["min"], found["max"]] == pytest.approx([mean - 2 * sigma, mean + 2 * sigma], rel=1e-5)
    assert measure("abs_mean", tensors)["abs_mean"] == pytest.approx(float(values.double().abs().mean()), rel=1e-7)
    recorded = measure("record", tensors)
    assert torch.equal(recorded["data"], values) and recorded["size_in_bytes"] == 4 * values.numel()


@SEVERAL
def test_histograms_equal_those_of_torch(several: bool) -> None:
    tensors = make(torch.float32, several)
    values = torch.cat([x.flatten() for x in tensors])
    found = measure("histogram", tensors, bins=20)
    assert found["bins"] == torch.histc(values, 20).long().tolist() and sum(found["bins"]) == found["count"]
    assert (found["min"], found["max"]) == (float(values.min()), float(values.max()))
    given = measure("histogram", tensors, bins=8, low=-1, high=1)
    assert given["bins"] == torch.histc(values, 8, -1, 1).long().tolist()
    odd = torch.tensor([1.0, math.nan, math.inf, 3.0])
    assert measure("histogram", [odd], bins=2)["bins"] == [1, 1]
    assert measure("histogram", [torch.ones(3)], bins=2)["bins"] == [0, 3]


@pytest.mark.parametrize("name", STATISTICS)
def test_statistics_keep_no_tensor_that_may_change(name: str) -> None:
    tensors = make(torch.float32, True)
    expected = str(measure(name, [x.clone() for x in tensors]))
    statistic = build_statistic(name)
    while True:
        for x in tensors:
            seen = x.clone()
            statistic.update(seen)
            seen.fill_(99)
        if not statistic.next_pass():
            break
    assert str(statistic.result()) == expected


def test_one_line_for_what_is_wrong() -> None:
    with pytest.raises(ConfigError, match="unknown statistic 'range_minmax'; did you mean 'range_min_max'"):
        build_statistic("range_minmax")
    with pytest.raises(ConfigError, match="unknown setting 'quantil' in statistic range_quantile; did you mean"):
        build_statistic("range_quantile", quantil=0.5)
    with pytest.raises(ConfigError, match="from 0 to 1"):
        build_statistic("range_quantile", quantile=97)
    with pytest.raises(ConfigError, match="at least one bin"):
        build_statistic("histogram", low=1)
