"""A layer's three integer products against fp64 computed from its codes, and what it keeps, shares and refuses."""

import copy
import functools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fairseq.errors import ConfigError
from fairseq.quantization import QLinear, quantize_model
from fairseq.quantization.analysis.gemm_trace import trace_gemms
from fairseq.quantization.kernels import torch_gemm
from fairseq.quantization.kernels.codes import QuantizedMatrix
from fairseq.quantization.kernels.prepared_weight import PreparedWeight
from fairseq.quantization.products import integer_encode, integer_linear, linear
from tests.quantization.integer_tools import close, layer, values

pytestmark = pytest.mark.usefixtures("each_kernel")


class Captured:
    """The codes that a layer's forward and backward multiplied."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.gradients: list[integer_linear.GradientCodes] = []
        self.forward: tuple[QuantizedMatrix, PreparedWeight]
        make, product = integer_linear.gradient_codes, integer_linear.forward_product

        def gradient_codes(*args: Any) -> Any:
            self.gradients.append(make(*args))
            return self.gradients[-1]

        def forward(x: QuantizedMatrix, w: PreparedWeight, *rest: Any) -> Tensor:
            self.forward = (x, w)
            return product(x, w, *rest)

        monkeypatch.setattr(integer_linear, "gradient_codes", gradient_codes)
        monkeypatch.setattr(integer_linear, "forward_product", forward)


@pytest.mark.parametrize("preset", ["int8", "int4", "cpt_3_8"])
@pytest.mark.parametrize("per_token", [False, True])
@pytest.mark.parametrize("shape", [(24,), (5, 24), (3, 4, 24), (2, 1, 3, 24)])
def test_layer_equals_fp64_from_its_codes(
    preset: str, per_token: bool, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = [{"match": "*.input", "granularity": "token", "range": "minmax"}] if per_token else []
    model, captured = layer(preset, rules=rules), Captured(monkeypatch)
    with torch.no_grad():
        model[0].weight[3] = 0.0
        model[0].weight[4] *= 1e-6
    x = torch.randn(shape, requires_grad=True)
    y = model(x)
    (x_codes, w_codes) = captured.forward
    x_values, w_values = values(x_codes), values(w_codes)
    close(y.detach().view(-1, 10), x_values @ w_values.t() + model[0].bias.double())
    grad = torch.randn_like(y)
    y.backward(grad)
    ((for_x, for_w, _),) = captured.gradients
    w_scale, x_scale = w_codes.scale.double(), x_codes.scale.double()
    # what the gradient is multiplied by before rounding is taken out of the other factor
    close(x.grad.view(-1, 24), values(for_x) @ (w_values / (w_scale / w_scale.max())))
    close(model[0].weight.grad, values(for_w).t() @ (x_values / (x_scale / x_scale.max())))
    # and the codes are the gradient, to within one step
    steps = (values(for_x) - grad.view(-1, 10) * (w_scale / w_scale.max()).t()).abs().max() / for_x.scale
    assert steps <= 1.01 and for_x.num_bits == 8
    assert (model[0].bias.grad - grad.view(-1, 10).sum(0)).abs().max() < 10 * for_w.scale


@pytest.mark.parametrize("preset", ["int8", "int4", "cpt_3_8"])
def test_integer_equals_simulate(preset: str) -> None:
    """With one scale per tensor of weights everything is the same; with one per channel all but dL/dx's rounding."""
    x = torch.randn(6, 7, 24)
    grad = torch.randn(6, 7, 10)
    for granularity in ("tensor", "channel"):
        found = {}
        torch.manual_seed(3)
        base = nn.Sequential(nn.Linear(24, 10))
        for compute in ("simulate", "integer"):
            model = quantize_model(copy.deepcopy(base), preset, compute=compute,
                                   rules=[{"match": "*.weight", "granularity": granularity}])  # fmt: skip
            model.quantization.begin_micro_batch(5)
            inputs = x.clone().requires_grad_()
            y = model(inputs)
            y.backward(grad)
            model.quantization.end_update(model)
            evaluated = model.eval()(x)
            found[compute] = (y, model[0].weight.grad, model[0].bias.grad, evaluated, inputs.grad)
        for index, (a, b) in enumerate(zip(*found.values(), strict=True)):
            tolerance = 1e-5 if index < 4 or granularity == "tensor" else 0.02
            assert (a - b).norm() <= tolerance * a.norm(), (granularity, index)


