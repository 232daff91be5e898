"""Quantize by type, name and regex; remove nodes; passes of one's own: exactly what is named changes."""

import copy
import csv
import importlib

import pytest
import torch
from torch import nn

from fairseq.errors import ConfigError
from fairseq.graph import quantize, register_pass, remove, run_pass, trace
from fairseq.graph.passes.edit import erase
from fairseq.graph.passes.registry import PASSES
from fairseq.graph.passes.select import select
from fairseq.quantization import get_quantization
from tests.examples.plugins import plugin
from tests.graph.models import MODELS, encoder, jsc_tiny, random

INTEGER = {
    "name": "integer", "data_in_width": 8, "data_in_frac_width": 4, "weight_width": 8, "weight_frac_width": 4,
    "bias_width": 8, "bias_frac_width": 4,
}  # fmt: skip


def wide(frac_width: int) -> dict:
    return {key: (32 if key.endswith("_width") else value) for key, value in INTEGER.items()} | {
        f"{operand}_frac_width": frac_width for operand in ("data_in", "weight", "bias")
    }


def test_jsc_tiny_by_type() -> None:
    """MASE's own example: one of one Linear changes, and nothing else."""
    graph = trace(jsc_tiny().eval(), {"input": random(8, 16)})
    config = {"by": "type", "default": {"config": {"name": None}}, "linear": {"config": INTEGER}}
    given = copy.deepcopy(config)
    after, result = quantize(graph, config)
    assert config == given
    assert result.changed == ["2"] and after.layer_types()["QLinear"] == 1
    assert {row["type"]: (row["total"], row["changed"], row["unchanged"]) for row in result.histogram()} == {
        "BatchNorm1d": (1, 0, 1), "Linear": (1, 1, 0), "ReLU": (2, 0, 2)
    }  # fmt: skip
    layer, x = after.model[2], random(8, 16)
    fixed = [(value * 16).round().clamp(-128, 127) / 16 for value in (x, layer.weight, layer.bias)]
    with torch.no_grad():
        torch.testing.assert_close(layer(x, num_bits=8), nn.functional.linear(*fixed))


@pytest.mark.parametrize(
    ("by", "pattern"), [("type", "conv2d"), ("name", "1.body.3"), ("regex", r"[12]\.body\.[03]")], ids=str
)
def test_exactly_the_matched_nodes_change(by: str, pattern: str) -> None:
    make, inputs = MODELS["conv_net"]
    graph = trace(make().eval(), inputs(2, 9))
    _, result = quantize(graph, {pattern: {"weight": {"format": "symmetric", "bits": 4}, "input": "fp8_e4m3"}}, by)
    assert result.changed == select(graph.model, pattern, by)
    assert all(
        row.after == "QConv2d (weight: 4 bits symmetric, input: 8 bits fp8_e4m3)" for row in result.rows if row.changed
    )


def test_a_second_call_replaces_the_first_and_equals_itself() -> None:
    x, model = {"input": random(8, 16)}, jsc_tiny().eval()
    other, before = copy.deepcopy(model), copy.deepcopy(model)
    first, one = quantize(model, {"linear": INTEGER}, inputs=x)
    second, two = quantize(other, {"linear": INTEGER}, inputs=x)
    third, _ = quantize(second, {"linear": INTEGER})
    assert one == two and not one.differences(two)
    assert torch.equal(first(**x), second(**x)) and torch.equal(first(**x), third(**x))
    assert not torch.equal(first(**x), before(**x))
    last, result = quantize(third, {"linear": "NA"})
    assert get_quantization(last.model) is None and torch.equal(last(**x), before(**x)) and result.changed == ["2"]


def mobilenet() -> nn.Module:
    torch.manual_seed(0)
    with plugin("vision"):
        return importlib.import_module("vision.models.mobilenet_v2").MobileNetV2(width_mult=0.25)


