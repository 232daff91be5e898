"""ONNX files: codes within one of ours on equal input, the same scores, integer weights, sizes left open."""

import re
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fairseq.errors import CheckpointError, ConfigError
from fairseq.export.onnx_file import made_up, serialize
from fairseq.export.runtime import runner
from fairseq.quantization.integer_weights import keep_integer_weights

onnx = pytest.importorskip("onnx")

EVERYWHERE = [{"match": "*", "quantize": True}]  # heads, table and output, too
LEARNED = [
    {"match": "*.input", "learned": "scale"},
    {"match": "*.fc1.input", "granularity": "channel"},
    {"match": "*.weight", "learned": "clip"},
]
GROUPS = [{"match": "*.weight", "granularity": "group:16"}, {"match": "*.fc1.input", "quantize": False}]
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "float": ("none", {}),
    "prenorm": ("none", {"encoder_normalize_before": True, "activation_fn": "gelu_accurate"}),
    "int8": ("int8", {}),
    "int4": ("int4", {"rules": EVERYWHERE, "encoder_layers": 1}),
    "cpt": ("cpt_4_8", {}),
    "6 bits": ("cpt_4_8", {"eval_bits": 6, "encoder_layers": 1}),
    "16 and 4": ("ffn4_mha16", {}),
    "learned": ("int8", {"rules": LEARNED, "encoder_layers": 1}),
    "groups": ("int4", {"rules": GROUPS, "encoder_layers": 1}),
    "integer": ("int8", {"rules": [{"match": "*", "compute": "integer"}], "encoder_layers": 1}),
}


def types(data: bytes) -> set[str]:
    """Types of the stored matrices."""
    constants = onnx.load_from_string(data).graph.initializer
    return {onnx.TensorProto.DataType.Name(each.data_type) for each in constants if len(each.dims) == 2}


@pytest.mark.parametrize("case", CASES)
def test_within_one_code(classifier: Any, case: str) -> None:
    preset, settings = CASES[case]
    model = classifier(preset, **settings)
    data, found = serialize(model, "head")
    rows = [] if preset == "none" else [row for row in model.quantization.plan.active if row.role == "activation"]
    assert found.quantizers == sum(not re.search(r"lm_head|heads\.other", row.quantizer) for row in rows)
    assert found.code <= 1 and found.share < 0.02 and found.logit < 1e-5
    # sizes that the comparison has not seen
    tokens = torch.tensor([[0, 9, 8, 7, 2], [0, 5, 2, 1, 1], [0, 2, 1, 1, 1], [0, 30, 31, 32, 2]])
    with torch.no_grad():
        expected = model(tokens, classification_head_name="head")[0]
    torch.testing.assert_close(runner(data)[1](tokens)["logits"], expected, rtol=0, atol=1e-3 * found.scale)


@pytest.mark.parametrize("preset, opset, stored", [("int8", 21, "INT8"), ("int4", 21, "INT4"), ("int4", 17, "INT8")])
def test_weights_are_integers(classifier: Any, preset: str, opset: int, stored: str) -> None:
    if opset < 21:
        pytest.importorskip("onnxruntime", reason="the reference evaluator knows newer operators only")
    model = classifier(preset, encoder_layers=1)
    data, _ = serialize(model, "head", opset)
    assert types(data) == {"FLOAT", stored}
    file = onnx.load_from_string(data)
    assert [each.version for each in file.opset_import] == [opset]
    path = "encoder.sentence_encoder.layers.0.fc1.weight"
    codes = next(onnx.numpy_helper.to_array(each) for each in file.graph.initializer if each.name == path)
    fc1 = model.encoder.sentence_encoder.layers[0].fc1
    expected = fc1.quantizers.quantizer("weight").codes(fc1.weight, int(preset[3:]))
    assert torch.equal(torch.from_numpy(codes.astype("int8")), expected.t())


def test_affine_weights_are_exact(classifier: Any) -> None:
    """The affine grid's values come out of the file bit for bit, though no integer stands for its zero point."""
    model = classifier("cpt_4_8", encoder_layers=1)
    data, _ = serialize(model, "head")
    fc1 = model.encoder.sentence_encoder.layers[0].fc1
    nodes = onnx.load_from_string(data).graph.node
    values = next(n for n in nodes if n.name == "encoder.sentence_encoder.layers.0.fc1.weight.values")
    shifted = next(n.output[0] for n in nodes if values.output[0] in n.input)
    found = runner(data, [shifted], reference=True)[1](made_up(model)[0])[shifted]
    assert torch.equal(found.t(), fc1.quantizers.quantizer("weight").fake(fc1.weight, 8))


def test_integer_weights_give_the_same_file(classifier: Any) -> None:
    model = classifier("int4", encoder_layers=1, rules=EVERYWHERE)
    data, _ = serialize(model, "head")
    assert serialize(keep_integer_weights(model), "head")[0] == data


def test_padding_changes_nothing(classifier: Any) -> None:
    _, run = runner(serialize(classifier("int8", encoder_layers=1), "head")[0])
    short = torch.tensor([[0, 9, 8, 7, 2]])
    longer = torch.cat([short, torch.ones(1, 6, dtype=torch.int64)], dim=1)
    torch.testing.assert_close(run(short)["logits"], run(longer)["logits"], rtol=0, atol=1e-6)


def test_reference_evaluator(classifier: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Machines without onnxruntime check the file, too."""
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    _, found = serialize(classifier("int4", encoder_layers=1), "other")
    assert "reference" in found.runtime and found.code <= 1 and found.logit < 1e-5


BAD = {
    "range: ema": {"range": "minmax"},
    "granularity: tensor, range: ema": {"range": "minmax", "granularity": "token"},
    "rounding: nearest": {"rounding": "stochastic"},
}


@pytest.mark.parametrize("cure", BAD)
def test_what_is_no_constant_is_refused(classifier: Any, cure: str) -> None:
    model = classifier("int8", rules=[{"match": "*.fc1.input", **BAD[cure]}], encoder_layers=1)
    with pytest.raises(ConfigError) as error:
        serialize(model, "head")
    rule = f"{{match: 'encoder.sentence_encoder.layers.0.fc1.input', {cure}}}"
    assert str(error.value).endswith(rule) and "\n" not in str(error.value)


def test_opsets(classifier: Any) -> None:
    for preset, opset, said in (("int16", 20, "--opset 21"), ("int8", 9, "17 to"), ("int8", 999, "17 to")):
        with pytest.raises(ConfigError, match=said):
            serialize(classifier(preset, encoder_layers=1), "head", opset)


class Doubled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def test_other_modules_are_refused(classifier: Any) -> None:
    model = classifier(encoder_layers=1)
    model.classification_heads["head"].dense = Doubled(32, 32)
    with pytest.raises(CheckpointError, match=r"head\.dense: Doubled"):
        serialize(model, "head")
    model = classifier(encoder_layers=1)
    model.classification_heads["head"].dense.register_forward_hook(lambda module, args, y: 2 * y)
    with pytest.raises(CheckpointError, match="does not compute what ours does"):
        serialize(model, "head")
