"""ONNX's floating-point types, blocks and codes of 2 bits; what has no type is refused by name."""

import sys
from typing import Any

import pytest
import torch

from fairseq.errors import ConfigError
from fairseq.export.float_types import float_type
from fairseq.export.onnx_file import made_up, serialize
from fairseq.export.runtime import obstacle_to, runner
from fairseq.quantization.formats import FORMATS, FormatSpec, build_format

onnx = pytest.importorskip("onnx")
PATH = "encoder.sentence_encoder.layers.0.fc1"
E4M3 = {"format": "minifloat", "exponent_bits": 4, "mantissa_bits": 3}
WEIGHTS: list[tuple[FormatSpec, dict[str, Any], str]] = [
    ("fp8_e4m3", {}, "FLOAT8E4M3FN"),
    ("fp8_e5m2_ieee", {}, "FLOAT8E5M2"),
    ("fp8_e4m3b11_fnuz", {}, "FLOAT8E4M3FNUZ"),
    ("fp8_e5m2_fnuz", {}, "FLOAT8E5M2FNUZ"),
    (E4M3, {}, "FLOAT8E4M3FNUZ"),
    ({**E4M3, "top": "fn", "scaled": True}, {"granularity": "channel"}, "FLOAT8E4M3FN"),
    ("mxfp8_e4m3", {}, "FLOAT8E4M3FN"),
    ({"format": "mxfp8_e5m2", "block_size": [3, 5]}, {}, "FLOAT8E5M2"),
    ("mxint8", {}, "INT8"),
    ({"format": "block_fp", "width": 4, "block_size": [5, 7]}, {}, "INT4"),
    ("ternary", {"granularity": "channel"}, "INT4"),
    ("binary", {"granularity": "channel"}, "INT4"),
    ({"format": "fixed_point", "width": 8, "frac_width": 7}, {}, "INT8"),
]


def rule(match: str, spec: FormatSpec, **more: Any) -> dict[str, Any]:
    fixed = build_format(spec).fixed_bits
    return {"match": match, "format": spec, **({"bits": fixed} if fixed else {}), **more}


def stored(data: bytes) -> dict[str, str]:
    """Types of the constants by name."""
    constants = onnx.load_from_string(data).graph.initializer
    return {each.name: onnx.TensorProto.DataType.Name(each.data_type) for each in constants}


@pytest.mark.parametrize(("spec", "more", "kind"), WEIGHTS, ids=str)
def test_weights_are_stored_in_the_type_of_their_format(
    classifier: Any, spec: FormatSpec, more: dict[str, Any], kind: str
) -> None:
    """Beside activations in integers, with which onnxruntime fuses; and the values are ours, bit for bit."""
    model = classifier("int8", rules=[rule("*layers.0.fc?.weight", spec, **more)], encoder_layers=1)
    data, found = serialize(model, "head")
    assert stored(data)[f"{PATH}.weight"] == kind
    assert found.code <= 1 and found.logit < 1e-5
    fc1 = model.encoder.sentence_encoder.layers[0].fc1
    quantizer = fc1.quantizers.quantizer("weight")
    nodes = onnx.load_from_string(data).graph.node
    values = next(node.output[0] for node in nodes if node.name == f"{PATH}.weight.values")
    doubled = [node.output[0] for node in nodes if node.op_type == "Mul" and values in node.input]
    name = (doubled or [values])[0]
    weight = runner(data, [name], reference=True)[1](made_up(model)[0])[name]
    assert torch.equal(weight.t(), quantizer.fake(fc1.weight, quantizer.bits(8)))


@pytest.mark.parametrize("spec", ["fp8_e4m3", "fp8_e5m2", "fp8_e4m3_fnuz", "fp8_e5m2_fnuz", "fp8_e4m3b11_fnuz"])
def test_everything_in_floating_point(classifier: Any, spec: str) -> None:
    everything = r"re:.*(input|query|key|value|probs|weight)$"
    model = classifier("int8", rules=[rule(everything, spec)], encoder_layers=1)
    data, found = serialize(model, "head")
    kind = float_type(build_format(spec), 8)[0].name
    assert stored(data)[f"{PATH}.weight"] == stored(data)[f"{PATH}.input.zero_point"] == kind
    assert found.quantizers > 8 and found.code <= 1 and found.share < 0.001 and found.logit < 1e-5


