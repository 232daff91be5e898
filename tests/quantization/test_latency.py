"""`compute: auto`: the fit, the file, and what the plan shows."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fairseq.modules.multihead_attention import MultiheadAttention
from fairseq.quantization import quantize_model
from fairseq.quantization.layers.matmul import MatMul
from fairseq.quantization.plan import calibrate_latency, latency_cache
from fairseq.quantization.plan.latency import ComputeTimes, Latencies, LinearLatency, OpCount
from fairseq.quantization.plan.latency_cache import latencies

LINEAR = ComputeTimes(LinearLatency(2e-11, 3e-9, 1e-4), LinearLatency(5e-12, 3e-9, 4e-4))
ATTENTION = ComputeTimes(
    LinearLatency(3e-11, 6e-9, 1e-3), LinearLatency(2e-11, 3e-9, 3e-3)
)  # gains with 4 heads of 16, not with 1 of 8
TRUE = Latencies(LINEAR, ATTENTION)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "fairseq" / "integer_costs.json"
    monkeypatch.setattr(latency_cache, "_file", lambda: path)  # another cache folder would compile kernels anew
    latencies.cache_clear()
    yield path
    latencies.cache_clear()


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The devices that were measured, all with the result `TRUE`."""
    calls: list[str] = []
    monkeypatch.setattr(calibrate_latency, "measure", lambda device_type: calls.append(device_type) or TRUE)
    return calls


@pytest.mark.parametrize("line", [*LINEAR, LinearLatency(1e-11, 0.0, 1e-4), LinearLatency(1e-11, 0.0, 0.0)])
def test_fit(line: LinearLatency) -> None:
    works = [OpCount.of_linear(*shape) for shape in calibrate_latency.LINEAR]
    found = calibrate_latency.fit([(work, line.seconds(work)) for work in works])
    for work in (*works, OpCount.of_linear(2048, 768, 3072)):
        assert found.seconds(work) == pytest.approx(line.seconds(work), rel=1e-3)
    noisy = [(work, line.seconds(work) * factor) for work, factor in zip(works, (3, 1, 2, 1), strict=True)]
    assert min(calibrate_latency.fit(noisy)) >= 0


def test_work_of_attention() -> None:
    products, elements = OpCount.of_attention(heads=3, length=5, features=7)
    q, probs = torch.empty(3, 5, 7), torch.empty(3, 5, 5)
    assert products == 2 * 3 * q.numel() * 5  # two products, each with two more in backward
    assert elements == 4 * q.numel() + 2 * probs.numel()  # q, k, v and the result; scores and probabilities


def test_measured_once(cache: Path, measured: list[str]) -> None:
    assert latencies() == TRUE
    latencies.cache_clear()
    assert latencies() == TRUE and measured == ["cpu"]
    (machine,) = json.loads(cache.read_text())
    entry = json.loads(cache.read_text())[machine]
    for spoilt in ("{", "[1]", json.dumps({machine: [1]}), json.dumps({machine: {**entry, "linear": {"simulate": 1}}})):
        cache.write_text(spoilt)
        latencies.cache_clear()
        assert latencies() == TRUE
    assert len(measured) == 5


def test_measured_again_after_a_change_of_the_kernels(
    cache: Path, measured: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here = tmp_path / "code"
    for folder in latency_cache.SOURCES:
        (here / folder).mkdir(parents=True)
    (here / latency_cache.SOURCES[0] / "gemm.cpp").write_text("a")
    monkeypatch.setattr(latency_cache, "PACKAGE", here)
    for text in ("a", "a", "b"):
        (here / latency_cache.SOURCES[0] / "gemm.cpp").write_text(text)
        latencies.cache_clear()
        assert latencies() == TRUE
    assert len(measured) == 2
    assert len(json.loads(cache.read_text())) == 1  # what it was before is not kept


def test_folder_that_cannot_be_written(tmp_path: Path, measured: list[str]) -> None:
    (tmp_path / "fairseq").write_text("a file where a folder should be")
    assert latencies() == TRUE


def test_plan_shows_the_choice(measured: list[str]) -> None:
    layers = nn.Sequential(nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 2), nn.Linear(2, 128))
    model = quantize_model(layers, "int8", compute="auto", rules=[{"match": "3.*", "compute": "simulate"}])
    chosen = {row.quantizer: row.spec.compute for row in model.quantization.plan.rows}
    assert chosen["0.weight"] == chosen["0.input"] == "integer"
    assert chosen["2.weight"] == chosen["3.weight"] == "simulate"
    assert model[0].quantizers.integer and not model[2].quantizers.integer
    lines = {line.split()[0]: line.split("  ")[-1].strip() for line in model.quantization.plan.table().splitlines()}
    assert (lines["0.weight"], lines["2.weight"]) == ("integer, by auto", "simulate, by auto")
    assert lines["3.weight"] == "simulate"
    marked = {row["quantizer"] for row in model.quantization.plan.as_dicts() if row.get("compute_by_auto")}
    assert "0.weight" in marked and "3.weight" not in marked
    model(torch.randn(3, 128)).sum().backward()


@pytest.mark.parametrize("kind", [MultiheadAttention, nn.MultiheadAttention])
@pytest.mark.parametrize(("width", "heads", "gains"), [(64, 4, True), (8, 1, False)])
def test_attention_is_judged_by_its_heads(
    kind: type[nn.Module], width: int, heads: int, gains: bool, measured: list[str]
) -> None:
    arguments = {"self_attention": True} if kind is MultiheadAttention else {}
    model = quantize_model(nn.ModuleDict({"a": kind(width, heads, **arguments)}), "int8", compute="auto")
    computes = {row.quantizer: row.spec.compute for row in model.quantization.plan.rows}
    wanted = "integer" if gains else "simulate"
    assert {computes[f"a.{name}"] for name in ("query", "key", "probs", "value")} == {wanted}


def test_products_of_unknown_shape_are_simulated(measured: list[str]) -> None:
    model = quantize_model(nn.ModuleDict({"product": MatMul()}), "int8", compute="auto")
    assert not model["product"].quantizers.integer and not measured


def test_settings_without_integers_are_simulated(measured: list[str]) -> None:
    rules = [{"match": "0.weight", "granularity": "group:8"}]
    model = quantize_model(nn.Sequential(nn.Linear(128, 128)), "int8", compute="auto", rules=rules)
    assert not model[0].quantizers.integer


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measurements that take no time."""
    from fairseq.native import compiled

    monkeypatch.setattr(compiled, "MIN_KERNEL_ELEMENTS", 2**60)
    monkeypatch.setattr(calibrate_latency, "LINEAR", ((8, 16, 16), (64, 16, 16), (64, 64, 64), (128, 64, 16)))
    monkeypatch.setattr(calibrate_latency, "ATTENTION", ((2, 8, 4), (4, 8, 4), (4, 16, 4), (4, 16, 8)))
    monkeypatch.setattr(calibrate_latency, "REPEATS", 1)


def test_measure(small: None) -> None:
    found = calibrate_latency.measure()
    assert all(line.seconds(OpCount.of_linear(64, 64, 64)) > 0 for line in found.linear)
    assert all(line.seconds(OpCount.of_attention(4, 16, 8)) > 0 for line in found.attention)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_measuring_disturbs_nobody_and_is_not_disturbed(mode: Callable[[], Any], small: None) -> None:
    state = torch.get_rng_state()
    with mode():
        found = calibrate_latency.measure()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(line.seconds(OpCount.of_linear(64, 64, 64)) > 0 for line in found.linear)