@pytest.mark.parametrize("name", ["roberta", "jsc_tiny", "conv_net", "mobilenet", "encoder", "recurrent"])
def test_parameters_survive_and_wide_formats_change_nothing(name: str) -> None:
    """Every quantizable layer; keys, biases, running statistics, dtype and device."""
    images = mobilenet, lambda n, t: {"images": random(n, 3, 32, 32)}
    make, inputs = images if name == "mobilenet" else MODELS[name]
    model = make().eval()
    with torch.no_grad():
        for buffer in model.buffers():
            buffer.add_(0.05 if buffer.is_floating_point() else 1)  # statistics that a new layer would not have
        expected = model(**inputs(3, 9))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    graph, result = quantize(model, {"default": wide(16)}, inputs=inputs(2, 9))
    after = graph.model.state_dict()
    assert list(after) == list(before) and result.changed
    for key, value in before.items():
        assert torch.equal(after[key], value) and after[key].dtype == value.dtype and after[key].device == value.device
    with torch.no_grad():
        found = graph.model(**inputs(3, 9))
    expected, found = (value[0] if isinstance(value, tuple) else value for value in (expected, found))
    assert not torch.equal(found, expected)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"name": "minifloat_ieee", "weight_width": 8, "weight_exponent_width": 4}, "minifloat"),
        ({"name": "minifloat_denorm", "weight_width": 8, "weight_exponent_width": 4}, "minifloat_denorm"),
        ({"name": "log", "weight_width": 8, "weight_exponent_bias": "NA"}, "log"),
        ({"name": "block_fp", "weight_width": 8, "weight_exponent_width": 8, "weight_block_size": [1, 16]}, "block_fp"),
        ({"name": "block_minifloat", "weight_width": 8, "weight_exponent_width": 4}, "block_minifloat"),
        ({"name": "block_log", "weight_width": 8, "weight_exponent_bias_width": 8}, "block_log"),
        ({"name": "mxint", "weight_width": 8, "weight_block_size": [32]}, "block_fp"),
        ({"name": "mxfp", "weight_exponent_width": 4, "weight_frac_width": 3}, "mxfp8_e4m3"),
        ({"name": "binary", "data_in_width": 8, "weight_width": 1}, "binary"),
        ({"name": "ternary", "weight_width": 2, "weight_scaling_factor": "NA"}, "ternary"),
        ({"name": "scale_integer", "weight_width": 4}, "symmetric"),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else "",
)
def test_formats_by_the_keys_of_mase(config: dict, expected: str) -> None:
    graph, result = quantize(jsc_tiny().eval(), {"linear": config}, inputs=random(8, 16))
    assert result.changed == ["2"] and expected in result.rows[2].after
    assert bool(result.notes) == ("data_in_width" in config)
    assert graph(random(8, 16)).isfinite().all()


@pytest.mark.parametrize(
    ("config", "by", "line"),
    [
        ({"linaer": INTEGER}, "type", "no module of type 'linaer' in Sequential; nearest is 'Linear'"),
        ({"3.fc": INTEGER}, "name", "no module named '3.fc' in Sequential; nearest is '3'"),
        ({"0": INTEGER}, "regex_nam", "unknown way to choose modules 'regex_nam' in by; did you mean 'regex_name'?"),
        ({"dropout": INTEGER}, "type", "no module of type 'dropout' in Sequential"),
        ({"linear": {**INTEGER, "weigth_width": 8}}, "type", "unknown key 'weigth_width' in linear"),
        ({"linear": {"name": "lutnet"}}, "type", "a network of lookup tables"),
        ({"linear": {"name": "integer", "weight_frac_width": 2}}, "type", "integer needs weight_width"),
        ({"linear": {"weight": {"bit": 4}}}, "type", "unknown key 'bit' in linear.weight; did you mean 'bits'?"),
        ({"linear": {"input": {"range": "ema"}}}, "type", "2.input: the range ema is averaged over batches"),
    ],
)
def test_errors_are_one_line_and_change_nothing(config: dict, by: str, line: str) -> None:
    graph = trace(jsc_tiny().eval(), {"input": random(8, 16)})
    with pytest.raises(ConfigError) as error:
        quantize(graph, config, by)
    assert line in str(error.value) and "\n" not in str(error.value)
    assert get_quantization(graph.model) is None


def test_ranges_that_are_averaged_take_calibration() -> None:
    config = {"linear": {"weight": "symmetric", "input": {"format": "affine", "range": "ema"}}}
    graph, _ = quantize(jsc_tiny().eval(), config, inputs=random(8, 16), calibration=[random(8, 16), random(4, 16)])
    assert "ema" in str(get_quantization(graph.model).plan)


