"""Integer products against fp64 computed from the same codes: the kernels, and the layer's three products."""

import copy
import functools
import logging
from collections.abc import Iterator
from typing import Any, Optional

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fairseq.errors import ConfigError
from fairseq.quantization import QLinear, quantize_model
from fairseq.quantization.formats import FORMATS
from fairseq.quantization.kernels import build, codes, encoding, gemm, products, weights
from fairseq.quantization.kernels.codes import Codes, encode, pack, signed
from fairseq.quantization.kernels.linear import WeightCodes, backward_product, forward_product
from fairseq.quantization.layers import integer, integer_codes, linear
from fairseq.quantization.trace import trace_gemms

TOLERANCE = 1e-5
NAMES = list(FORMATS)


@pytest.fixture(autouse=True, params=["torch", "native", "native codes"])
def _fresh(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[None]:
    """By torch's operations, by our own kernels (also for what is small), by these with torch's GEMM, as with AMX."""
    monkeypatch.setattr(build, "LEAST_ELEMENTS", 2**60)  # compiling takes seconds and has tests of its own
    for place, name in (
        (codes, "LEAST_ELEMENTS"),
        (gemm, "LEAST_WORK"),
        (encoding, "LEAST_NATIVE"),
        (integer_codes, "LEAST_ROWS_KERNEL"),
    ):
        monkeypatch.setattr(place, name, 0)
    if request.param == "torch":
        monkeypatch.setattr(codes, "LEAST_ELEMENTS", 2**60)
        without_own_kernels(monkeypatch)
    elif request.param == "native codes":
        monkeypatch.setattr(gemm, "is_available", lambda *_: False)
    yield
    products.route.cache_clear()
    products.fuses.cache_clear()
    build.clear()


def without_own_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    for place in (gemm, encoding, weights):
        monkeypatch.setattr(place, "is_available", lambda *_: False)


def values(codes: Any) -> Tensor:
    """What codes, or a weight's, stand for, in fp64."""
    found = (codes.data.double() - codes.zero_point) * codes.scale.double()
    return found if codes.shift is None else found + codes.shift.double()


def close(found: Tensor, expected: Tensor, what: str = "") -> None:
    """Within 1e-5 of the largest number expected."""
    assert found.isfinite().all(), what
    error = (found.double() - expected).abs().max()
    assert error <= TOLERANCE * expected.abs().max() + 1e-37, (what, float(error / expected.abs().max()))


def codes_of(x: Tensor, name: str, num_bits: int, axis: Optional[int] = None) -> Codes:
    """Codes with one scale, or (axis 1) one per row."""
    number_format = FORMATS.lookup(name)()
    low, high = (x.amin(), x.amax()) if axis is None else (x.amin(axis, keepdim=True), x.amax(axis, keepdim=True))
    return encode(x, number_format, number_format.grid(low, high, num_bits), num_bits)


def matrix(draw: st.DrawFn, rows: int, columns: int) -> Tensor:
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**20)))
    x = torch.randn(rows, columns, generator=generator) * 10.0 ** draw(st.integers(-8, 8))
    x += x.abs().mean() * draw(st.sampled_from([0.0, 0.0, 0.5, -3.0]))
    if draw(st.booleans()):
        x[draw(st.integers(0, rows - 1))] = 0.0
    return x


bits, sizes = st.integers(2, 8), st.integers(1, 40)


