"""Verification: what it says of models that are as planned, and that it finds every way in which one may not be."""

import copy
import csv
import dataclasses
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fairseq.errors import ConfigError, VerificationError
from fairseq.graph import insert_lora, prune, trace, verify
from fairseq.graph.masks import attach
from fairseq.graph.verification.plain import plain
from fairseq.quantization import keep_integer_weights, quantize_model
from fairseq.quantization.quantized_model import quantization_of
from fairseq.quantization.quantizer import Quantized
from tests.graph.models import MODELS
from tests.quantization.layer_registry import LAYERS as WITH_WEIGHTS
from tests.quantization.layer_registry import Layer, formats, quantized
from tests.quantization.layers_without_weights import WITHOUT_WEIGHTS


def mlp(preset: str = "int8", **settings: Any) -> nn.Module:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 4))
    model = quantize_model(model, preset, **settings).eval()
    quantization_of(model).calibrate(model, [batch(64)])
    return model


def batch(size: int = 12, features: int = 16) -> torch.Tensor:
    return torch.randn(size, features, generator=torch.Generator().manual_seed(size))


SLOW = ("LSTM", "GRU", "RNN", "MultiheadAttention", "functional products", "activations, softmax, norms")


# --- models that are as planned ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*WITH_WEIGHTS, *WITHOUT_WEIGHTS])
def test_every_layer_with_every_format(kind: str) -> None:
    layer: Layer = {**WITH_WEIGHTS, **WITHOUT_WEIGHTS}[kind]
    every = 4 if kind in SLOW else 1
    for name, number_format, bits in list(formats())[::every]:
        torch.manual_seed(1)
        model = quantized(kind, layer, number_format, bits)
        inputs = tuple(torch.randn(shape) for shape in layer.shapes[0])
        model(*inputs)  # ranges
        found = verify(model, [inputs])
        assert found.failures == [], name
        assert found.layers and all(row.used == row.quantizers > 0 for row in found.layers), name
        assert all(row.from_reference is not None and row.from_reference < 1e-6 for row in found.layers), name
        assert kind == "Linear of one value" or max(row.from_float for row in found.layers) > 0, name
        planned = {row.quantizer for row in quantization_of(model).plan.active if row.role != "gradient"}
        assert {row.quantizer for row in found.tensors} == planned, name
        assert all(1 <= row.levels <= row.allowed <= 2**row.bits for row in found.tensors), name


@pytest.mark.parametrize("name", list(MODELS))
@pytest.mark.parametrize("compute", ["simulate", "integer"])
def test_models(name: str, compute: str) -> None:
    make, inputs = MODELS[name]
    torch.manual_seed(1)
    model = quantize_model(make().eval(), "int8", compute=compute)
    quantization_of(model).calibrate(model, [inputs(3, 7)])
    found = verify(model, [inputs(3, 7), inputs(2, 5)])
    assert found.passed, found.failures
    assert name == "odds" or found.from_float > 10 * found.unwatched  # that model hides it behind constants
    assert {row.layer for row in found.layers if not row.calls} == ({"never"} if name == "odds" else set())


def test_numbers_are_those_of_the_definitions() -> None:
    model, x = mlp(rules=[{"match": "0.weight", "bits": 3, "granularity": "tensor"}]), batch()
    row = {row.quantizer: row for row in verify(model, x).tensors}["0.weight"]
    weight = model[0].weight.detach().double()
    step = weight.abs().max() / 3
    rounded = (weight / step).round() * step
    assert (row.on_grid, row.nearest, row.levels, row.allowed) == (True, True, 7, 7)
    assert (row.code_low, row.code_high, row.clipped) == (-3, 3, 0)
    assert row.max_error == pytest.approx(float((rounded - weight).abs().max() / (step / 2)), rel=1e-4)
    sqnr = 10 * torch.log10(weight.square().sum() / (rounded - weight).square().sum())
    assert row.sqnr == pytest.approx(float(sqnr), rel=1e-5) and row.stored is False
    clipped = {row.quantizer: row for row in verify(model, 10 * x).tensors}["0.input"].clipped
    quantizer = model[0].quantizers.quantizer("input")
    low, high = quantizer.observer.evaluation_range(x)[:2]
    outside = (10 * x < low - 0.01) | (10 * x > high + 0.01)
    assert clipped == pytest.approx(100 * float(outside.float().mean()), abs=1) and clipped > 20


