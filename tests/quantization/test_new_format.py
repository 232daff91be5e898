"""A number format with unevenly spaced levels works everywhere once its class is there, or is refused in one line."""

import copy
from collections.abc import Iterator
from typing import Optional

import pytest
import torch
from torch import Tensor, nn

from fairseq.checkpoint.packed import read_packed
from fairseq.errors import ConfigError
from fairseq.export.grids import has_integer_zero
from fairseq.quantization import quantize_model
from fairseq.quantization.analysis.gemm_trace import trace_gemms
from fairseq.quantization.analysis.report import report
from fairseq.quantization.formats import FORMATS, NumberFormat, QParams, build_format
from fairseq.quantization.integer_weights import keep_integer_weights, pack_weights
from fairseq.quantization.products.packed_weight import pack_weight
from fairseq.quantization.quantizer import ACTIVATION, WEIGHT, QuantizationContext, Quantizer, QuantizerSpec

NAME = "powers_of_two"


class PowersOfTwo(NumberFormat):
    """0 and +-2^(k - q) * scale, k from 1 to q = 2^(b-1) - 1; code = sign * k."""

    name = NAME
    is_uniform = False
    has_exact_zero = True
    covers_ends = True
    is_symmetric = True
    max_bits = 5

    def qparams(self, low: Tensor, high: Tensor, num_bits: int) -> QParams:
        scale = torch.maximum(-low, high).clamp(min=2.0**-100)
        return QParams(scale, torch.zeros_like(scale), *self.code_range(num_bits))

    def code_range(self, num_bits: int) -> tuple[int, int]:
        largest = 2 ** (num_bits - 1) - 1
        return -largest, largest

    def max_value(self, num_bits: int) -> float:
        return 1.0

    def quantize(self, x: Tensor, qparams: QParams, noise=None, out=None, clamp=True) -> Tensor:  # type: ignore
        most = qparams.quant_max
        size = x.abs() / qparams.scale
        below = size.log2().floor().clamp(1 - most, 0)  # exponent of the level at or below, but of 0
        start = torch.where(size < 2.0 ** (1 - most), torch.zeros_like(size), 2.0**below)
        distance = torch.where(start == 0, torch.full_like(size, 2.0 ** (1 - most)), start)
        place = (size - start) / distance * x.sign()
        if noise is not None:
            noise.add_to(place)
        steps = place.mul_(x.sign()).round_()
        codes = (torch.where(start == 0, torch.zeros_like(size), below + most) + steps).clamp(-most, most)
        codes = codes * torch.where(x < 0, -1.0, 1.0)
        return codes if out is None else out.copy_(codes)

    def dequantize(self, codes: Tensor, qparams: QParams, out: Optional[Tensor] = None) -> Tensor:
        values = codes.sign() * 2.0 ** (codes.abs() - qparams.quant_max) * qparams.scale
        return values if out is None else out.copy_(values)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    assert NAME not in FORMATS
    monkeypatch.setattr(FORMATS, "_entries", dict(FORMATS._entries))
    FORMATS.register(NAME)(PowersOfTwo)
    yield


EVERYWHERE = [
    {"match": "layers.*", "format": NAME},
    {"match": "layers.*.weight", "granularity": "group:5"},
    {"match": "embed.weight", "format": NAME, "bits": 4, "granularity": "token"},
]


def quantized(model: nn.Module, rules: list[dict[str, object]] = EVERYWHERE, **changes: object) -> nn.Module:
    return quantize_model(copy.deepcopy(model), "int4", num_bits=4, num_grad_bits=5, rules=rules, **changes)


