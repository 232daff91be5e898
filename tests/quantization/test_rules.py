"""Rules, presets, plans: what they resolve to, and errors that name the nearest path."""

import json

import pytest
import torch
from torch import nn

from fairseq.errors import ConfigError
from fairseq.quantization import PRESETS, QLinear, Rule, quantize_model, read_config
from fairseq.quantization.plan.rules import read_rules, resolve
from fairseq.quantization.spec import QuantizerSpec

ROLES = {
    "layers.0.fc1.weight": "weight",
    "layers.0.fc1.input": "activation",
    "layers.0.fc1.grad_output": "gradient",
    "layers.1.self_attn.query": "activation",
}


def resolved(*rules: dict[str, object]) -> dict[str, object]:
    return resolve(read_rules(rules), ROLES)


def test_last_match_wins_field_by_field() -> None:
    specs = resolved(
        {"match": "*", "format": "symmetric", "bits": 8},
        {"match": "layers.0.*", "bits": 4},
        {"match": r"re:.*\.fc1\.(weight|input)", "granularity": "channel"},
        {"match": "*.weight", "bits": "follow"},
    )
    weight, act = specs["layers.0.fc1.weight"], specs["layers.0.fc1.input"]
    assert (weight.format, weight.bits, weight.granularity) == ("symmetric", "follow", "channel")
    assert (act.bits, act.granularity) == (4, "channel")
    assert specs["layers.1.self_attn.query"].bits == 8


def test_bits_and_gradient_bits_are_apart() -> None:
    specs = resolved({"match": "*.fc1.*", "bits": 4, "grad_bits": 6})
    assert specs["layers.0.fc1.weight"].bits == 4 and specs["layers.0.fc1.grad_output"].bits == 6
    assert resolved({"match": "*", "grad_bits": "follow"})["layers.0.fc1.grad_output"].bits == "follow"
    assert resolved({"match": "*", "grad_bits": 0})["layers.0.fc1.grad_output"].bits is None
    assert not resolved({"match": "*.weight", "bits": 0})["layers.0.fc1.weight"].quantize


def test_bits_turn_a_quantizer_on() -> None:
    off = {"match": "*", "quantize": False}
    assert resolved(off, {"match": "*.fc1.*", "bits": 4})["layers.0.fc1.grad_output"].quantize
    assert not resolved(off, {"match": "*.fc1.*", "granularity": "token"})["layers.0.fc1.weight"].quantize
    assert not resolved(off, {"match": "*.fc1.*", "bits": 4, "quantize": False})["layers.0.fc1.weight"].quantize


def test_what_waits_for_a_rule_is_turned_on_by_its_name_only() -> None:
    roles = {
        **ROLES,
        "norm.input": "activation",
        "norm.output": "activation",
        "layers.1.self_attn.output": "activation",
    }
    start = {path: QuantizerSpec(quantize=not path.startswith("norm")) for path in roles}

    def is_on(path: str, **rule: object) -> bool:
        return resolve(read_rules([rule]), roles, start, on_request={"norm.input", "norm.output"})[path].quantize

    for setting in ({"bits": 4}, {"quantize": True}):
        assert not is_on("norm.input", match="*.input", **setting) and not is_on("norm.output", match="*", **setting)
        assert is_on("norm.input", match="norm.*", **setting) and is_on("norm.output", match="*.output", **setting)
    assert not is_on("norm.input", match="norm.*", bits=0) and not is_on("norm.input", match="norm.*", format="log")