def test_result_is_saved_as_tables(tmp_path) -> None:
    _, result = quantize(jsc_tiny().eval(), {"linear": INTEGER}, inputs=random(8, 16))
    table, totals = result.save(tmp_path / "new")
    with open(table) as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows if row["changed"] == "True"] == ["2"]
    assert totals.read_text().splitlines()[0] == "type,total,changed,unchanged"


# --- nodes ------------------------------------------------------------------------------------------------------------


def test_dropout_is_removed_from_graph_and_model() -> None:
    """Six nodes become none; the model keeps its class and keys, and computes in training what it does without them."""
    model = encoder().train()
    reference, x = copy.deepcopy(model), {"src": random(2, 9, 16)}
    graph = trace(model, x)
    nodes = [info.name for info in graph.nodes if info.type == "Dropout"]
    after, result = remove(graph, nodes)
    assert (len(nodes), graph.layer_types()["Dropout"], after.layer_types().get("Dropout", 0)) == (6, 6, 0)
    assert len(result.changed) == 6 and {row.after for row in result.rows if row.changed} == {None}
    assert type(after.model) is nn.TransformerEncoder and list(model.state_dict()) == list(reference.state_dict())
    for module in reference.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    torch.manual_seed(0)
    found = model(**x)
    torch.manual_seed(0)
    torch.testing.assert_close(found, reference(**x))
    _, again = run_pass(trace(encoder(), x), "remove", {"pattern": "dropout"})
    assert again.changed == result.changed


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.act = nn.Linear(4, 4), nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.act(self.fc(self.act(x)))) + x


def test_a_function_is_removed_from_the_graph() -> None:
    model = Shared()
    graph, x = trace(model, {"x": random(3, 4)}), random(5, 4)
    after, result = remove(graph, ["tanh", "act_1"])
    assert torch.equal(after(x), model.fc(model.act(x)) + x)
    assert after.model.fc is model.fc and list(after.model.state_dict()) == list(model.state_dict())
    assert torch.equal(graph(x), model(x)) and {row.name for row in result.rows if row.after is None} == {
        "act#2",
        "tanh",
    }
    quantized, _ = quantize(after, {"linear": INTEGER})
    assert quantized.layer_types()["QLinear"] == 1


def test_nodes_in_use_are_not_erased() -> None:
    graph = trace(Shared(), {"x": random(3, 4)})
    with pytest.raises(ConfigError, match=r"node 'fc' has a user, act_1, and cannot be erased; remove\(graph, 'fc'\)"):
        erase(graph, "fc")
    with pytest.raises(ConfigError, match=r"node 'add' takes 2 tensors \(tanh, x\); remove needs exactly one"):
        remove(graph, "add")
    with pytest.raises(ConfigError, match=r"node '_0' gives .* its input cannot stand for it"):
        remove(trace(nn.Sequential(nn.Linear(4, 3)), {"input": random(3, 4)}), "_0")
    with pytest.raises(ConfigError, match="did you mean 'tanh'"):
        remove(graph, "tan")


class Wasteful(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x.exp()
        return x.neg()


def test_nodes_out_of_use_are_erased() -> None:
    graph = trace(Wasteful(), {"x": random(3, 4)})
    after, result = erase(graph, "exp")
    assert result.changed == ["exp"] and torch.equal(after(random(5, 4)), -random(5, 4))


def test_own_passes() -> None:
    name = "count_dropout"
    try:

        @register_pass(name)
        def count(graph, options):
            return graph, sum(info.type == options["type"] for info in graph.nodes)

        graph = trace(encoder(), {"src": random(2, 9, 16)})
        assert run_pass(graph, name, {"type": "Dropout"}) == (graph, 6)
        with pytest.raises(ConfigError, match="unknown pass 'count_dropuot'; did you mean 'count_dropout'"):
            run_pass(graph, "count_dropuot")
        with pytest.raises(ConfigError, match="a pass 'quantize' already"):
            register_pass("quantize")
    finally:
        PASSES._entries.pop(name, None)