def test_strided_inputs_and_gradients() -> None:
    model = layer()
    x = torch.randn(24, 7, 3)
    for view in (x.permute(2, 1, 0), x.transpose(0, 2)[::2]):
        y = model(view)
        model.zero_grad()
        y.backward(torch.randn(7, *y.shape[:1], 10).transpose(0, 1))
        grad = model[0].weight.grad.clone()
        assert grad.isfinite().all() and grad.abs().max() > 0
    whole = model(x.permute(2, 1, 0))
    assert torch.equal(whole, model(x.permute(2, 1, 0).contiguous()))


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-12, 1e12, 1e30])
def test_extreme_scales(scale: float) -> None:
    model = layer(inputs=16)
    x = (torch.randn(9, 16) * scale).requires_grad_()
    y = model(x)
    assert y.isfinite().all()
    y.backward(torch.full_like(y, scale or 1.0))
    assert x.grad is not None and x.grad.isfinite().all()
    simulated = quantize_model(copy.deepcopy(model), "int8", compute="simulate")
    close(y.detach(), simulated(x.detach()).double())


def test_only_wanted_gradients() -> None:
    for x_wanted in (False, True):
        for w_wanted in (False, True):
            for b_wanted in (False, True):
                model = layer()
                model[0].weight.requires_grad_(w_wanted)
                model[0].bias.requires_grad_(b_wanted)
                x = torch.randn(3, 24, requires_grad=x_wanted)
                y = model(x)
                if y.requires_grad:
                    y.sum().backward()
                found = [part.grad is not None for part in (x, model[0].weight, model[0].bias)]
                assert found == [x_wanted, w_wanted, b_wanted]


@pytest.mark.parametrize("grad_bits", [0, 16])
def test_gradients_of_more_than_8_bits_are_formed_in_floating_point(grad_bits: int) -> None:
    model = layer(num_grad_bits=grad_bits)
    x = torch.randn(6, 24, requires_grad=True)
    grad = torch.randn(6, 10)
    model(x).backward(grad)
    w = model[0].quantizers.quantizer("weight").fake(model[0].weight.detach(), 8)
    tolerance = 1e-5 if not grad_bits else 1e-3
    assert (x.grad - grad @ w).norm() <= tolerance * x.grad.norm()
    assert model[0].weight.grad.shape == (10, 24)


def test_more_than_8_bits_are_simulated_and_products_that_cannot_be_are_refused() -> None:
    model, x = layer("cpt_3_8"), torch.randn(5, 24)
    simulated = quantize_model(copy.deepcopy(model), "cpt_3_8")
    assert torch.equal(model(x, num_bits=12), simulated(x, num_bits=12))
    for rule in ({"granularity": "group:8"}, {"ste": "clipped"}, {"learned": "scale", "granularity": "tensor"}):
        with pytest.raises(ConfigError, match="compute integer is not possible"):
            layer(rules=[{"match": "0.weight", **rule}])


