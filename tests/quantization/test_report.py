"""The report: codes, clipping, SQNR and cost shares against values computed here."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from fairseq.errors import ConfigError
from fairseq.quantization import quantize_model
from fairseq.quantization.analysis.heatmap import by_layer, write_heatmap
from fairseq.quantization.analysis.report import report, table, to_json


def test_weights_without_data(transformer: nn.Module) -> None:
    model = quantize_model(transformer, "int8", rules=[{"match": "*.fc1.weight", "bits": 4}])
    rows = {row.quantizer: row for row in report(model)}
    assert set(rows) == {row.quantizer for row in model.quantization.plan.rows}
    row, weight = rows["layers.0.fc1.weight"], model.layers[0].fc1.weight.detach()
    rounded = model.layers[0].fc1.quantizers.quantizer("weight").fake(weight, 4)
    assert row.num_bits == 4 and row.clipped == 0 and row.format == "symmetric"
    assert row.sqnr == pytest.approx(10 * math.log10(weight.square().sum() / (rounded - weight).square().sum()))
    assert row.codes_used == 100
    assert rows["layers.0.fc1.input"].num_bits is None and rows["embed.weight"].format == ""
    more = {row.quantizer: row for row in report(quantize_model(model, "int8"), num_bits=6)}
    assert more["layers.0.fc1.weight"].sqnr > row.sqnr + 9  # about 6 dB per bit


def test_activations_and_costs_on_data(transformer: nn.Module, tokens: torch.Tensor) -> None:
    rules = [{"match": "*.fc2.input", "range": {"name": "percentile", "percent": 90}}]
    model = quantize_model(transformer, "int8", rules=rules)
    rows = {row.quantizer: row for row in report(model, run=lambda m: m(tokens).square().sum().backward())}
    assert 5 < rows["layers.0.fc2.input"].clipped < 25 and rows["layers.0.fc1.input"].clipped == 0
    assert rows["layers.0.fc1.input"].sqnr > 25 and rows["layers.1.self_attn.probs"].sqnr > 20
    assert rows["layers.0.fc1.grad_output"].num_bits == 8 and rows["layers.0.fc1.grad_output"].sqnr > 10
    shares = {row.quantizer.rpartition(".")[0]: row.bitops for row in rows.values() if row.role == "gradient"}
    assert sum(shares.values()) == pytest.approx(100) and shares["classification_heads"] > 0
    text = table(list(rows.values()))
    assert len(text.splitlines()) == len(rows) + 1 and "SQNR dB" in text
    assert json.loads(to_json(list(rows.values())))[0]["quantizer"] in rows


def test_looking_changes_nothing(transformer: nn.Module, tokens: torch.Tensor) -> None:
    model = quantize_model(transformer, "int8")
    model(tokens)
    model.quantization.end_update(model)
    observer = model.layers[0].fc1.quantizers.quantizer("input").observer
    report(model.eval(), run=lambda m: m(tokens))
    before = observer.running_width.clone()
    model.train()
    model.quantization.begin_micro_batch(5)
    report(model, run=lambda m: m(tokens))
    assert observer.pending_count == 1  # the run itself, and not once more per measurement
    assert torch.equal(before, observer.running_width)


def test_float_model() -> None:
    with pytest.raises(ConfigError, match="not quantized"):
        report(nn.Linear(2, 2))


def test_heat_map(transformer: nn.Module, tokens: torch.Tensor, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    model = quantize_model(transformer, "int8")
    rows = report(model, run=lambda m: m(tokens))
    layers, columns, values = by_layer(rows, "sqnr")
    assert layers[:3] == ["embed", "layers.0", "layers.1"] or layers[1:3] == ["layers.0", "layers.1"]
    assert values[layers.index("layers.1")][columns.index("fc1.weight")] > 20
    for value in ("sqnr", "num_bits"):
        write_heatmap(rows, tmp_path / f"{value}.png", value)
        assert (tmp_path / f"{value}.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ConfigError, match="did you mean 'sqnr'"):
        by_layer(rows, "snqr")
    with pytest.raises(ConfigError, match="need data"):
        write_heatmap(report(model), tmp_path / "x.png", "bitops")
