"""Convolutions behind quantizers: the products and their gradients, against what torch makes of rounded tensors."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fairseq.errors import ConfigError
from fairseq.quantization import fake_quantize, quantize_model, remove_quantization
from fairseq.quantization.analysis.bitops import CostMeter
from fairseq.quantization.analysis.gemm_trace import trace_gemms
from fairseq.quantization.analysis.report import report
from fairseq.quantization.products.convolution import from_rows_of_second, rows_of_second

CASES: dict[str, tuple[Any, tuple[int, ...]]] = {
    "1d": (lambda: nn.Conv1d(6, 4, 3, stride=2, padding=1), (2, 6, 9)),
    "groups": (lambda: nn.Conv2d(6, 4, 3, groups=2, dilation=2, padding=(2, 1)), (2, 6, 7, 8)),
    "depthwise": (lambda: nn.Conv2d(6, 12, 3, groups=6, padding="same"), (2, 6, 5, 5)),
    "same, even": (lambda: nn.Conv2d(3, 4, (2, 4), padding="same"), (2, 3, 5, 6)),
    "valid": (lambda: nn.Conv1d(3, 4, 2, padding="valid", bias=False), (2, 3, 5)),
    "reflect": (lambda: nn.Conv2d(3, 4, 3, padding=(1, 2), padding_mode="reflect"), (2, 3, 5, 6)),
    "circular": (lambda: nn.Conv1d(3, 4, 3, padding=2, padding_mode="circular"), (2, 3, 5)),
    "replicate": (lambda: nn.Conv3d(3, 4, 2, padding=1, padding_mode="replicate"), (2, 3, 3, 2, 3)),
    "transposed 1d": (lambda: nn.ConvTranspose1d(6, 4, 3, stride=2, padding=1), (2, 6, 5)),
    "transposed groups": (
        lambda: nn.ConvTranspose2d(6, 4, 3, stride=(2, 1), groups=2, output_padding=(1, 0), dilation=2),
        (2, 6, 4, 5),
    ),
    "transposed 3d": (lambda: nn.ConvTranspose3d(3, 2, 2, bias=False), (1, 3, 2, 3, 2)),
    "no batch": (lambda: nn.Conv2d(3, 4, 3, padding=1), (3, 5, 6)),
    "transposed, no batch": (lambda: nn.ConvTranspose1d(3, 4, 3), (3, 5)),
}


def rules(spec: Any, granularity: str = "tensor") -> list[dict[str, Any]]:
    return [
        {"match": "*", "format": spec, "range": "minmax", "granularity": granularity, "rounding": "nearest"},
        {"match": "re:.*\\.(bias|output)", "granularity": "tensor"},
    ]


def quantized(layer: nn.Module, spec: Any = "symmetric", granularity: str = "tensor", **changes: Any) -> nn.Module:
    model = nn.Sequential(copy.deepcopy(layer))
    return quantize_model(model, "int8", rules=rules(spec, granularity), **{"num_grad_bits": 8, **changes})


@pytest.mark.parametrize("name", CASES)
def test_full_precision_is_torch(name: str) -> None:
    make, shape = CASES[name]
    layer, x = make(), torch.randn(shape)
    model = quantized(layer)
    assert list(model.state_dict()) == [f"0.{key}" for key in layer.state_dict()]
    assert torch.equal(model(x, num_bits=0), layer(x))
    assert model(x).shape == layer(x).shape and not torch.equal(model(x), layer(x))


@pytest.mark.parametrize("name", CASES)
def test_products_of_rounded_tensors(name: str) -> None:
    make, shape = CASES[name]
    layer, x = make(), torch.randn(shape, requires_grad=True)
    model = quantized(layer, num_bits=4)
    y = model(x)
    g = torch.randn_like(y)
    y.backward(g)
    exact, rounded = copy.deepcopy(layer), fake_quantize(x.detach(), "symmetric", num_bits=4).requires_grad_()
    exact.weight.data = fake_quantize(layer.weight.detach(), "symmetric", num_bits=4)
    expected = exact(rounded)
    assert torch.allclose(y, expected, atol=1e-5)
    expected.backward(fake_quantize(g, "symmetric", num_bits=8))
    for ours, theirs in ((x.grad, rounded.grad), (model[0].weight.grad, exact.weight.grad)):
        assert torch.allclose(ours, theirs, atol=1e-4)
    if layer.bias is not None:
        assert torch.allclose(model[0].bias.grad, exact.bias.grad, atol=1e-4)


@pytest.mark.parametrize("name", ["groups", "transposed groups", "transposed 1d"])
def test_an_output_channel_of_the_weight_shares_a_range(name: str) -> None:
    layer = CASES[name][0]()
    transposed = isinstance(layer, nn.modules.conv._ConvTransposeNd)
    model = quantized(layer, num_bits=3, granularity="channel")
    quantizers = model[0].quantizers
    value = quantizers.from_matrix(quantizers.quantizer("weight").fake(quantizers.matrix(layer.weight), 3))
    outputs, groups = layer.out_channels, layer.groups
    per_group = outputs // groups
    for channel in range(outputs):
        if transposed:
            first = layer.in_channels // groups
            group = slice(channel // per_group * first, (channel // per_group + 1) * first)
            of = (group, channel % per_group)
        else:
            of = (channel,)
        part = layer.weight.detach()[of]
        assert torch.equal(value[of], fake_quantize(part, "symmetric", num_bits=3))


def test_rows_of_second_and_back() -> None:
    weight = torch.randn(6, 2, 3, 2)
    matrix = rows_of_second(weight, 3)
    assert matrix.shape == (6, 12) and torch.equal(from_rows_of_second(matrix, weight.shape, 3), weight)
    assert torch.equal(matrix[3], weight[2:4, 1].flatten())  # group 1, second of its channels


@pytest.mark.parametrize("name", ["1d", "groups", "transposed groups"])
def test_blocks_lie_along_each_contraction(name: str) -> None:
    make, shape = CASES[name]
    layer = make()
    spec = {"format": "mxfp8_e4m3", "block_size": 4}
    x = (torch.randn(shape) * torch.logspace(-2, 2, shape[1]).view(-1, *[1] * (len(shape) - 2))).requires_grad_()
    model = quantized(layer, spec)
    y = model(x)
    g = torch.randn_like(y) * torch.logspace(-2, 2, y.shape[1]).view(-1, *[1] * (y.dim() - 2))
    y.backward(g)
    quantizers, transposed = model[0].quantizers, isinstance(layer, nn.modules.conv._ConvTransposeNd)
    weight = layer.weight.detach()
    first, second = weight.flatten(1), rows_of_second(weight, layer.groups)
    forward, across = (second, first) if transposed else (first, second)

    def layer_with(matrix: Tensor, is_across: bool) -> nn.Module:
        other = copy.deepcopy(layer)
        back = quantizers.from_matrix_across if is_across else quantizers.from_matrix
        other.weight.data = back(fake_quantize(matrix, spec)).clone()
        return other

    channels, positions = fake_quantize(x.detach(), spec, dim=1), fake_quantize(x.detach().flatten(2), spec)
    assert torch.allclose(y, layer_with(forward, False)(channels), rtol=1e-4, atol=1e-3)
    one = torch.zeros(shape, requires_grad=True)
    layer_with(across, True)(one).backward(fake_quantize(g, spec, dim=1))
    assert torch.allclose(x.grad, one.grad, rtol=1e-4, atol=1e-3)
    other = copy.deepcopy(layer)
    other(positions.view(shape)).backward(fake_quantize(g.flatten(2), spec).view(g.shape))
    assert torch.allclose(model[0].weight.grad, other.weight.grad, rtol=1e-3, atol=1e-2)
    assert torch.allclose(model[0].bias.grad, g.sum((0, *range(2, g.dim()))), rtol=1e-4, atol=1e-3)


def test_token_ranges_are_those_of_positions() -> None:
    layer, x = nn.Conv2d(5, 3, 3), torch.randn(2, 5, 6, 6)
    model = quantized(layer)
    row = [{"match": "0.input", "granularity": "token"}]
    by_position = quantize_model(
        nn.Sequential(copy.deepcopy(layer)), "int8", num_bits=4, rules=rules("symmetric") + row
    )
    seen: list[Tensor] = []
    by_position[0].quantizers.quantizer("input").register_forward_hook(lambda _, __, y: seen.append(y.value))
    by_position(x)
    expected = fake_quantize(x, "symmetric", dim=1, num_bits=4, granularity="token")
    assert torch.equal(seen[0].mT.view(x.shape), expected) and model[0].quantizers is not None


def test_output_size_of_transposed() -> None:
    layer = nn.ConvTranspose2d(2, 3, 3, stride=2)
    model, x = quantized(layer), torch.randn(1, 2, 4, 4)
    assert model[0](x, output_size=[10, 10], num_bits=4).shape == (1, 3, 10, 10)
    assert torch.equal(model[0](x, output_size=[10, 10], num_bits=0), layer(x, output_size=[10, 10]))


@pytest.mark.parametrize("name", ["groups", "depthwise", "transposed groups", "same, even"])
def test_trace_costs_and_report(name: str) -> None:
    make, shape = CASES[name]
    layer, x = make(), torch.randn(shape, requires_grad=True)
    for spec, bits in (("symmetric", 4), ("mxfp4", 4)):
        model = quantized(layer, spec, num_bits=bits, num_grad_bits=4)
        with trace_gemms(model) as trace:
            model(x).sum().backward()
        trace.check(model.quantization.plan)
        assert [gemm.kind for gemm in trace.gemms] == ["forward", "grad_input", "grad_weight"]
        meter = CostMeter(bits)
        with meter.counting(model, model.quantization.context):
            y = model(x)
        values = x if isinstance(layer, nn.modules.conv._ConvTransposeNd) else y
        macs = values.numel() * layer.weight[0].numel()
        assert meter.total.quantized == macs * bits * bits
        if name != "same, even":  # whose input is padded by a column more
            assert trace.gemms[0].flops == 2 * macs == trace.gemms[1].flops
        assert report(model)[0].codes_used > 0
        plain = CostMeter(bits)
        with plain.counting(model, model.quantization.context), model.quantization.context.full_precision():
            model(x)
        assert plain.total.full == 3 * macs * 1024  # with both gradients


def test_trace_of_full_precision() -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(16, 2))
    quantize_model(model, "int8", rules=[{"match": "0.*", "quantize": False}])
    with trace_gemms(model) as trace:
        model(torch.randn(1, 2, 4, 4, requires_grad=True)).sum().backward()
    assert trace.full_precision() == {"0": 3 * 2 * 4 * 4 * 18}


def test_integers_are_simulated() -> None:
    layer = nn.Conv2d(2, 4, 3)
    model = quantized(layer, compute="integer")
    plan = model.quantization.plan
    assert plan["0.input"].cells()["compute"] == "simulate, no integer kernel"
    assert quantized(layer, compute="auto").quantization.plan["0.weight"].spec.compute == "simulate"
    x = torch.randn(1, 2, 5, 5)
    assert torch.equal(model(x), quantized(layer)(x))


def test_a_forward_of_its_own_is_refused() -> None:
    class Standardized(nn.Conv2d):
        def forward(self, input: Tensor) -> Tensor:
            return self._conv_forward(input, self.weight - self.weight.mean(), self.bias)

    model = nn.Sequential(nn.Conv2d(1, 1, 1), Standardized(1, 1, 1))
    with pytest.raises(ConfigError, match=r"'1': Standardized has a forward of its own; use nn\.Conv2d"):
        quantize_model(model, "int8")
    quantize_model(model, "int8", rules=[{"match": "1.*", "quantize": False}])
    normed = nn.utils.parametrizations.weight_norm(nn.Conv1d(1, 1, 1))
    with pytest.raises(ConfigError, match="its weight is parametrized"):
        quantize_model(nn.Sequential(normed), "int8")


def test_nothing_is_lost() -> None:
    class Named(nn.Conv1d):
        def name(self) -> str:
            return "mine"

    layer = Named(2, 2, 1).double()
    layer.register_buffer("count", torch.tensor(3))
    layer.weight.requires_grad_(False)
    calls: list[int] = []
    layer.register_forward_hook(lambda *_: calls.append(1))
    model = quantize_model(nn.Sequential(layer), "int8")
    assert model[0].weight is layer.weight and not model[0].weight.requires_grad and model[0].count == 3
    assert model(torch.randn(1, 2, 3).double()).dtype == torch.float64 and calls == [1]
    restored = remove_quantization(model)[0]
    assert restored.name() == "mine" and restored.weight is layer.weight and not hasattr(restored, "quantizers")


def test_channels_last() -> None:
    layer = nn.Conv2d(4, 4, 3).to(memory_format=torch.channels_last)
    x = torch.randn(2, 4, 6, 6).to(memory_format=torch.channels_last)
    assert torch.allclose(quantized(layer)(x), quantized(layer)(x.contiguous()), atol=1e-5)
    assert torch.equal(quantized(layer)(x, num_bits=0), layer(x))