def test_levels_and_codes() -> None:
    quantizer = Quantizer("x", ACTIVATION, QuantizerSpec(format=NAME), QuantizationContext())
    x = torch.tensor([8.0, -8.0, 5.9, 6.1, 0.0, 2.9, -3.1, 0.01])
    assert quantizer.fake(x, 4).tolist() == [8, -8, 4, 8, 0, 2, -4, 0]
    codes = quantizer.codes(x, 4)
    assert codes.tolist() == [7, -7, 6, 7, 0, 5, -6, 0] and codes.dtype == torch.int8
    assert build_format(NAME).num_levels(4) == 15 and build_format(NAME).bits_per_value(4, 64) == 4.5
    # a gradient passes where x lies between the outermost levels
    spec = QuantizerSpec(format=NAME, ste="clipped", range={"name": "percentile", "percent": 75.0})
    x = torch.tensor([1.0, -1.0, 0.3, 9.0], requires_grad=True)
    Quantizer("x", ACTIVATION, spec, QuantizationContext())(x, 4).tensor().sum().backward()
    assert x.grad is not None and x.grad.tolist() == [1, 1, 1, 0]


def test_stochastic_rounding_keeps_the_mean_whatever_the_distance() -> None:
    quantizer = Quantizer("g", "gradient", QuantizerSpec(format=NAME, rounding="stochastic"), QuantizationContext())
    for value in (0.3, 0.7, -0.011, 0.9):
        x = torch.full((400, 500), value)
        x[0, 0] = 1
        y = quantizer.fake(x, 4)[1:]
        assert y.unique().numel() == 2 and abs(float(y.mean()) - value) < 3e-3 * abs(value)


def test_trains_evaluates_and_is_traced(transformer: nn.Module, tokens: Tensor) -> None:
    model = quantized(transformer)
    plan = model.quantization.plan
    row = plan["layers.0.fc1.weight"]
    assert row.cells()["format"] == NAME and row.as_dict()["granularity"] == "group:5" and NAME in plan.table()
    optimizer = torch.optim.SGD(model.parameters(), 0.003)
    with trace_gemms(model) as trace:
        first = model(tokens).square().sum()
        first.backward()
    trace.check(plan)
    quantized_gemms = [gemm for gemm in trace.gemms if gemm.is_quantized]
    assert {gemm.allowed for gemm in quantized_gemms} == {(15, 15), (31, 15)}
    assert max(gemm.levels[1] for gemm in quantized_gemms) > 8
    for _ in range(5):
        optimizer.step()
        optimizer.zero_grad()
        loss = model(tokens).square().sum()
        loss.backward()
    assert loss < first
    model.eval()
    assert torch.isfinite(model(tokens)).all()
    rows = {each.quantizer: each for each in report(model, lambda model: model(tokens))}
    assert rows["layers.0.fc1.weight"].format == NAME


def test_saved_and_packed(transformer: nn.Module, tokens: Tensor, tmp_path) -> None:
    model = quantized(transformer)
    model(tokens).sum().backward()
    model.eval()
    expected = model(tokens)
    torch.save([model.state_dict(), model.quantization.state_dict(model)], tmp_path / "model.pt")
    weights, state = torch.load(tmp_path / "model.pt", weights_only=True)
    other = quantized(transformer).eval()
    other.load_state_dict(weights, strict=True)
    other.quantization.load_state_dict(other, state)
    assert torch.equal(other(tokens), expected)

    packed, _ = pack_weights(model)
    assert {weight.format for weight in packed.values()} == {NAME} and "embed.weight" in packed
    torch.save({key: weight.as_dict() for key, weight in packed.items()}, tmp_path / "packed.pt")
    read = {key: read_packed(e) for key, e in torch.load(tmp_path / "packed.pt", weights_only=True).items()}
    quantizer = model.layers[0].fc1.quantizers.quantizer("weight")
    assert torch.equal(read["layers.0.fc1.weight"].values(), quantizer.fake(model.layers[0].fc1.weight, 4))
    assert read["layers.0.fc1.weight"].data.shape == (32, 8)  # 16 codes of 4 bits a row
    for key, weight in read.items():
        other.get_parameter(key).data = weight.values()
    keep_integer_weights(other, read)
    assert torch.equal(other(tokens), expected)