def test_autocast_and_bf16() -> None:
    model, x = layer(), torch.randn(5, 24, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = model(x)
    assert y.dtype == torch.bfloat16
    y.sum().backward()
    assert x.grad.dtype == torch.float32
    half = layer().bfloat16()
    y = half(x.detach().bfloat16())
    assert y.dtype == torch.bfloat16
    y.sum().backward()
    assert half[0].weight.grad.dtype == torch.bfloat16


def test_weight_codes_are_made_once_per_update_and_bits(monkeypatch: pytest.MonkeyPatch) -> None:

    made: list[int] = []
    make = integer_encode.weight_codes

    def counted(quantizer: Any, weight: Tensor, num_bits: int) -> PreparedWeight:
        made.append(num_bits)
        return make(quantizer, weight, num_bits)

    monkeypatch.setattr(linear, "weight_codes", counted)
    model, x = layer(), torch.randn(3, 24)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def micro_batches(update: int, num_bits: int) -> None:
        for index in range(3):
            model.quantization.begin_micro_batch(update, index)
            model(x, num_bits=num_bits).sum().backward()

    micro_batches(0, 8)
    assert made == [8]
    micro_batches(0, 4)
    assert made == [8, 4]
    before = model(x, num_bits=4)
    optimizer.step()
    micro_batches(1, 4)
    assert made == [8, 4, 4]
    assert not torch.equal(before, model(x, num_bits=4))
    model.eval()
    for _ in range(2):
        model(x, num_bits=4)
        with torch.no_grad():
            model(x, num_bits=4)
    assert made == [8, 4, 4, 4]  # once more between training and evaluation
    with torch.no_grad():
        model[0].weight.mul_(2.0)
    model(x, num_bits=4)
    assert made == [8, 4, 4, 4, 4]
    model[0].weight.data = torch.randn(10, 24)
    model(x, num_bits=4)
    assert len(made) == 6


@pytest.mark.parametrize(("preset", "share"), [("int8", 0.27), ("int4", 0.15)])
def test_saved_activations(preset: str, share: float) -> None:
    model, x = layer(preset, 256, 64), torch.randn(512, 256, requires_grad=True)
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        model(x)
    assert 0 < sum(kept.values()) <= share * x.numel() * 4


def test_inputs_shared_by_layers_have_one_set_of_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    class Three(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q, self.k, self.v = (nn.Linear(24, 24) for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            return self.q(x) + self.k(x) + self.v(x)

    calls: list[Any] = []
    for name in ("encode", "encode_matrix"):
        make = getattr(integer_encode, name)
        counted = functools.partial(
            lambda make, x, *rest, **more: calls.append(x.shape) or make(x, *rest, **more), make
        )
        monkeypatch.setattr(integer_encode, name, counted)
    model = quantize_model(Three(), "int8", compute="integer")
    y = model(torch.randn(5, 24))
    assert calls.count((5, 24)) == 1
    assert torch.allclose(y, quantize_model(copy.deepcopy(model), "int8")(torch.zeros(5, 24)), atol=100)


@pytest.mark.skipif(torch_gemm.backend("cpu") == "float", reason="no integer GEMM on this machine that could be traced")
def test_every_product_is_seen_at_its_bits() -> None:
    model = quantize_model(nn.Sequential(nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, 10)), "int4", compute="integer")
    with trace_gemms(model) as trace:
        model(torch.randn(6, 24)).square().sum().backward()
    trace.check(model.quantization.plan)
    assert trace.full_precision() == {}
    assert {(gemm.path, gemm.kind, gemm.bits) for gemm in trace.gemms} == {
        (path, kind, bits)
        for path in "02"
        for kind, bits in (("forward", (4, 4)), ("grad_input", (8, 4)), ("grad_weight", (8, 4)))
        if (path, kind) != ("0", "grad_input")  # the input wants no gradient
    }
    assert all(gemm.operator == "_int_mm" for gemm in trace.gemms)


def test_nan_is_not_hidden() -> None:
    model, x = layer(), torch.randn(5, 24, requires_grad=True)
    poisoned = x.detach().clone()
    poisoned[2, 3] = float("nan")
    assert not model(poisoned).isfinite().all()
    y = model(x)
    y.backward(torch.full_like(y, float("nan")))
    assert not x.grad.isfinite().all() and not model[0].weight.grad.isfinite().all()


def test_standalone_layer() -> None:
    from fairseq.quantization.spec import QuantizerSpec

    specs = {
        "weight": QuantizerSpec(format="symmetric", granularity="channel", compute="integer"),
        "input": QuantizerSpec(format="affine", compute="integer"),
        "grad_output": QuantizerSpec(bits=8, format="symmetric", rounding="stochastic"),
    }
    alone, x = QLinear(24, 10, specs=specs), torch.randn(4, 24)
    assert torch.equal(alone(x), nn.functional.linear(x, alone.weight, alone.bias))
    loss = alone(x, num_bits=8)
    assert 0 < (loss - alone(x)).norm() / loss.norm() < 0.03