@pytest.mark.parametrize("route", ["best", "float", "unfused"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_products_equal_fp64(route: str, data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if route == "float":
            patch.setattr(products, "route", lambda device_type: "float")
        if route != "best":
            patch.setattr("fairseq.quantization.kernels.linear.fuses", lambda device_type: False)
        rows, depth, columns = (data.draw(sizes) for _ in range(3))
        x = codes_of(matrix(data.draw, rows, depth), data.draw(st.sampled_from(NAMES)), data.draw(bits),
                     data.draw(st.sampled_from([None, 1])))  # fmt: skip
        w = codes_of(matrix(data.draw, columns, depth), data.draw(st.sampled_from(NAMES)), data.draw(bits),
                     data.draw(st.sampled_from([None, 1])))  # fmt: skip
        bias = torch.linspace(-1, 1, columns) * values(x).abs().max().float() if data.draw(st.booleans()) else None
        y = forward_product(x, WeightCodes(w), bias, torch.float32)
        close(y, values(x) @ values(w).t() + (0.0 if bias is None else bias.double()), "forward")

        g = codes_of(matrix(data.draw, rows, columns), data.draw(st.sampled_from(NAMES)), data.draw(st.integers(2, 8)))
        for right, turned, left in ((w, False, values(g)), (x, True, None)):
            if turned:
                g = codes_of(matrix(data.draw, rows, columns), data.draw(st.sampled_from(NAMES)), 8)
                left = values(g).t()
            codes, zero_point = signed(right)
            shift = None if right.shift is None else right.shift / right.scale
            relative = values(right) / right.scale.double()  # scales have been taken out of the sum
            found = backward_product(g, turned, codes, zero_point, shift, torch.full((1, 1), 0.5))
            close(found, 0.5 * (left @ relative), f"backward, turned {turned}")


@pytest.mark.parametrize("depth", [4096, 16384, 40000])
def test_long_contractions(depth: int) -> None:
    """Codes at their ends, all of one sign: the largest sums that there are."""
    x = torch.ones(3, depth)
    x[1], x[2, 0] = -1.0, -1.0
    w = torch.ones(5, depth)
    w[1, 1:], w[2] = -1.0, torch.randn(depth)
    for name in NAMES:
        for x_name in NAMES:
            a, b = codes_of(x, x_name, 8), codes_of(w, name, 8, 1)
            close(forward_product(a, WeightCodes(b), None, torch.float32), values(a) @ values(b).t(), name)
        data, zero_point = signed(codes_of(x.t().contiguous(), name, 8))
        right = codes_of(x.t().contiguous(), name, 8)
        shift = None if right.shift is None else right.shift / right.scale
        g = codes_of(w.t().contiguous(), "symmetric", 8)
        found = backward_product(g, True, data, zero_point, shift, torch.ones(1, 1))
        close(found, values(g).t() @ (values(right) / right.scale.double()), name)


@pytest.mark.parametrize("num_bits", range(2, 9))
@pytest.mark.parametrize("columns", [1, 7, 16])
def test_packing(num_bits: int, columns: int) -> None:
    codes = codes_of(torch.randn(5, columns), "affine_int", num_bits)
    packed = pack(codes)
    assert torch.equal(packed.unpack().data, codes.data)
    per_byte = {2: 4, 3: 2, 4: 2}.get(num_bits, 1)
    assert packed.codes.data.numel() == 5 * -(-columns // per_byte)


def test_integer_gemms_are_believed_only_when_they_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some instruction sets saturate at 16 bits: their products must not be used."""

    def saturating(left: Tensor, right: Tensor) -> Tensor:
        return (left.float() @ right.float()).clamp(-(2.0**15), 2.0**15).int()

    monkeypatch.setitem(products._PRODUCTS, "int8", saturating)
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: True)
    products.route.cache_clear()
    products.fuses.cache_clear()
    assert products.route("cpu") == "float" and not products.fuses("cpu")
    left, right = products._extreme_codes("cpu")
    assert torch.equal(products.integer_product(left, right).long(), left.long() @ right.long())


# --- the layer --------------------------------------------------------------------------------------------------------


def layer(preset: str = "int8", inputs: int = 24, outputs: int = 10, **changes: Any) -> nn.Module:
    return quantize_model(nn.Sequential(nn.Linear(inputs, outputs)), preset, compute="integer", **changes)


class Captured:
    """The codes that a layer's forward and backward multiplied."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.gradients: list[integer.GradientCodes] = []
        self.forward: tuple[Codes, WeightCodes]
        make, product = integer.gradient_codes, integer.forward_product

        def gradient_codes(*args: Any) -> Any:
            self.gradients.append(make(*args))
            return self.gradients[-1]

        def forward(x: Codes, w: WeightCodes, *rest: Any) -> Tensor:
            self.forward = (x, w)
            return product(x, w, *rest)

        monkeypatch.setattr(integer, "gradient_codes", gradient_codes)
        monkeypatch.setattr(integer, "forward_product", forward)


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
    make = integer_codes.weight_codes

    def counted(quantizer: Any, weight: Tensor, num_bits: int) -> WeightCodes:
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
        make = getattr(integer_codes, name)
        counted = functools.partial(
            lambda make, x, *rest, **more: calls.append(x.shape) or make(x, *rest, **more), make
        )
        monkeypatch.setattr(integer_codes, name, counted)
    model = quantize_model(Three(), "int8", compute="integer")
    y = model(torch.randn(5, 24))
    assert calls.count((5, 24)) == 1
    assert torch.allclose(y, quantize_model(copy.deepcopy(model), "int8")(torch.zeros(5, 24)), atol=100)


@pytest.mark.skipif(products.route("cpu") == "float", reason="no integer GEMM on this machine that could be traced")
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
        "input": QuantizerSpec(format="affine_int", compute="integer"),
        "grad_output": QuantizerSpec(bits=8, format="symmetric", rounding="stochastic"),
    }
    alone, x = QLinear(24, 10, specs=specs), torch.randn(4, 24)
    assert torch.equal(alone(x), nn.functional.linear(x, alone.weight, alone.bias))
    loss = alone(x, num_bits=8)
    assert 0 < (loss - alone(x)).norm() / loss.norm() < 0.03


# --- compiled kernels -------------------------------------------------------------------------------------------------


def train(preset: str, updates: int = 3) -> list[Tensor]:
    torch.manual_seed(0)
    model = quantize_model(nn.Sequential(nn.Linear(24, 32), nn.GELU(), nn.Linear(32, 4)), preset, compute="integer")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for update in range(updates):
        model.quantization.begin_micro_batch(update)
        loss = model(torch.randn(20 + update, 24)).square().mean()  # no batch is as large as the one before
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.detach())
    return losses


@pytest.mark.parametrize("preset", ["int8", "cpt_3_8"])
def test_compiled_kernels_equal_eager_ones(preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch.compile traces, run by PyTorch: the plumbing without a C++ compiler; and new sizes compile nothing."""
    expected = train(preset)
    traced = functools.partial(torch.compile, backend="eager")
    monkeypatch.setattr(torch, "compile", traced)
    monkeypatch.setattr(build, "LEAST_ELEMENTS", 8)
    build.clear()
    build.compiler().break_even = 0
    assert train(preset, 2) == expected[:2]
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert graphs > 0
    assert train(preset) == expected
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == graphs
    assert build.compiler().works
    torch._dynamo.reset()


@pytest.mark.slow
def test_real_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = train("int8")
    monkeypatch.setattr(build, "LEAST_ELEMENTS", 8)
    build.clear()
    build.compiler().break_even = 0
    found = train("int8")
    if not build.compiler().works:
        pytest.skip("no compiler on this machine")
    assert found == expected


def test_kernels_are_compiled_once_that_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    without_own_kernels(monkeypatch)
    compiled: list[Any] = []
    monkeypatch.setattr(torch, "compile", lambda function, **_: compiled.append(function) or function)
    monkeypatch.setattr(build, "LEAST_ELEMENTS", 8)
    build.clear()
    train("int8")
    assert not compiled
    build.compiler().break_even = 3 * 24 * 32  # the larger weight in its third update
    train("int8")
    assert compiled


def test_missing_compiler_is_reported_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    without_own_kernels(monkeypatch)
    expected = train("int8")

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no C++ compiler\nmore")

    monkeypatch.setattr(torch, "compile", broken)
    monkeypatch.setattr(build, "LEAST_ELEMENTS", 8)
    build.clear()
    build.compiler().break_even = 0
    with caplog.at_level(logging.WARNING):
        assert train("int8") == expected
    assert [record.getMessage() for record in caplog.records] == [
        "quantization: no compiled kernels, integer products run eagerly around their GEMMs (no C++ compiler)"
    ]


# --- products of two activations --------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["int8", "int4", "cpt_3_8"])
def test_transformer_equals_simulate(preset: str, transformer: nn.Module, tokens: Tensor) -> None:
    found = {}
    for compute in ("simulate", "integer"):
        model = quantize_model(copy.deepcopy(transformer), preset, compute=compute)
        model.quantization.begin_micro_batch(0)
        logits = model(tokens)
        logits.square().sum().backward()
        grads = {name: parameter.grad for name, parameter in model.named_parameters()}
        found[compute] = (logits.detach(), grads)
    (a, a_grads), (b, b_grads) = found.values()
    assert torch.allclose(a, b, rtol=1e-4, atol=1e-5)
    for name in a_grads:
        if name.endswith("k_proj.bias"):
            continue  # its gradient is 0, but for rounding: softmax does not see it
        error = (a_grads[name] - b_grads[name]).norm() / a_grads[name].norm().clamp(min=1e-6)
        assert error < 0.1, (name, float(error))


def test_matmul_keeps_codes() -> None:
    from fairseq.quantization import MatMul

    class Product(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.product = MatMul("query", "key")

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return self.product(a, b)

    a, b = torch.randn(2, 3, 16, 8, requires_grad=True), torch.randn(2, 3, 5, 8, requires_grad=True)
    sizes, found = {}, {}
    for compute in ("simulate", "integer"):
        model = quantize_model(Product(), "int8", compute=compute)
        model.quantization.begin_micro_batch(0)
        kept: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x, kept=kept: kept.append(x.numel() * x.element_size()) or x, lambda x: x
        ):
            y = model(a, b.mT)
        a.grad = b.grad = None
        y.square().sum().backward()
        sizes[compute], found[compute] = sum(kept), (y, a.grad, b.grad)
    assert sizes["integer"] * 4 == sizes["simulate"]
    for one, other in zip(*found.values(), strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-5 * float(one.detach().abs().max()))


def test_training_goes_the_way_of_simulate(transformer: nn.Module) -> None:
    losses = {}
    for compute in ("simulate", "integer"):
        model = quantize_model(copy.deepcopy(transformer), "int8", compute=compute)
        optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
        generator = torch.Generator().manual_seed(7)
        losses[compute] = []
        for update in range(40):
            tokens = torch.randint(0, 50, (7, 12), generator=generator)
            model.quantization.begin_micro_batch(update)
            loss = nn.functional.cross_entropy(model(tokens), tokens[0] // 17)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            model.quantization.end_update(model)
            losses[compute].append(loss.item())
    simulated, integers = (torch.tensor(found) for found in losses.values())
    assert integers[-10:].mean() < 0.7 * integers[:5].mean()
    assert (simulated - integers).abs().mean() < 0.03