def test_learned_stochastic_and_half_precision() -> None:
    flexround = {"match": "*.weight", "learned": "flexround", "granularity": "channel"}
    for settings in (
        {"preset": "w2"}, {"preset": "w4", "rules": [flexround]}, {"preset": "cpt"}, {"num_bits": 12},
        {"rules": [{"match": "*.input", "rounding": "stochastic"}]},
    ):  # fmt: skip
        assert verify(mlp(**settings), batch()).failures == [], settings  # type: ignore[arg-type]
    model = mlp("mxfp8").bfloat16()
    assert verify(model, batch().bfloat16()).failures == []


def test_codes_in_the_place_of_weights() -> None:
    model = keep_integer_weights(mlp())
    found = verify(model, batch())
    rows = {row.quantizer: row for row in found.tensors}
    assert found.passed and found.from_float is None
    assert rows["0.weight"].stored and rows["0.weight"].sqnr is None and rows["0.input"].sqnr > 20


def test_model_is_as_before() -> None:
    model = mlp().train()
    before, hooks = copy.deepcopy(model.state_dict()), [len(module._forward_hooks) for module in model.modules()]
    state = torch.random.get_rng_state()
    for data in (batch(), batch(12, 5)):
        try:
            verify(model, data)
        except RuntimeError as error:
            assert "shapes cannot be multiplied" in str(error)
    assert model.training and quantization_of(model).context.callbacks == []
    assert [len(module._forward_hooks) for module in model.modules()] == hooks
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)


def test_graphs_and_results_as_text_csv_and_json() -> None:
    graph = trace(mlp(), {"input": batch()})
    found = verify(graph)
    assert found.passed and "passed: 4 tensors on their grids, 2 layers equal to their references" in str(found)
    lines = list(csv.DictReader(io.StringIO(found.csv_text())))
    assert [line["row"] for line in lines] == ["tensor"] * 4 + ["layer"] * 2
    assert lines[0]["quantizer"] == "0.weight" and lines[4]["layer"] == "0"
    assert found.as_dict()["passed"] is True and len(found.as_dict()["tensors"]) == 4
    found.check()


# --- models that are not ----------------------------------------------------------------------------------------------


class Own(nn.Linear):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return F.linear(input, self.weight, self.bias)


def float_forward(model: Any) -> None:
    model[0].forward = lambda x: F.linear(x, model[0].weight, model[0].bias)


def float_class(model: Any) -> None:
    model[0].__class__ = Own


def float_layer(model: Any) -> None:
    model[0] = nn.Linear(16, 8)


def without_quantizers(model: Any) -> None:
    model[0].quantizers = None


def switched_off(model: Any) -> None:
    quantizer = model[0].quantizers.quantizer("input")
    quantizer.spec = dataclasses.replace(quantizer.spec, quantize=False)


def other_bits(model: Any) -> None:
    quantizer = model[0].quantizers.quantizer("weight")
    quantizer.spec = dataclasses.replace(quantizer.spec, bits=8)


def quantizer_does_nothing(model: Any) -> None:
    model[0].quantizers.quantizer("input").forward = lambda x, *_: Quantized(x, x)


def quantizer_claims_to_round(model: Any) -> None:
    quantizer = model[0].quantizers.quantizer("input")
    quantizer.fake = lambda x, num_bits, *_, **__: quantizer._notify(x, x, num_bits) or x


def hook_on_quantizer(model: Any) -> None:
    model[0].quantizers.quantizer("input").register_forward_hook(lambda module, args, y: Quantized(args[0], args[0]))


