"""What a search's file may say, what its choices mean, and what models cost."""

import pytest
import torch
from torch import nn

from fairseq.errors import ConfigError
from fairseq.graph import quantize as quantize_pass
from fairseq.graph import trace
from fairseq.quantization import quantize_model
from fairseq.studies.search.config import build_config, read_config
from fairseq.studies.search.costs import average_bits, costs, memory, products
from fairseq.studies.search.precision import Precision
from fairseq.studies.search.results import verdict
from fairseq.studies.search.spaces import Space

LEAST = {"config_name": "tiny", "space": {"model.dropout": [0.0, 0.1]}, "objectives": ["accuracy"]}


def model():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 8))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"trails": 3}, "unknown key 'trails'.*did you mean 'trials'"),
        ({"config_name": None}, "config_name is missing"),
        ({"command": "fairseq-train"}, "a search runs fairseq-hydra-train"),
        ({"space": None}, "nothing to search"),
        ({"space": {"model.dropout": 0.1}}, "model.dropout: needs a list of choices"),
        ({"space": {"model.dropout": []}}, "nothing to choose from"),
        ({"space": {"model.dropout": [0.1, 0.1]}}, "0.1 is there twice"),
        ({"space": {"model.dropout": {"low": 1, "high": 0}}}, "needs low < high"),
        ({"space": {"model.dropout": {"low": 0, "high": 1, "log": True}}}, "log needs low above 0"),
        ({"space": {"model.dropout": {"low": "a", "high": 1}}}, "model.dropout.low: needs a number"),
        ({"objectives": None}, "give `objectives`"),
        ({"objectives": ["acuracy"]}, "did you mean 'accuracy'"),
        ({"objectives": [{"metric": "my_score"}]}, "needs {metric: my_score, direction: maximize}"),
        ({"objectives": ["accuracy", "accuracy"]}, "each once"),
        ({"objectives": [{"metric": "loss", "direction": "down"}]}, "direction is maximize or minimize"),
        ({"samplers": ["tpee"]}, "unknown name 'tpee' in samplers; did you mean 'tpe'"),
        ({"samplers": ["tpe", "tpe"]}, "tpe is there twice"),
        ({"samplers": [{"name": "tpe", "seed": 1}]}, "seeds stand under `seeds`"),
        ({"seeds": [1, 1]}, "has one twice"),
        ({"seeds": [-1]}, "whole numbers from 0"),
        ({"trials": 0}, "needs a whole number from 1"),
        ({"pruner": "medium"}, "did you mean 'median'"),
        ({"pruner": "median", "objectives": ["accuracy", "loss"]}, "prunes where there is one objective"),
        ({"select": "valid", "holdout": 10}, "either `holdout`"),
        ({"select": "valid"}, "select and test are both 'valid'"),
        ({"holdout": 100}, "percent of the training set"),
        ({"compress": {"stages": ["finetuned"]}}, "needs `finetune`"),
        ({"compress": {"stages": ["tuned"]}}, "unknown stage 'tuned'"),
        ({"precision": {"apply": "after", "widths": [4, 8]}}, "add `compress"),
        ({"common": "task.data=x"}, "a list of KEY=VALUE"),
    ],
)
def test_a_wrong_file_is_one_line_that_says_what(change, message):
    with pytest.raises(ConfigError, match=message) as error:
        config = build_config({key: value for key, value in {**LEAST, **change}.items() if value is not None})
        Space(config)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "section, message",
    [
        ({"widths": [4]}, "two choices or more"),
        ({"formats": ["symetric"], "widths": [4, 8]}, "unknown number format 'symetric'|symmetric"),
        ({"formats": ["symmetric"]}, "symmetric needs widths"),
        ({"choices": ["none", "symmetric"]}, "needs bits, such as symmetric/8"),
        ({"choices": ["none", "symmetric/99"]}, "99"),
        ({"choices": ["none", "symmetric/8.4"]}, "only fixed_point has a fraction"),
        ({"choices": ["none", "mxfp4"], "widths": [4]}, "take widths out"),
        ({"widths": [4, 8], "group": "modul"}, "did you mean 'module'"),
        ({"widths": [4, 8], "modules": ["3"]}, "unknown module '3'"),
        ({"widths": [4, 8], "modules": ["*", "0"]}, "0 is in '\\*' and in '0'"),
        ({"widths": [4, 8], "exclude": ["7"]}, "unknown module '7'"),
        ({"widths": [4, 8], "operands": ["bias"]}, "unknown operand 'bias'"),
        ({"widths": [4, 8], "width": 1}, "unknown key 'width'"),
        ({"widths": [4, 8], "rest": "int9"}, "unknown preset 'int9'"),
    ],
)
def test_a_wrong_section_of_precision_is_one_line(section, message):
    with pytest.raises(ConfigError, match=message) as error:
        Precision.read(section, model())
    assert "\n" not in str(error.value)