@pytest.mark.parametrize(
    "spec", [{**E4M3, "top": "fn", "scaled": True}, {"format": "fixed_point", "width": 8, "frac_width": 5}, "symmetric"]
)
def test_other_activations(classifier: Any, spec: FormatSpec) -> None:
    """Floating point with a range per channel or tensor; signed codes, which onnxruntime cannot transpose."""
    rules = [rule(r"re:.*(input|query|key|value|probs)$", spec, range="ema")]
    rules.append({"match": "*fc1.input", "granularity": "channel"})
    model = classifier("int8", rules=rules, encoder_layers=1)
    _, found = serialize(model, "head")
    assert found.quantizers > 8 and found.code <= 1 and found.share < 0.01 and found.logit < 1e-5


@pytest.mark.parametrize(("spec", "more", "kind"), [
    ("symmetric", {"bits": 2}, "INT2"), ("affine_int", {"bits": 2, "granularity": "channel"}, "UINT2"),
    ("ternary", {}, "INT2"),
])  # fmt: skip
def test_two_bits(classifier: Any, spec: str, more: dict[str, Any], kind: str) -> None:
    if onnx.defs.onnx_opset_version() < 25:
        pytest.skip("could not import 'onnx': of opset 25")
    model = classifier("int8", rules=[rule("*layers*.weight", spec, **more)], encoder_layers=1)
    data, found = serialize(model, "head", 25)
    assert stored(data)[f"{PATH}.weight"] == kind and found.code <= 1 and found.logit < 1e-5


def test_four_bits_of_floating_point(classifier: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The type is there from opset 23 on, and written where what runs the file here has it."""
    model = classifier("int8", rules=[rule("*layers*.weight", "mxfp4")], encoder_layers=1)
    with pytest.raises(ConfigError, match=r"q_proj.weight in FLOAT4E2M1 is not in ONNX opset 21; use --opset 23"):
        serialize(model, "head")
    if onnx.defs.onnx_opset_version() < 23:
        pytest.skip("could not import 'onnx': of opset 23")
    reason = obstacle_to("FLOAT4E2M1", 4, 23)
    if reason is not None:
        with pytest.raises(ConfigError, match="mxfp4 need the type FLOAT4E2M1: onnxruntime") as error:
            serialize(model, "head", 23)
        assert str(error.value).endswith("q_proj.weight', format: fp8_e4m3}") and "\n" not in str(error.value)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for spec in ("mxfp4", "nvfp4", "fp4_e2m1"):
        model = classifier("int8", rules=[rule("*layers*.weight", spec)], encoder_layers=1)
        data, found = serialize(model, "head", 23)
        assert stored(data)[f"{PATH}.weight"] == "FLOAT4E2M1" and found.code <= 1 and found.logit < 1e-5


def test_types_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert obstacle_to("FLOAT8E4M3FN", 8, 21) is None
    assert obstacle_to("FLOAT7", 7, 21) == "the installed onnx does not know it"
    assert "does not take it" in str(obstacle_to("FLOAT4E2M1", 4, 21))


REFUSED: list[tuple[str, FormatSpec, str]] = [
    ("fc1.input", "fp8_e5m2_ieee", "overflow to infinity or NaN, .* format: fp8_e4m3"),
    ("fc1.input", "mxfp8", "has scales that each block finds, .* format: fp8_e4m3"),
    (
        "fc1.input",
        {"format": "fixed_point", "width": 8, "frac_width": 5, "rounding": "floor"},
        "not rounded to nearest",
    ),
    ("fc1.input", "ternary", "not evenly spaced"),
]


@pytest.mark.parametrize(("place", "spec", "said"), REFUSED, ids=str)
def test_activations_that_are_refused(classifier: Any, place: str, spec: FormatSpec, said: str) -> None:
    model = classifier("int8", rules=[rule(f"*{place}", spec)], encoder_layers=1)
    with pytest.raises(ConfigError, match=f"{place}.* {said}") as error:
        serialize(model, "head")
    assert "\n" not in str(error.value) and f"{{match: '{PATH}.input', format:" in str(error.value)


@pytest.mark.parametrize("name", FORMATS.names())
def test_every_format_is_exported_or_refused_by_name(classifier: Any, name: str) -> None:
    number_format = build_format(name)
    model = classifier("int8", rules=[rule("*layers.0.fc1.weight", name)], encoder_layers=1)
    try:
        data, found = serialize(model, "head")
    except ConfigError as error:
        assert f"{PATH}.weight" in str(error) and "\n" not in str(error)
        assert "--opset" in str(error) or f"{{match: '{PATH}.weight', format: affine_int}}" in str(error)
        assert not number_format.is_uniform
    else:
        assert found.logit < 1e-5 and "FLOAT" not in {stored(data)[f"{PATH}.weight"]}
