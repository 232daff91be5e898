"""Block formats in layers: blocks along the axis that each product sums over, plans, packed weights, refusals."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fairseq.checkpoint.packed import read_packed
from fairseq.errors import ConfigError
from fairseq.export.grids import has_integer_zero
from fairseq.quantization import MatMul, build_format, fake_quantize, quantize_model
from fairseq.quantization.analysis.gemm_trace import trace_gemms
from fairseq.quantization.integer_weights import keep_integer_weights, pack_weights
from fairseq.quantization.layers.linear import QLinear
from fairseq.quantization.products.packed_weight import pack_weight
from fairseq.quantization.quantizer import ACTIVATION, GRADIENT, WEIGHT, QuantizationContext, Quantizer, QuantizerSpec

FORMATS = {"mxfp8_e4m3": 8, "mxfp6_e2m3": 6, "mxfp4": 4, "mxint8": 8, "nvfp4": 4, "block_log": 8}


def layer(spec: Any, bits: int, columns: int = 50, rows: int = 40) -> QLinear:
    specs = {name: QuantizerSpec(format=spec, bits=bits) for name in ("weight", "input", "grad_output")}
    return QLinear(columns, rows, specs=specs)


@pytest.mark.parametrize("spec", [*FORMATS, {"format": "mxfp8_e5m2", "block_size": [4, 8]}])
def test_blocks_lie_along_each_contraction(spec: Any) -> None:
    linear = layer(spec, FORMATS.get(spec, 8) if isinstance(spec, str) else 8)
    x = (torch.randn(3, 23, 50) * torch.linspace(0.01, 30, 50)).requires_grad_()
    g = torch.randn(3, 23, 40) * torch.linspace(0.01, 30, 23)[:, None]
    y = linear(x)
    w = linear.weight.detach()
    rounded = fake_quantize(x.detach(), spec) @ fake_quantize(w, spec).t() + linear.bias
    assert torch.allclose(y, rounded, atol=1e-5)
    y.backward(g)
    rows, grads = x.detach().reshape(-1, 50), g.reshape(-1, 40)

    def down(t: Tensor) -> Tensor:
        return fake_quantize(t, spec, dim=0) if isinstance(spec, str) else fake_quantize(t.t(), spec).t()

    assert torch.allclose(x.grad.view(-1, 50), fake_quantize(grads, spec) @ down(w), rtol=1e-4, atol=1e-3)
    assert torch.allclose(linear.weight.grad, down(grads).t() @ down(rows), rtol=1e-4, atol=1e-2)
    assert torch.allclose(linear.bias.grad, grads.sum(0), rtol=1e-4, atol=1e-3)
    if spec == "block_log":  # whose values are much the same under any scale
        return
    assert not torch.allclose(linear.weight.grad, fake_quantize(grads, spec).t() @ fake_quantize(rows, spec), atol=0.01)


def test_square_blocks_serve_every_product() -> None:
    spec = {"format": "mxfp4", "block_size": [8, 8]}
    linear = layer(spec, 4)
    x, g = torch.randn(23, 50, requires_grad=True), torch.randn(23, 40)
    linear(x).backward(g)
    w, gq = linear.weight.detach(), fake_quantize(g, spec)
    assert torch.allclose(x.grad, gq @ fake_quantize(w, spec), atol=1e-5)
    assert torch.allclose(linear.weight.grad, gq.t() @ fake_quantize(x.detach(), spec), atol=1e-5)
    assert torch.equal(fake_quantize(w.t(), spec), fake_quantize(w, spec).t())


def test_matmul() -> None:
    model = nn.Module()
    model.product = MatMul("query", "key")
    model.forward = lambda a, b: model.product(a, b)
    rules = [{"match": "*", "format": "mxfp8_e4m3"}, {"match": "*.grad_output", "rounding": "nearest"}]
    quantize_model(model, "int8", num_bits=8, num_grad_bits=8, rules=rules)
    a, b = torch.randn(2, 20, 40, requires_grad=True), torch.randn(2, 40, 30, requires_grad=True)
    g = torch.randn(2, 20, 30)
    y = model(a, b)
    y.backward(g)

    def rounded(t: Tensor, dim: int) -> Tensor:
        return fake_quantize(t.detach(), "mxfp8_e4m3", dim=dim)

    assert torch.allclose(y, rounded(a, 2) @ rounded(b, 1), atol=1e-4)
    assert torch.allclose(a.grad, rounded(g, 2) @ rounded(b, 2).mT, atol=1e-4)
    assert torch.allclose(b.grad, rounded(a, 1).mT @ rounded(g, 1), atol=1e-4)


def test_operands_without_a_gradient_and_in_full_precision() -> None:
    linear = layer("mxfp8_e4m3", 8)
    y = linear(torch.randn(4, 50))  # the input wants no gradient
    y.sum().backward()
    assert linear.weight.grad is not None and linear.bias.grad.tolist() == [4.0] * 40
    specs = {name: QuantizerSpec(format="mxfp8_e4m3", bits=8) for name in ("input", "grad_output")}
    mixed = QLinear(50, 40, specs={**specs, "weight": QuantizerSpec(quantize=False)})
    x = torch.randn(4, 50, requires_grad=True)
    g = torch.randn(4, 40)
    mixed(x).backward(g)
    assert torch.allclose(x.grad, fake_quantize(g, "mxfp8_e4m3") @ mixed.weight, atol=1e-5)


def test_stochastic_gradients_repeat_and_differ_by_product() -> None:
    def gradients() -> tuple[Tensor, Tensor]:
        torch.manual_seed(3)
        specs = {name: QuantizerSpec(format="mxfp4", bits=4) for name in ("weight", "input")}
        specs["grad_output"] = QuantizerSpec(format="mxfp4", bits=4, rounding="stochastic")
        linear = QLinear(64, 64, specs=specs)
        x = torch.randn(64, 64, requires_grad=True)
        linear(x).backward(torch.randn(64, 64))
        return x.grad, linear.weight.grad

    for first, second in zip(gradients(), gradients(), strict=True):
        assert torch.equal(first, second)
    quantizer = Quantizer("g", GRADIENT, QuantizerSpec(format="mxfp4", rounding="stochastic"), QuantizationContext())
    g = torch.eye(64) * 6 + 0.6
    key = quantizer.context.noise_key(quantizer.layer)
    assert not torch.equal(quantizer.fake(g, 4, None, key), quantizer.fake_across(g.t(), 4, key).t())


EVERYWHERE = [{"match": "layers.*", "format": "mxfp8_e4m3"}, {"match": "embed.weight", "format": "mxfp4", "bits": 4}]


def quantized(model: nn.Module, rules: list[dict[str, Any]] = EVERYWHERE, **changes: Any) -> nn.Module:
    settings = {"num_bits": 8, "num_grad_bits": 8, "rules": rules, **changes}
    return quantize_model(copy.deepcopy(model), "int8", **settings)


def test_plan_training_and_trace(transformer: nn.Module, tokens: Tensor) -> None:
    model = quantized(transformer)
    row = model.quantization.plan["layers.0.fc1.weight"]
    assert row.cells()["format"] == "mxfp8_e4m3" and row.cells()["granularity"] == "group:32"
    assert "group:32" in model.quantization.plan.table()
    optimizer = torch.optim.SGD(model.parameters(), 0.003)
    with trace_gemms(model) as trace:
        first = model(tokens).square().sum()
        first.backward()
    trace.check(model.quantization.plan)
    for _ in range(5):
        optimizer.step()
        optimizer.zero_grad()
        loss = model(tokens).square().sum()
        loss.backward()
    assert loss < first
    assert model.eval()(tokens).isfinite().all()


def test_close_to_full_precision(transformer: nn.Module, tokens: Tensor) -> None:
    model = quantized(transformer, [{"match": "layers.*", "format": "mxint8"}, {"match": "embed*", "quantize": False}])
    expected = transformer(tokens)
    assert torch.allclose(model(tokens), expected, atol=0.05) and not torch.equal(model(tokens), expected)
    loss, exact = model(tokens).square().sum(), expected.square().sum()
    loss.backward(), exact.backward()
    ours, theirs = (torch.cat([p.grad.flatten() for p in m.parameters()]) for m in (model, transformer))
    assert (ours - theirs).norm() < 0.1 * theirs.norm()


def test_saved_and_packed(transformer: nn.Module, tokens: Tensor, tmp_path: Any) -> None:
    model = quantized(transformer).eval()
    expected = model(tokens)
    packed, _ = pack_weights(model)
    torch.save({key: weight.as_dict() for key, weight in packed.items()}, tmp_path / "packed.pt")
    entries = torch.load(tmp_path / "packed.pt", weights_only=True)
    read = {key: read_packed(entry) for key, entry in entries.items()}
    other = quantized(transformer).eval()
    for key, weight in read.items():
        other.get_parameter(key).data = weight.values()
    keep_integer_weights(other, read)
    assert torch.equal(other(tokens), expected)


@pytest.mark.parametrize(
    "spec", [*FORMATS, {"format": "mxfp4", "block_size": (4, 8)}, {"format": "block_fp", "width": 4}]
)
def test_packed_bit_for_bit(spec: Any) -> None:
    bits = FORMATS.get(spec, 4) if isinstance(spec, str) else 4
    quantizer = Quantizer("w", WEIGHT, QuantizerSpec(format=spec), QuantizationContext(), shape=(6, 70))
    weight = torch.randn(6, 70) * torch.logspace(-40, 3, 6)[:, None]
    weight[2] = 0
    entry = pack_weight(quantizer, weight, bits).as_dict()
    assert torch.equal(read_packed(entry).values(), quantizer.fake(weight, bits))
    with pytest.raises(ValueError, match="scales that are not uint8"):
        read_packed({**entry, "scales": [scale.float() for scale in entry["scales"]]})


@pytest.mark.parametrize("name", ["mxfp8_e4m3", "mxint8", "mxfp4", "nvfp4"])
def test_as_many_bytes_as_promised(name: str) -> None:
    number_format = build_format(name)
    bits = number_format.fixed_bits
    quantizer = Quantizer("w", WEIGHT, QuantizerSpec(format=name), QuantizationContext(), shape=(8, 128))
    packed = pack_weight(quantizer, torch.randn(8, 128), bits)
    of_tensor = 4 if name == "nvfp4" else 0
    assert packed.num_bytes * 8 == 1024 * number_format.bits_per_value(bits) + 8 * of_tensor


@pytest.mark.parametrize("block_size", [16, [4, 8]])
def test_table_of_packed_rows(block_size: Any) -> None:
    rules = [{"match": "0.weight", "format": {"format": "mxfp4", "block_size": block_size}, "bits": 4}]
    model = quantize_model(nn.Sequential(nn.Embedding(11, 20)), "int8", rules=rules).eval()
    tokens = torch.tensor([[0, 3, 10], [10, 5, 1]])
    expected = model(tokens)
    keep_integer_weights(model)
    assert torch.equal(model(tokens), expected)


@pytest.mark.parametrize(
    ("changes", "rules", "message"),
    [
        ({"num_bits": 6}, [], "num_bits=6: .* its format mxfp8_e4m3 has 8 bits, always"),
        (
            {},
            [{"match": "*.weight", "learned": "scale"}],
            "learned scale needs granularity tensor or channel, not group",
        ),
        (
            {},
            [{"match": "*.weight", "granularity": "group:16"}],
            "group:16 contradicts the format's own blocks, group:32",
        ),
    ],
)
def test_what_they_cannot_do(
    changes: dict[str, Any], rules: list[dict[str, Any]], message: str, transformer: nn.Module
) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        quantized(transformer, [{"match": "*", "format": "mxfp8_e4m3"}, *rules], **changes)
    assert "\n" not in str(error.value)


def test_auto_simulates_and_onnx_refuses(transformer: nn.Module) -> None:
    model = quantized(transformer, compute="auto")
    row = model.quantization.plan["layers.0.fc1.input"]
    assert row.note == "by auto" and row.spec.compute == "simulate"
    for spec in ("mxint8", "mxfp8_e4m3"):
        asked = quantized(transformer, [{"match": "layers.*", "format": spec}], compute="integer")
        assert asked.quantization.plan["layers.0.fc1.input"].cells()["compute"] == "simulate, no integer kernel"
    with pytest.raises(ConfigError, match="mxfp8_e4m3 are not evenly spaced"):
        has_integer_zero(model.layers[0].fc1.quantizers.quantizer("weight"))


def test_running_ranges_of_a_preset_give_way() -> None:
    spec = QuantizerSpec(format="mxint8", range={"name": "ema", "momentum": 0.9}, granularity="tensor")
    quantizer = Quantizer("x", ACTIVATION, spec, QuantizationContext())
    assert quantizer.spec.range == "minmax" and quantizer.spec.granularity == "group:32"
    assert quantizer.eval().fake(torch.ones(40), 8).tolist() == [1.0] * 40