@pytest.mark.parametrize("num_bits", range(2, 6))
def test_packed_at_every_width(num_bits: int) -> None:
    spec = QuantizerSpec(format=NAME, granularity="channel", range="mse")
    quantizer = Quantizer("w", WEIGHT, spec, QuantizationContext(), shape=(6, 13))
    weight = torch.randn(6, 13)
    assert torch.equal(pack_weight(quantizer, weight, num_bits).values(), quantizer.fake(weight, num_bits))


@pytest.mark.parametrize(
    ("changes", "rules", "message"),
    [
        ({"num_bits": 6}, [], "quantization.num_bits=6: 'layers.0.*' follows it, .* powers_of_two has 2 to 5 bits"),
        ({"eval_bits": 6}, [], "quantization.eval_bits=6: .* powers_of_two has 2 to 5"),
        ({"num_grad_bits": 8}, [], "quantization.num_grad_bits=8: .* powers_of_two has 2 to 5"),
        ({}, [{"match": "layers.0.fc1.weight", "bits": 6}], "fc1.weight: 6 bits; the format powers_of_two has 2 to 5"),
        ({}, [{"match": "*.weight", "learned": "scale", "granularity": "tensor"}], "needs evenly spaced levels"),
    ],
)
def test_what_it_cannot_do_is_an_error(
    changes: dict[str, object], rules: list[dict[str, object]], message: str, transformer: nn.Module
) -> None:
    settings = {"num_bits": 4, "num_grad_bits": 5, "rules": [{"match": "layers.*", "format": NAME}, *rules], **changes}
    with pytest.raises(ConfigError, match=message) as error:
        quantize_model(transformer, "int4", **settings)
    assert "\n" not in str(error.value)


def test_auto_simulates_it(transformer: nn.Module) -> None:
    model = quantized(transformer, compute="auto")
    row = model.quantization.plan["layers.0.fc1.input"]
    assert row.note == "by auto" and row.spec.compute == "simulate"


def test_under_compute_integer_it_is_simulated_and_the_plan_says_so(transformer: nn.Module, tokens: Tensor) -> None:
    rules = [{"match": "layers.0.fc1.*", "format": NAME, "granularity": "tensor"}]
    model = quantized(transformer, rules, compute="integer")
    plan = model.quantization.plan
    row, other = plan["layers.0.fc1.input"], plan["layers.0.fc2.input"]
    assert row.spec.compute == "simulate" and row.cells()["compute"] == "simulate, no integer kernel"
    assert row.as_dict()["compute_without_kernel"] and "no integer kernel" in plan.table()
    assert other.spec.compute == "integer" and not other.note
    assert not model.layers[0].fc1.quantizers.integer and model.layers[0].fc2.quantizers.integer
    simulated = quantized(transformer, [*rules, {"match": "layers.0.fc1.*", "compute": "simulate"}], compute="integer")
    assert torch.equal(model(tokens), simulated(tokens))


def test_onnx_refuses_it(transformer: nn.Module) -> None:
    quantizer = quantized(transformer).layers[0].fc1.quantizers.quantizer("weight")
    message = "fc1.weight: the levels of format powers_of_two are not evenly spaced"
    with pytest.raises(ConfigError, match=message) as error:
        has_integer_zero(quantizer)
    assert "format: affine" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("rule", [
    {"match": "0.weight", "compute": "integer"},
    {"match": "0.weight", "format": "mxfp4", "bits": 4, "compute": "integer"},
    {"match": "0.grad_output", "compute": "integer"},
], ids=["weight", "weight in blocks", "gradient"])  # fmt: skip
def test_integers_asked_of_one_operand_alone_are_simulated_and_the_plan_says_so(rule: dict[str, object]) -> None:
    plan = quantize_model(nn.Sequential(nn.Linear(32, 64)), "int8", rules=[rule]).quantization.plan
    assert {row.spec.compute for row in plan.rows} == {"simulate"}
    assert plan[str(rule["match"])].as_dict()["compute_as_other_operand"] and "as the other operand" in plan.table()
    assert [row.note for row in plan.rows].count("as the other operand") == 1