@pytest.mark.parametrize(
    ("pattern", "nearest"),
    [
        ("*.fc3.weight", "layers.0.fc1.weight"),
        ("layers.0.fc1.weigth", "layers.0.fc1.weight"),
        ("*.self_atn.query", "layers.1.self_attn.query"),
        ("re:.*fc1.inputs", "layers.0.fc1.input"),
    ],
)
def test_no_match_names_the_nearest_path(pattern: str, nearest: str) -> None:
    with pytest.raises(ConfigError) as error:
        resolved({"match": pattern, "bits": 4})
    assert repr(nearest) in str(error.value) and repr(pattern) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"match": "*.grad_output", "bits": 8}, "use grad_bits"),
        ({"match": "*.weight", "grad_bits": 8}, "use bits"),
        ({"match": "*.grad_output", "learned": "scale"}, "no effect"),
        ({"match": "re:(", "bits": 4}, "regular expression"),
        ({"match": "*", "bit": 4}, "did you mean 'bits'"),
        ({"bits": 4}, "match"),
        ({"match": "*", "bits": "eight"}, "bits"),
        ({"match": "*", "bits": 4.5}, "bits"),
    ],
)
def test_rules_that_cannot_work(rule: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolved(rule)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"match": "*", "bits": 17}, "2 to 16"),
        ({"match": "*", "bits": 1}, "2 to 16"),
        ({"match": "*.weight", "format": "symetric"}, "did you mean 'symmetric'"),
        ({"match": "*.weight", "ste": "clip"}, "did you mean 'clipped'"),
        ({"match": "*.weight", "granularity": "chanel"}, "did you mean 'channel'"),
        ({"match": "*.weight", "range": "minmx"}, "did you mean 'minmax'"),
        ({"match": "*.weight", "compute": "integral"}, "compute"),
        ({"match": "*.input", "range": "ema", "granularity": "token"}, "token"),
        ({"match": "*.query", "range": "ema", "granularity": "channel"}, "channel"),
        ({"match": "*.input", "range": {"name": "ema", "of": "ema"}}, "average another"),
        ({"match": "*.input", "range": {"name": "ema", "momentum": 1.5}}, "momentum"),
    ],
)
def test_settings_are_checked_when_the_model_is_converted(
    rule: dict[str, object], message: str, transformer: nn.Module
) -> None:
    with pytest.raises(ConfigError, match=message):
        quantize_model(transformer, "int8", rules=[rule])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"preset": "int9"}, "did you mean 'int"),
        (
            {"preset": "int8", "num_bits": 32},
            "num_bits=32: '.*' follows it, .* symmetric has 2 to 16",
        ),
        ({"preset": "int8", "num_bits": 1}, "num_bits=1: .* has 2 to 16"),
        ({"preset": "int8", "num_grad_bits": 40}, "num_grad_bits=40: .* has 2 to 16"),
        ({"preset": "int8", "num_bits": 0}, "whole number of bits"),
        ({"preset": "int8", "eval_bits": 20}, "eval_bits=20"),
        ({"preset": "cpt_4_8", "num_bits": 3}, "lies above"),
        ({"preset": "cpt_4_8", "schedule": {"min_bits": 1}}, "schedule.min_bits=1: .* has 2 to 16"),
        ({"preset": "cpt_4_8", "schedule": {"min_bits": 0}}, "whole number of bits"),
        ({"preset": "int8", "numbits": 4}, "did you mean 'num_bits'"),
        ({"preset": "int8", "schedule": {"cycles": 4}}, "num_cycles"),
        ({"preset": "cpt", "schedule": "CQ"}, "precision schedule"),
        ({"preset": "int8", "compute": "simulated"}, "did you mean 'simulate'"),
        ({"rules": [{"match": "*", "bits": 4}]}, "no effect"),
    ],
)
def test_config_errors(config: dict[str, object], message: str, transformer: nn.Module) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        quantize_model(transformer, config)
    assert "\n" not in str(error.value)


PARETOQ = ("paretoq_1", "paretoq_t", "paretoq_2", "paretoq_3", "paretoq_4")
WEIGHTS_ALONE = ("w8", "w4", "w2", "ternary", "binary", "binary_bwn", "binary_irnet", *PARETOQ)
LINEAR_LAYERS = ("quest_w4a4", "quest_w1a1", "bitnet_158", "nvfp4_recipe")  # their weights and inputs
WITHOUT_GRADIENTS = ("w8a8", "binary_bit")