def test_each_layer_has_a_dimension_and_its_choice_is_its_format():
    precision = Precision.read({"widths": [4, 8], "fractions": ["half", 2], "gradients": 8}, model())
    names = [dimension.name for dimension in precision.dimensions()]
    assert names == ["precision 0", "precision 2"]
    assert precision.choices == ("fixed_point/4.half", "fixed_point/4.2", "fixed_point/8.half", "fixed_point/8.2")
    settings = precision.settings({"precision 0": "fixed_point/4.half", "precision 2": "fixed_point/8.2"})
    plan = quantize_model(model(), settings).quantization.plan
    assert [(row.quantizer, row.spec.bits, dict(row.spec.format)["frac_width"]) for row in plan.active[:2]] == [
        ("0.weight", 4, "half"), ("0.input", 4, "half"),
    ]  # fmt: skip
    assert plan["2.input"].spec.bits == 8 and plan["2.grad_output"].spec.bits == 8


def test_operands_may_be_chosen_apart_and_groups_share_a_choice():
    precision = Precision.read({"choices": ["none", "mxfp4"], "apart": True, "group": "kind"}, model())
    assert [dimension.name for dimension in precision.dimensions()] == ["precision *.weight", "precision *.input"]
    settings = precision.settings({"precision *.weight": "mxfp4", "precision *.input": "none"})
    active = [row.quantizer for row in quantize_model(model(), settings).quantization.plan.active]
    assert active == ["0.weight", "2.weight"]


def test_the_pass_and_the_group_of_settings_compute_the_same():
    section = {"apply": "after", "choices": ["none", "symmetric/4", "mxfp4", "fixed_point/6.half"]}
    precision = Precision.read(section, model())
    values = {"precision 0": "symmetric/4", "precision 2": "fixed_point/6.half"}
    by_settings = quantize_model(model(), precision.settings(values)).eval()
    x = torch.randn(4, 8)
    graph, _ = quantize_pass(trace(model().eval(), {"input": x}), precision.quantize_pass(values))
    assert torch.equal(by_settings(x), graph.model(x)) and not torch.equal(by_settings(x), model()(x))


def test_without_any_choice_the_model_is_truly_unquantized():
    precision = Precision.read({"choices": ["none", "symmetric/4"]}, model())
    nothing = precision.settings({"precision 0": "none", "precision 2": "none"})
    assert (
        nothing == {"preset": "none"}
        and precision.quantize_pass({"precision 0": "none", "precision 2": "none"}) is None
    )


def test_average_bits_are_those_counted_by_hand():
    assert average_bits(model()) == 32
    half = quantize_model(model(), "int8", rules=[{"match": "0.*", "quantize": False}])
    assert average_bits(half) == (128 * 32 + 128 * 8) / 256
    for fraction in (0, 4, 7):
        fixed = {"match": "*", "format": {"format": "fixed_point", "frac_width": fraction}, "bits": 8}
        assert average_bits(quantize_model(model(), "int8", rules=[fixed])) == 8
    assert average_bits(nn.Embedding(4, 4)) == 32  # nothing is multiplied
    tied = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8))
    tied[2].weight = tied[0].weight
    assert average_bits(quantize_model(tied, "int8", rules=[{"match": "1.*", "quantize": False}])) == 20


