"""Quantizers of biases and outputs: off unless a rule names them, and what a vector's granularity means."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fairseq.errors import ConfigError
from fairseq.quantization import fake_quantize, quantize_model
from fairseq.quantization.integer_weights import keep_integer_weights
from fairseq.quantization.layers.linear import QLinear

BOTH = ({"match": "*.bias", "bits": 3}, {"match": "re:.*\\.(output|bias)", "range": "minmax", "format": "symmetric"},
        {"match": "*.output", "bits": 5})  # fmt: skip


def linear(rules: Any = (), preset: str = "int8", **changes: Any) -> nn.Module:
    torch.manual_seed(1)
    return quantize_model(nn.Sequential(nn.Linear(6, 4)), preset, rules=list(rules), **changes)


@pytest.mark.parametrize("compute", ["simulate", "integer"])
def test_values_and_gradients(compute: str) -> None:
    rules = [{"match": "0.grad_output", "quantize": False}]
    plain, model = linear(rules, compute=compute), linear([*BOTH, *rules], compute=compute)
    x = torch.randn(5, 6, requires_grad=True)
    without = plain(x) - plain[0].bias
    y = model(x)
    bias = fake_quantize(model[0].bias.detach(), "symmetric", num_bits=3)
    assert torch.allclose(y, fake_quantize(without.detach() + bias, "symmetric", num_bits=5), atol=1e-5)
    y.sum().backward()
    assert model[0].bias.grad.tolist() == [5.0] * 4  # straight through both
    plain(x).sum().backward()
    assert torch.equal(model[0].weight.grad, plain[0].weight.grad)
    exact = F.linear(x, model[0].weight, model[0].bias)
    assert torch.equal(model(x, num_bits=0), fake_quantize(exact, "symmetric", num_bits=5)) is False  # bits are pinned
    with model.quantization.context.full_precision():
        assert torch.equal(model(x), exact)


def test_a_wildcard_leaves_them_off() -> None:
    for rule in ({"match": "0.*", "bits": 4}, {"match": "*", "quantize": True}, {"match": "re:.*", "bits": 4}):
        model = linear([rule])
        assert [row.quantizer for row in model.quantization.plan.rows] == ["0.weight", "0.input", "0.grad_output"]
        assert list(model[0].quantizers._modules) == ["weight", "input", "grad_output"]
    model = linear([{"match": "*put", "bits": 4}, {"match": "0.*", "format": "mxint8", "bits": 8}])
    assert model.quantization.plan["0.output"].spec.format == "mxint8" and "0.bias" not in model.quantization.plan
    off = linear([{"match": "0.output", "quantize": True}, {"match": "0.*", "quantize": False},
                  {"match": "0.weight", "quantize": True}])  # fmt: skip
    assert [row.quantizer for row in off.quantization.plan.active] == ["0.weight"]


def test_only_an_output() -> None:
    rules = [{"match": "*", "quantize": False}, {"match": "0.output", "bits": 2, "range": "minmax"}]
    model = linear(rules)
    y = model(torch.randn(8, 6))
    assert isinstance(model[0], QLinear) and y.unique().numel() <= 4
    y.sum().backward()
    assert model[0].weight.grad is not None


def test_no_bias_to_quantize() -> None:
    with pytest.raises(ConfigError, match=r"'0.bias' matches no quantizer; nearest is '0\."):
        quantize_model(nn.Sequential(nn.Linear(2, 2, bias=False)), "int8", rules=[{"match": "0.bias", "bits": 4}])


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"granularity": "channel"}, "0.bias: granularity channel would give each value of a bias a range of its own"),
        ({"granularity": "channel:0"}, "0.bias: granularity channel:0 would give"),
    ],
)
def test_what_a_bias_cannot_have(settings: dict[str, Any], error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        linear([{"match": "0.bias", "bits": 4, **settings}])


def test_groups_and_blocks_of_a_bias() -> None:
    rule = {"match": "0.bias", "bits": 8, "granularity": "group:3", "format": "symmetric"}
    model = linear([rule])
    bias = model[0].bias.detach()
    quantizer = model[0].quantizers.quantizer("bias")
    parts = [fake_quantize(part, "symmetric", num_bits=8) for part in bias.split(3)]
    assert torch.equal(quantizer(bias, 8).value, torch.cat(parts))
    assert model.quantization.plan["0.bias"].spec.range == "minmax"  # not the preset's running range
    model = linear([{"match": "0.bias", "format": "mxfp8_e4m3", "bits": 8}])
    assert torch.equal(model[0].quantizers.quantizer("bias")(bias, 8).value, fake_quantize(bias, "mxfp8_e4m3"))


def test_a_vector_has_a_range_per_channel() -> None:
    x = torch.tensor([0.3, -7.0, 0.0, 11.0])
    for name in ("symmetric", "ternary", "mxint8"):
        bits = 2 if name == "ternary" else 8
        whole = fake_quantize(x[None], name, num_bits=bits, granularity="channel")[0]
        assert torch.equal(fake_quantize(x, name, num_bits=bits, granularity="channel"), whole)
    assert torch.allclose(fake_quantize(x, "symmetric", num_bits=8, granularity="channel"), x)
    down = fake_quantize(x, "symmetric", num_bits=8, granularity="channel:0")
    assert torch.equal(down, fake_quantize(x[:, None], "symmetric", num_bits=8, granularity="channel:0")[:, 0])


def test_saved_copied_and_integer_weights() -> None:
    rules = [{"match": "re:.*\\.(output|bias)", "bits": 4}]
    model = linear(rules)
    x = torch.randn(7, 6)
    for _ in range(3):
        model(x)
    y = model.eval()(x)
    assert any("output" in key for key in model.quantization.state_dict(model)["state"])
    other = linear(rules)
    other.load_state_dict(model.state_dict(), strict=True)
    assert torch.equal(other.eval()(x), y) and torch.equal(copy.deepcopy(model)(x), y)
    assert torch.equal(keep_integer_weights(model)(x), y)


def test_feed_forward_is_not_fused_past_them() -> None:
    from fairseq.quantization.products.integer_feed_forward import integer_feed_forward

    torch.manual_seed(1)
    fc = nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 64))
    rules = [{"match": "2.output", "bits": 2, "range": "minmax"}]
    model = quantize_model(fc, "int8", compute="integer", rules=rules)
    x = torch.randn(64, 64)
    model(x)
    model.eval()
    with torch.no_grad(), model.quantization.context.call(8):
        assert integer_feed_forward(model[0], model[2], x, 8) is None
    assert model(x).unique().numel() <= 4


def attention_outputs(model: nn.Module, x: Tensor) -> list[Tensor]:
    found: list[Tensor] = []
    model.quantizers.part("q_proj").quantizer("output").register_forward_hook(lambda _, __, y: found.append(y.value))
    model(x, x, x)
    return found


def test_projections_of_torch_attention() -> None:
    rules = [{"match": "q_proj.output", "bits": 2, "range": "minmax"}, {"match": "out_proj.bias", "bits": 2}]
    model = quantize_model(nn.MultiheadAttention(8, 2), "int8", rules=rules)
    (y,) = attention_outputs(model, torch.randn(5, 3, 8))
    assert y.unique().numel() <= 4 and model.quantization.plan["out_proj.bias"].active