def hook_on_layer(model: Any) -> None:
    model[0].register_forward_hook(lambda module, args, y: F.linear(args[0], module.weight, module.bias))


def hook_on_model(model: Any) -> None:
    def undo(module: Any, args: Any, y: torch.Tensor) -> torch.Tensor:
        hidden = F.linear(args[0], module[0].weight, module[0].bias)
        return F.linear(hidden.relu(), module[2].weight, module[2].bias)

    model.register_forward_hook(undo)


def stale_weight(model: Any) -> None:
    model(batch())  # which keeps the rounded weight
    model[0].weight.data.mul_(1.5)


def rounds_down(model: Any) -> None:
    quantizer = model[0].quantizers.quantizer("weight")
    nearest = quantizer.fake
    quantizer.fake = lambda x, bits, *_, **__: nearest(x - quantizer.qparams(x, bits)[0].scale / 2, bits)
    model.train().eval()  # which forgets the rounded weight


DEFECTS: dict[str, tuple[Callable[[Any], None], str]] = {
    "forward": (float_forward, "0: bypassed, its quantizer 0.weight rounds nothing"),
    "class": (float_class, "0.weight: bypassed, its layer has a forward of its own"),
    "layer": (float_layer, "0.weight is planned, and the model has no such quantizer: its layer has been replaced"),
    "quantizers": (without_quantizers, "0.weight is planned, and the model has no such quantizer"),
    "off": (switched_off, "0.input is switched off: the plan has 4 bits there"),
    "bits": (other_bits, "0.weight: the plan has 4 bits, and the quantizer rounds to 8"),
    "nothing": (quantizer_does_nothing, "0: bypassed, gives the result of full precision"),
    "claim": (quantizer_claims_to_round, "0.input holds values off the grid of affine at 4 bits"),
    "quantizer hook": (hook_on_quantizer, "0: bypassed, gives the result of full precision"),
    "layer hook": (hook_on_layer, "0: bypassed, gives the result of full precision"),
    "model hook": (hook_on_model, "0.weight: bypassed, addmm multiplies the weight as it is, past its quantizer"),
    "stale": (stale_weight, "0: its result is"),
    "down": (rounds_down, "0.weight is off by"),
}


@pytest.mark.parametrize("name", list(DEFECTS))
def test_what_bypasses_a_quantizer_is_found(name: str) -> None:
    break_it, message = DEFECTS[name]
    model = mlp(num_bits=4)
    assert verify(model, batch()).passed
    break_it(model)
    found = verify(model, batch())
    assert any(line.startswith(message) for line in found.failures), found.failures
    with pytest.raises(VerificationError, match="verification failed: ") as error:
        found.check()
    assert "\n" not in str(error.value)


def test_weight_that_is_multiplied_without_calling_its_layer() -> None:
    class Shortcut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.short = nn.Linear(16, 8), nn.Linear(8, 4), False

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(F.linear(x, self.a.weight, self.a.bias) if self.short else self.a(x))

    model = quantize_model(Shortcut().eval(), "mxfp4")
    assert verify(model, batch()).passed
    model.short = True
    found = verify(model, batch())
    assert found.failures == ["a.weight: bypassed, addmm multiplies the weight as it is, past its quantizer"]
    assert found.notes[0].endswith("only weights were looked at: a")


def test_fast_path_where_nobody_looks() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.TransformerEncoderLayer(16, 2, 24, batch_first=True)).eval()
    model = quantize_model(model, "w4", rules=[{"match": "*self_attn*", "quantize": False}])
    data = torch.randn(2, 5, 16)
    assert verify(model, data).passed
    model[0].activation_relu_or_gelu = 1  # torch's own value, which lets it take its fused kernel
    assert verify(model, data).failures[0].startswith("bypassed where nobody looks: without hooks")