def test_costs_are_those_of_what_runs():
    x = torch.randn(4, 8)
    plain = model()
    rounded = quantize_model(model(), "int4", rules=[{"match": "*", "range": "minmax"}]).eval()
    macs = 8 * 16 + 16 * 8
    assert costs(plain, lambda: plain(x), 4)["bitops"] == macs * 32 * 32
    assert costs(rounded, lambda: rounded(x), 4)["bitops"] == macs * 4 * 4
    assert memory(plain) == (256 + 24) * 4 / 2**20
    assert memory(rounded) < 0.4 * memory(plain)  # 4 bits for each weight, a scale for each channel, biases
    part = nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 8))
    rules = [{"match": "*", "range": "minmax"}, {"match": "1.*", "quantize": False}]
    first = quantize_model(part, "int8", rules=rules).eval()
    used = products(first, lambda: first[0](x))
    assert set(used) == {"0"} and average_bits(first, used) == 8
    assert costs(plain, lambda: plain(x), 4, repeats=2)["latency"] > 0


def test_passes_may_be_chosen_whole_or_by_option():
    config = build_config({
        **LEAST, "space": {"model.dropout": {"low": 0.0, "high": 0.2}},
        "compress": {"passes": {
            "prune": {"sparsity": {"low": 0.1, "high": 0.9, "step": 0.1}, "granularity": "2:4"},
            "quantize": {"choices": ["none", {"linear": "mxfp4"}]},
        }},
    })  # fmt: skip
    space = Space(config)
    assert [dimension.name for dimension in space.dimensions] == ["model.dropout", "prune.sparsity", "quantize"]
    labels = {"model.dropout": 0.1, "prune.sparsity": 0.3, "quantize": '{"linear": "mxfp4"}'}
    assignment = space.assignment(labels)
    assert assignment.words == ("model.dropout=0.1",)
    assert assignment.passes == {"prune": {"sparsity": 0.3, "granularity": "2:4"}, "quantize": {"linear": "mxfp4"}}
    assert "quantize" not in space.assignment({**labels, "quantize": "none"}).passes
    with pytest.raises(ConfigError, match="a range without a step"):
        _ = space.size


def test_words_of_the_command_line_take_the_place_of_the_files(tmp_path):
    file = tmp_path / "search.yaml"
    file.write_text("config_name: tiny\nspace: {x: [1, 2]}\nmetric: accuracy\ncompress: {finetune: [a=1]}\n")
    config = read_config(file, ["trials=3", "seeds=[4, 5]", "compress.stages=[finetuned]", "space={y: [1, 2]}"])
    assert (config.trials, config.seeds, config.stages, dict(config.space)) == (
        3,
        (4, 5),
        ("finetuned",),
        {"y": [1, 2]},
    )
    assert config.finetune == ("a=1",) and read_config(file).stages == ("none", "compressed", "finetuned")
    for change, message in (("trial=3", "unknown key 'trial'"), ("trials", "write KEY=VALUE"), ("seeds=[1", "no YAML")):
        with pytest.raises(ConfigError, match=message):
            read_config(file, [change])


def test_the_verdict_says_what_noise_allows():
    lines = [[1.0, 2.0, 9.0], [1.0, 2.0, 8.0]]
    assert "not more than noise" in verdict("tpe", "grid", lines, [[8.0] * 3, [9.0] * 3], "maximize")
    assert "6.5 worse" in verdict("tpe", "grid", lines, [[2.0] * 3, [2.0] * 3], "minimize")
    assert "after 2 trials" in verdict("tpe", "grid", lines, [[2.0] * 2, [2.0] * 2], "minimize")
    assert "several seeds are needed" in verdict("tpe", "grid", lines[:1], [[2.0] * 3], "maximize")
