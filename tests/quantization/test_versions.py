"""Names that changed their meaning: files keep the one that they were written with, configs are told of the new one."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fairseq.checkpoint.packed import read_packed
from fairseq.checkpoint.upgrade import upgrade_state
from fairseq.checkpoint_utils import load_checkpoint_to_cpu
from fairseq.errors import CheckpointError
from fairseq.quantization import quantize_model, read_config, read_plan
from fairseq.quantization.formats import build_format
from fairseq.quantization.observers import OBSERVERS
from fairseq.quantization.products.packed_weight import pack_weight
from fairseq.quantization.quantizer import WEIGHT, QuantizationContext, Quantizer, QuantizerSpec
from fairseq.quantization.versions import PACKED_VERSION

X = torch.tensor([0.3, 1.0, 2.0])


def model(*rules: dict[str, Any], preset: str = "int8") -> nn.Module:
    return quantize_model(nn.Sequential(nn.Linear(4, 4)), preset, rules=list(rules))


def test_which_zero_point() -> None:
    assert build_format("affine").name == build_format("affine_int").name == "affine"
    for name, zero_point in (("affine", 0.0), ("affine_int", 0.0), ("affine_float_zp", 0.3)):
        assert build_format(name).qparams(X.amin(), X.amax(), 8).zero_point == torch.tensor(zero_point), name
    assert OBSERVERS.lookup("running") is OBSERVERS.lookup("ema_from_zero")


def test_presets_are_as_before() -> None:
    plan = model().quantization.plan
    assert [plan[f"0.{name}"].spec.format for name in ("input", "weight")] == ["affine", "symmetric"]
    plan = model(preset="cpt_4_8").quantization.plan
    rows = {name: plan[f"0.{name}"].spec for name in ("input", "weight", "grad_output")}
    assert {spec.format for spec in rows.values()} == {"affine_float_zp"} and rows["input"].range == "ema_from_zero"


def test_aliases_are_told_and_compared_by_their_names() -> None:
    settings = {"format": "affine_int", "range": {"name": "running", "momentum": 0.5}}
    spec = model({"match": "0.input", **settings}).quantization.plan["0.input"].spec
    assert spec.describe()["format"] == "affine" and spec.describe()["range"] == "ema_from_zero(momentum=0.5)"


def test_plain_affine_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    model({"match": "0.input", "format": "affine"}, {"match": "0.weight", "format": "affine"})
    (record,) = caplog.records
    assert record.levelname == "WARNING" and "\n" not in record.getMessage()
    assert all(name in record.getMessage() for name in ("'0.input'", "affine_int", "affine_float_zp"))
    caplog.clear()
    model({"match": "0.input", "format": "affine_int"}, {"match": "0.weight", "format": "affine_float_zp"})
    model()
    assert not caplog.records


@pytest.mark.parametrize(("version", "formats"), [(None, ["affine_float_zp", "affine"]), (2, ["affine", "affine"])])
def test_packed_weights(version: int | None, formats: list[str]) -> None:
    weight = torch.randn(3, 5) + 1
    for written, meant in zip(("affine", "affine_int"), formats, strict=True):
        quantizer = Quantizer("w", WEIGHT, QuantizerSpec(format=meant), QuantizationContext(), shape=(3, 5))
        entry = pack_weight(quantizer, weight, 4).as_dict()
        assert entry.pop("version") == PACKED_VERSION
        entry["format"] = written
        found = read_packed(entry if version is None else {"version": version, **entry})
        assert found.format == meant and torch.equal(found.values(), quantizer.fake(weight, 4))
    for bad in (4, 0, "2", True):
        with pytest.raises(ValueError, match=r"is of version .*, and this build reads up to 3"):
            read_packed({**entry, "version": bad})


def checkpoint(version: int | None) -> dict[str, Any]:
    rules = [{"match": "*.input", "format": "affine"}, {"match": "*.weight", "format": "affine_int"}, {"match": "x"}]
    rows = [{"format": "affine", "range": "running(momentum=0.8)"}, {"format": "affine_int", "range": "ema"}, {}]
    return {
        "cfg": {"quantization": {"preset": "int8", "rules": rules}},
        "quantization": {"plan": rows, **({} if version is None else {"version": version})},
        "model": {},
    }


def test_checkpoints() -> None:
    for version, meant in ((None, "affine_float_zp"), (2, "affine_int")):
        state = upgrade_state(checkpoint(version))
        rules = state["cfg"]["quantization"]["rules"]
        assert [rule.get("format") for rule in rules] == [meant, "affine_int", None]
        names = ["affine_float_zp" if version is None else "affine", "affine", None]
        assert [row.get("format") for row in state["quantization"]["plan"]] == names
        assert state["quantization"]["plan"][0]["range"] == "ema_from_zero(momentum=0.8)"
        assert upgrade_state(state)["cfg"]["quantization"]["rules"] == rules  # once more changes nothing
    for strange in (
        {"quantization": 3},
        {"quantization": {"plan": [4, None]}},
        {"cfg": {"quantization": {"rules": 5}}},
    ):
        upgrade_state({**checkpoint(2), **strange})  # others look at what it should be


@pytest.mark.parametrize("version", [3, 0, "2", [], True])
def test_a_later_version_is_an_error_that_names_the_file(version: Any, tmp_path: Path) -> None:
    torch.save({"extra_state": {}, **checkpoint(version)}, tmp_path / "later.pt")
    with pytest.raises(CheckpointError, match=r"later\.pt.* version .*; this build reads up to 2") as error:
        load_checkpoint_to_cpu(str(tmp_path / "later.pt"))
    assert "\n" not in str(error.value)


def test_plan_files() -> None:
    quantized = model({"match": "0.input", "format": "affine_float_zp"}).quantization
    state = {"config": {"preset": "int8", "rules": [{"match": "0.input", "format": "affine"}]}, "plan": []}
    for version in ({}, {"version": 1}):
        assert read_config(read_plan(json.dumps({**version, **state}))["config"]) == quantized.config
    assert read_plan(json.dumps({"version": 2, **state}))["config"]["rules"][0]["format"] == "affine_int"


NO_PLANS = ("", "[]", "{}", '{"config": 1, "plan": 2}', '{"config": {"rules": [3]}, "plan": []}', '{"version": 9}',
            '{"version": []}', "[" * 100000, '{"config": {"rules": []}, "plan": [4]}')  # fmt: skip


@pytest.mark.parametrize("text", NO_PLANS, ids=range(len(NO_PLANS)))
def test_what_is_no_plan_is_an_error_in_one_line(text: str) -> None:
    with pytest.raises(CheckpointError, match=r"quantization_plan\.json") as error:
        read_plan(text, "quantization_plan.json")
    assert "\n" not in str(error.value)