def test_functions_that_are_not_intercepted() -> None:
    class Scores(nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return (a @ b.mT).softmax(-1) @ b

    inputs = torch.randn(2, 5, 8), torch.randn(2, 6, 8)
    model = quantize_model(Scores().eval(), "mxfp8", example_inputs=inputs)
    found = verify(model, [inputs])
    assert found.passed and [row.type for row in found.layers] == ["function matmul", "function matmul"]
    model.forward = lambda a, b: (a @ b.mT).softmax(-1) @ b
    assert not verify(model, [inputs]).passed


def test_rules_that_pin_no_node() -> None:
    rules = [{"match": "0.weight", "bits": 4}, {"match": "2.weight", "bits": 3}]
    assert verify(mlp(rules=rules), batch()).passed
    later = mlp(rules=[*rules, {"match": "*.weight", "bits": 5}])
    assert verify(later, batch()).failures == [
        f"rule {match!r} pins no node: {match} and all others that it matches have other bits than it says"
        for match in ("0.weight", "2.weight")
    ]
    gone = mlp(rules=rules)
    gone[2] = nn.Linear(8, 4)
    expected = "rule '2.weight' pins no node: no quantizer of the model that is switched on matches it"
    assert expected in verify(gone, batch()).failures


def test_weights_off_their_grid() -> None:
    model = keep_integer_weights(mlp("w8", num_bits=8))
    integers = model[0].quantizers.integers
    integers.data[0, 0] = 0  # two's complement has this code, the format does not
    assert "0.weight holds values off the grid of symmetric at 8 bits" in verify(model, batch()).failures
    model = mlp("w4")
    found = verify(model, batch(), stored=True)
    assert found.failures == [f"{path}.weight: the weight itself is off its grid" for path in (0, 2)]
    with torch.no_grad():
        for layer in (model[0], model[2]):
            layer.weight.copy_(plain(layer.quantizers.quantizer("weight"), layer.weight, 4))
    assert verify(model, batch(), stored=True).passed
    model[0].weight.data[0, 0] += 1e-3
    assert verify(model, batch(), stored=True).failures == ["0.weight: the weight itself is off its grid"]


def test_masks_that_no_longer_hold() -> None:
    model = mlp()
    graph, _ = prune(trace(model, {"input": batch()}), 0.5)
    found = verify(graph)
    assert found.passed and [row.pruned for row in found.masks] == [64, 16] and "2 masks hold" in found.summary()
    model[0].weight.data.fill_(0.5)
    found = verify(graph)
    assert found.failures[0] == "0.weight: its mask no longer holds, values that it prunes are not zero"
    assert [row.holds for row in found.masks] == [False, True]
    binary = mlp("binary")
    attach(binary, binary[0], "weight", torch.rand(8, 16) > 0.5)
    assert (
        "are not zero behind the quantizer; the format binary has no exact zero" in verify(binary, batch()).failures[0]
    )


def test_layers_with_adapters() -> None:
    graph, _ = insert_lora(trace(mlp(), {"input": batch()}), rank=2)
    with torch.no_grad():
        graph.model[0].lora.B.normal_()
    assert verify(graph).passed
    hook_on_layer(graph.model)
    assert not verify(graph).passed


def test_quantized_parts_are_named() -> None:
    model = nn.Sequential(nn.Linear(16, 16), nn.Sequential(mlp()))
    with pytest.raises(ConfigError, match=r"the Sequential holds quantized models.*: '1.0'; .*get_submodule\('1.0'\)"):
        verify(model, batch())
    assert verify(model.get_submodule("1.0"), batch()).passed
    attach(model, model[0], "weight", torch.arange(256).view(16, 16) % 2 == 0)  # masks alone must not pass for all
    with pytest.raises(ConfigError, match="holds quantized models"):
        verify(model, batch())


def test_nothing_to_verify() -> None:
    model = nn.Sequential(nn.Linear(16, 4))
    with pytest.raises(VerificationError, match="the Sequential has no quantizers: there is nothing to verify"):
        verify(model, batch())
    attach(model, model[0], "weight", torch.arange(64).view(4, 16) % 2 == 0)
    assert verify(model, batch()).summary() == "passed: 1 masks hold"
    with pytest.raises(ConfigError, match="needs something to run the model on"):
        verify(mlp())