def rounds(preset: str, path: str) -> bool:
    """Whether `preset` rounds a tensor of an attention."""
    role = path.rpartition(".")[2]
    if preset in WEIGHTS_ALONE:
        return role == "weight"
    if preset in LINEAR_LAYERS:
        return role in ("weight", "input")
    return role != "grad_output" or preset not in WITHOUT_GRADIENTS


@pytest.mark.parametrize("preset", [name for name in PRESETS if name != "none"])
def test_presets_train_and_evaluate(preset: str, transformer: nn.Module, tokens: torch.Tensor) -> None:
    model = quantize_model(transformer, preset)
    plan = model.quantization.plan
    model(tokens).square().sum().backward()
    model.eval()(tokens)
    attention = "layers.0.self_attn"
    for path in ("q_proj.weight", "out_proj.input", "query", "key", "probs", "value", "qk_matmul.grad_output"):
        assert plan[f"{attention}.{path}"].active == rounds(preset, path), path
    for path in ("embed.weight", "classification_heads.weight", f"{attention}.output"):
        assert not plan[path].active, path
    table = plan.table().splitlines()
    assert len(table) == len(plan.rows) + 1 and "full precision" in plan.table()
    data = json.loads(plan.to_json())
    assert data[0]["quantizer"] == plan.rows[0].quantizer and len(data) == len(plan.rows)


def test_presets_give_the_bits_of_their_name(transformer: nn.Module) -> None:
    mixed = quantize_model(transformer, "ffn4_mha16").quantization.plan
    assert mixed["layers.0.fc1.weight"].spec.bits == 4 and mixed["layers.0.fc2.input"].spec.bits == 4
    assert mixed["layers.1.self_attn.q_proj.weight"].spec.bits == 16 and mixed["layers.1.self_attn.key"].spec.bits == 16
    cpt = quantize_model(transformer, "cpt_3_8").quantization
    row = cpt.plan["layers.0.fc1.weight"]
    assert (row.low, row.high, row.spec.format, row.spec.granularity) == (3, 8, "affine_float_zp", "channel")
    assert cpt.plan["layers.0.fc1.grad_output"].spec.bits == 8 and cpt.config.eval_bits == 8
    assert cpt.plan["layers.0.fc1.grad_output"].spec.rounding == "stochastic"


FORMATS = {  # weight, activation, gradient
    "fp8": ({"format": "fp8_e4m3", "scaled": True}, {"format": "fp8_e4m3", "scaled": True},
            {"format": "fp8_e5m2", "scaled": True}),
    "mxfp8": ("mxfp8_e4m3", "mxfp8_e4m3", "mxfp8_e4m3"),
    "mxfp6": ("mxfp6_e3m2", "mxfp6_e3m2", "mxfp8_e4m3"),
    "mxfp4": ("mxfp4", "mxfp4", "mxfp8_e4m3"),
    "nvfp4": ("nvfp4", "nvfp4", "mxfp8_e4m3"),
}  # fmt: skip


@pytest.mark.parametrize("preset", FORMATS)
def test_presets_with_formats_of_fixed_width(preset: str, transformer: nn.Module) -> None:
    quantization = quantize_model(transformer, preset).quantization
    rows = [quantization.plan[f"layers.0.fc1.{role}"] for role in ("weight", "input", "grad_output")]
    assert tuple(row.spec.format for row in rows) == FORMATS[preset]
    assert {row.spec.rounding for row in rows} == {"nearest"} and rows[2].spec.bits == 8
    granularities = [row.spec.granularity for row in rows]
    assert granularities == {"fp8": ["channel", "tensor", "tensor"], "nvfp4": ["group:16", "group:16", "group:32"]}.get(
        preset, ["group:32"] * 3
    )
    with pytest.raises(ConfigError, match=r"quantization.num_bits=7: .* follows it, and its format .* has . bits"):
        quantize_model(transformer, preset, num_bits=7)
    with pytest.raises(ConfigError, match=r"quantization.schedule.min_bits=2: .* follows it, and its format"):
        quantize_model(transformer, preset, schedule={"name": "CR", "min_bits": 2, "num_cycles": 2})


