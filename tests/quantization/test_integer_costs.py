"""`compute: auto`: the fit, the file, and what the plan shows."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from fairseq.quantization import integer_costs, quantize_model
from fairseq.quantization.integer_costs import SHAPES, Costs, Line, costs

TRUE = Costs(Line(2e-11, 3e-9, 1e-4), Line(5e-12, 3e-9, 4e-4))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    costs.cache_clear()
    yield tmp_path / "fairseq" / "integer_costs.json"
    costs.cache_clear()


@pytest.mark.parametrize("line", [*TRUE, Line(1e-11, 0.0, 1e-4), Line(1e-11, 0.0, 0.0)])
def test_fit(line: Line) -> None:
    found = integer_costs._fit([line.seconds(*shape) for shape in SHAPES])
    for shape in (*SHAPES, (2048, 768, 3072)):
        assert found.seconds(*shape) == pytest.approx(line.seconds(*shape), rel=1e-3)
    noisy = integer_costs._fit(
        [line.seconds(*shape) * factor for shape, factor in zip(SHAPES, (3, 1, 2, 1), strict=True)]
    )
    assert min(noisy) >= 0


def test_measured_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(integer_costs, "measure", lambda device_type: calls.append(device_type) or TRUE)
    assert costs() == TRUE
    costs.cache_clear()
    assert costs() == TRUE and calls == ["cpu"]
    for spoilt in ("{", "[1]", json.dumps({"a": {"simulate": [1]}})):
        cache.write_text(spoilt)
        costs.cache_clear()
        assert costs() == TRUE
    assert len(calls) == 4


def test_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fairseq").write_text("a file where a folder should be")
    monkeypatch.setattr(integer_costs, "measure", lambda device_type: TRUE)
    assert costs() == TRUE


def test_plan_shows_the_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integer_costs, "measure", lambda device_type: TRUE)
    layers = nn.Sequential(nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 2), nn.Linear(2, 128))
    model = quantize_model(layers, "int8", compute="auto", rules=[{"match": "3.*", "compute": "simulate"}])
    chosen = {row.quantizer: row.spec.compute for row in model.quantization.plan.rows}
    assert chosen["0.weight"] == chosen["0.input"] == "integer"
    assert chosen["2.weight"] == chosen["3.weight"] == "simulate"
    assert model[0].quantizers.integer and not model[2].quantizers.integer
    assert "integer" in model.quantization.plan.table() and "auto" not in model.quantization.plan.table()
    model(torch.randn(3, 128)).sum().backward()


def test_settings_without_integers_are_simulated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integer_costs, "measure", lambda device_type: TRUE)
    rules = [{"match": "0.weight", "granularity": "group:8"}]
    model = quantize_model(nn.Sequential(nn.Linear(128, 128)), "int8", compute="auto", rules=rules)
    assert not model[0].quantizers.integer


def test_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    from fairseq.quantization.kernels import build

    monkeypatch.setattr(build, "LEAST_ELEMENTS", 2**60)
    monkeypatch.setattr(integer_costs, "SHAPES", ((8, 16, 16), (64, 16, 16), (64, 64, 64), (128, 64, 16)))
    monkeypatch.setattr(integer_costs, "REPEATS", 1)
    found = integer_costs.measure()
    assert all(line.seconds(64, 64, 64) > 0 for line in found)