@pytest.mark.parametrize("preset, bits", [("w8", 8), ("w4", 4), ("w2", 2), ("ternary", 2), ("binary", 1)])
def test_presets_for_weights_alone(preset: str, bits: int, transformer: nn.Module, tokens: torch.Tensor) -> None:
    model = quantize_model(transformer, preset)
    active = [row for row in model.quantization.plan.rows if row.active]
    assert {row.role for row in active} == {"weight"} and {row.high for row in active} == {bits}
    weight = model.layers[0].fc1.quantizers.weight(model.layers[0].fc1.weight, bits).tensor()
    levels = [len(row.unique()) for row in weight]  # rows are no longer than a group of w4
    assert max(levels) <= {"w8": 255, "w4": 15, "w2": 3, "ternary": 3, "binary": 2}[preset] and min(levels) > 1


def test_fields_override_presets() -> None:
    config = read_config("cpt_3_8", num_bits=6, num_grad_bits=0, schedule={"num_cycles": 4}, eval_bits=5)
    assert (config.num_bits, config.num_grad_bits, config.eval_bits) == (6, 0, 5)
    assert (config.schedule.name, config.schedule.min_bits, config.schedule.num_cycles) == ("CR", 3, 4)
    assert read_config(read_config(config)) == config  # complete already
    assert read_config("int8", rules=[{"match": "*", "bits": 4}]).rules[-1] == Rule("*", bits=4)


def test_bits_of_a_call(transformer: nn.Module, tokens: torch.Tensor) -> None:
    model = quantize_model(transformer, "int8", rules=[{"match": "*.fc2.*", "bits": 3}])
    seen: dict[str, int] = {}

    class Callback:
        def quantized(self, quantizer, x, result, num_bits, reused) -> None:  # type: ignore[no-untyped-def]
            seen[quantizer.path] = num_bits

        def product(self, *_: object, **__: object) -> None: ...

    with model.quantization.context.with_callback(Callback()):
        for argument, expected in (({}, 8), ({"num_bits": 4}, 4)):
            model.quantization.begin_micro_batch(expected)
            model(tokens, **argument).sum().backward()
            assert seen["layers.0.fc1.input"] == seen["layers.0.self_attn.query"] == expected
            assert seen["layers.0.fc2.input"] == 3 and seen["layers.0.fc2.weight"] == 3  # pinned
            assert seen["layers.0.fc1.grad_output"] == 8
        seen.clear()
        model(tokens, num_bits=0)
        assert all(path.startswith(("layers.0.fc2", "layers.1.fc2")) for path in seen) and seen
        seen.clear()
        model.layers[0](torch.randn(2, 3, 16))  # a part of the model on its own: at the default
        assert seen["layers.0.fc1.input"] == 8
    for bits in (1, 17, 2.5):
        with pytest.raises(ConfigError, match="bits"):
            model(tokens, num_bits=bits)


def test_threaded_models_get_the_argument() -> None:
    class Threaded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = QLinear(4, 4, quantized=False)
            self.seen: list[object] = []

        def forward(self, x: torch.Tensor, num_bits: object = None) -> torch.Tensor:
            self.seen.append(num_bits)
            return self.fc(x, num_bits=num_bits)

    model = quantize_model(Threaded(), "int8", eval_bits=6)
    assert model.quantization.threaded
    x = torch.randn(2, 4)
    model(x), model(x, num_bits=3), model(x, num_bits=0)
    assert model.seen == [6, 3, 0]


def test_checkpointed_segments_recompute_at_the_bits_of_their_call() -> None:
    from torch.utils.checkpoint import checkpoint

    class Segmented(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = nn.Sequential(nn.Linear(6, 6), nn.GELU(), nn.Linear(6, 6))
            self.on = True

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return checkpoint(self.block, x, use_reentrant=False) if self.on else self.block(x)

    model = quantize_model(Segmented(), "int8")
    x = torch.randn(5, 6)
    grads = []
    for model.on in (False, True):
        model.zero_grad()
        model.quantization.begin_micro_batch(3)
        model(x, num_bits=3).square().sum().backward()
        grads.append([parameter.grad.clone() for parameter in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))
