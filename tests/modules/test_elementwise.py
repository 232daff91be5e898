"""Kernels of what stands between products, GELU and layer norm of residual + dropout, against torch's operations."""

import ctypes

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fairseq.errors import TrainingError
from fairseq.modules import dropout as dropout_module
from fairseq.modules.dropout import dropout, mask_of, share_dropped
from fairseq.modules.gelu import gelu as fp32_gelu
from fairseq.modules.transformer_layer import TransformerEncoderLayer
from fairseq.modules.unmodified import is_unmodified
from fairseq.native import gelu as gelu_kernel
from fairseq.native import library, minmax, norm
from fairseq.native.gelu import gelu
from fairseq.native.norm import add_and_normalize
from fairseq.quantization import quantize_model
from tests import needs


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(params=[pytest.param(name, marks=needs.compiler) for name in ("here", "anywhere")], scope="session")
def gelu_library(request, tmp_path_factory):
    """The kernel for this processor, and for any of its kind."""
    if request.param == "here":
        return library.library("gelu")
    target = tmp_path_factory.mktemp("kernels") / "gelu.so"
    source = library.SOURCES / "gelu.cpp"
    library._compile([library._compiler(), *library.FLAGS, str(source), "-o", str(target)])
    return ctypes.CDLL(str(target))


@pytest.fixture
def small(monkeypatch):
    """Small tensors take the kernels, too."""
    for module in (gelu_kernel, norm, dropout_module):
        monkeypatch.setattr(module, "MIN_KERNEL_ELEMENTS", 1)


def kept_bytes(function):
    kept = {}
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.update({x.data_ptr(): x.nbytes}) or x, lambda x: x):
        y = function()
    return sum(kept.values()), y


def with_gradient(function, x, grad):
    x = x.clone().requires_grad_()
    y = function(x)
    y.backward(grad)
    return y.detach(), x.grad


class TestGelu:
    @pytest.fixture(autouse=True)
    def use(self, small, gelu_library, monkeypatch):
        monkeypatch.setattr(gelu_kernel, "kernels", lambda x: gelu_library)

    @pytest.mark.parametrize("threads", [1, 3])
    @pytest.mark.parametrize("compact", [False, True])
    def test_values_and_gradients(self, threads, compact, monkeypatch):
        monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
        x = torch.cat([torch.linspace(-9, 9, 300_001), torch.tensor([0.0, 1e-30, -20.0, 40.0, -1e30, 1e30])])
        grad = torch.randn_like(x)
        y, found = with_gradient(lambda x: gelu(x, compact), x, grad)
        expected, slopes = with_gradient(F.gelu, x.double(), torch.ones_like(x, dtype=torch.float64))
        assert ((y - expected).abs() <= 1.3e-7 * x.abs().double()).all()
        bound = 2.5e-7 + (2**-15 if compact else 0.0)  # 1.4e-7 of the slope, and its product's rounding
        assert ((found - grad * slopes).abs() <= bound * grad.abs()).all()

    def test_what_is_no_number(self):
        x = torch.tensor([float("inf"), -float("inf"), float("nan"), 1.0])
        assert gelu(x).isnan().tolist() == [False, True, True, False] and gelu(x)[0] == x[0]
        for function in (gelu, lambda x: gelu(x, compact=True)):
            assert with_gradient(function, x, torch.ones(4))[1].isnan().tolist() == [False, False, True, False]

    @pytest.mark.parametrize("count", [1, 5, 16, 31, 100_003])
    def test_ranges_come_with_values_and_gradients(self, count):
        seen = []
        x = torch.randn(count, requires_grad=True)
        leaf = Watched.apply(x, seen)
        for compact in (False, True):
            y = gelu(leaf, compact)
            assert minmax.cached_minmax(y) == tuple(torch.aminmax(y))
            grad = torch.randn(count)
            y.backward(grad, retain_graph=True)
        for found, known in seen:
            assert known == tuple(torch.aminmax(found))
        assert len(seen) == 2
        broken = gelu(x.detach().index_fill(0, torch.tensor([count - 1]), float("nan")))
        assert all(end.isnan() for end in minmax.cached_minmax(broken))

    def test_half_of_the_memory(self):
        x = torch.randn(300, 300, requires_grad=True)
        exact, _ = kept_bytes(lambda: gelu(x * 1))
        compact, _ = kept_bytes(lambda: gelu(x * 1, compact=True))
        assert (exact, compact) == (4 * x.numel(), 2 * x.numel())
        with torch.no_grad():
            assert kept_bytes(lambda: gelu(x, compact=True))[0] == 0

    def test_second_derivative(self):
        x = torch.randn(50, requires_grad=True)
        second = []
        for function in (gelu, F.gelu):
            (first,) = torch.autograd.grad(function(x).square().sum(), x, create_graph=True)
            second += torch.autograd.grad(first.sum(), x)
        torch.testing.assert_close(*second)
        with pytest.raises(TrainingError, match="no gradient of its gradient"):
            torch.autograd.grad(gelu(x, compact=True).square().sum(), x, create_graph=True)

    def test_strides_types_and_transforms(self):
        x = torch.randn(7, 5)
        torch.testing.assert_close(gelu(x.t()), F.gelu(x.t()))
        assert torch.equal(gelu(x.double()), F.gelu(x.double())) and fp32_gelu(x.bfloat16()).dtype == torch.bfloat16
        mine, theirs = (torch.func.grad(lambda x, f=f: f(x).sum())(x) for f in (gelu, F.gelu))
        torch.testing.assert_close(mine, theirs)
        with torch.inference_mode():
            y = gelu(x)
        assert minmax.cached_minmax(y) is None
        torch.testing.assert_close(y, F.gelu(x))


def test_gelu_without_a_compiler(small, monkeypatch):
    x, grad = torch.randn(1000), torch.randn(1000)
    expected = with_gradient(lambda x: gelu(x, compact=True), x, grad)
    monkeypatch.setattr(gelu_kernel, "library", lambda name: None)
    for found, other in zip(with_gradient(lambda x: gelu(x, compact=True), x, grad), expected, strict=True):
        assert (found - other).abs().max() <= 7e-5 * grad.abs().max()  # a code may differ by one
    assert torch.equal(gelu(x), F.gelu(x))
    x[3] = float("nan")
    assert with_gradient(lambda x: gelu(x, compact=True), x, grad)[1].isnan().nonzero().tolist() == [[3]]


class Watched(torch.autograd.Function):
    """The identity, which writes down what is known of the gradient that arrives."""

    @staticmethod
    def forward(ctx, x, seen):
        ctx.seen = seen
        return x * 1

    @staticmethod
    def backward(ctx, grad):
        ctx.seen.append((grad, minmax.cached_minmax(grad)))
        return grad, None


class TestRanges:
    def test_only_the_tensor_itself_unchanged(self):
        y = torch.randn(4)
        minmax.cache_minmax(y, *torch.aminmax(y))
        assert minmax.cached_minmax(y.detach()) is minmax.cached_minmax(y.clone()) is minmax.cached_minmax(y[:]) is None
        assert minmax.cached_minmax(y) == tuple(torch.aminmax(y))
        y[0] = 100
        assert minmax.cached_minmax(y) is None

    def test_sum_of_gradients_is_another_tensor(self, small):
        seen = []
        x = torch.randn(64, requires_grad=True)
        y = Watched.apply(x, seen)
        (dropout(y, 0.5) + dropout(y, 0.25)).square().sum().backward()
        ((grad, known),) = seen
        assert known is None or known == tuple(torch.aminmax(grad))

    def test_saved_and_copied_as_any_other(self, tmp_path):
        import copy

        y = torch.randn(4)
        minmax.cache_minmax(y, *torch.aminmax(y))
        torch.save(y, tmp_path / "y.pt")
        for other in (torch.load(tmp_path / "y.pt", weights_only=True), copy.deepcopy(y)):
            assert torch.equal(other, y) and minmax.cached_minmax(other) is None

    @needs.compiler
    @pytest.mark.parametrize("count", [1, 17, 256, 70_001])
    def test_of_dropout(self, count, small):
        x = torch.randn(count) + 5
        y = dropout(x, 0.3)
        assert minmax.cached_minmax(y) == tuple(torch.aminmax(y))
        x[-1] = float("nan")
        assert all(end.isnan() for end in minmax.cached_minmax(dropout(x, 0.3)))


def norm_and_gradients(function, tensors, grad):
    tensors = [part.clone().requires_grad_() for part in tensors]
    y = function(*tensors)
    return [y.detach(), *torch.autograd.grad(y, tensors, grad.to(y.dtype))]


@needs.compiler
class TestAddAndNormalize:
    @pytest.mark.parametrize("shape", [(13, 5, 48), (9, 208), (1, 16)])
    @pytest.mark.parametrize("p", [0.0, 0.3])
    @pytest.mark.parametrize("compact", [False, True])
    @pytest.mark.parametrize("threads", [1, 3])
    def test_values_and_gradients(self, shape, p, compact, threads, small, monkeypatch):
        monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
        monkeypatch.setattr(norm, "MIN_KERNEL_ELEMENTS", 1)
        columns = shape[-1]
        tensors = [torch.randn(shape) + 1, torch.randn(shape), torch.randn(columns), torch.randn(columns)]
        grad = torch.randn(shape)
        torch.manual_seed(4)
        noise = dropout(torch.ones(shape), p).double() if p else 1.0
        torch.manual_seed(4)
        mask = mask_of(share_dropped(p)) if p else None
        found = norm_and_gradients(lambda *parts: add_and_normalize(*parts, 1e-5, mask, compact), tensors, grad)
        expected = norm_and_gradients(
            lambda x, r, w, b: F.layer_norm(r + x * noise, (columns,), w, b, 1e-5), [t.double() for t in tensors], grad
        )
        rounding = columns**0.5 / 65534 if compact else 0.0
        rows = grad.abs().flatten(0, -2).sum(0).max()
        largest = (grad * tensors[2]).abs().max() * 4  # the 4: 1 / sqrt(var + eps)
        for one, other, bound in zip(found, expected, (0.0, largest, largest, rows, 0.0), strict=True):
            assert (one - other).abs().max() <= rounding * bound + 3e-6 * other.abs().max()

    def test_what_is_no_number(self):
        x, weight = torch.randn(40, 16), torch.ones(16)
        x[3, 4], x[5, 6] = float("nan"), float("inf")
        tensors, grad = [x, torch.zeros(40, 16), weight, weight], torch.randn(40, 16)
        expected = norm_and_gradients(lambda x, r, w, b: F.layer_norm(r + x, (16,), w, b), tensors, grad)
        for compact in (False, True):

            def function(*parts, compact=compact):
                return add_and_normalize(*parts, 1e-5, None, compact)

            found = norm_and_gradients(function, tensors, grad)
            for one, other in zip(found, expected, strict=True):
                assert torch.equal(one.isnan(), other.isnan())
        assert all(end.isnan() for end in minmax.cached_minmax(add_and_normalize(*tensors, 1e-5, None)))

    def test_ranges(self):
        seen = []
        x = Watched.apply(torch.randn(60, 32, requires_grad=True), seen)
        for p in (0.0, 0.4):
            mask = mask_of(share_dropped(p)) if p else None
            y = add_and_normalize(x, torch.randn(60, 32), torch.randn(32), torch.randn(32), 1e-5, mask)
            assert minmax.cached_minmax(y) == tuple(torch.aminmax(y))
            y.backward(torch.randn(60, 32), retain_graph=True)
        for grad, known in seen:
            assert known == tuple(torch.aminmax(grad))

    def test_what_is_kept(self):
        x, weight = torch.randn(100, 64, requires_grad=True), torch.ones(64)
        exact, compact = (
            kept_bytes(lambda compact=compact: add_and_normalize(x, x, weight, weight, 1e-5, None, compact))[0]
            for compact in (False, True)
        )
        assert exact - compact == 2 * x.numel()
        with torch.no_grad():
            assert kept_bytes(lambda: add_and_normalize(x, x, weight, weight, 1e-5, None))[0] == 0

    def test_no_second_derivative(self):
        x, weight = torch.randn(4, 16, requires_grad=True), torch.ones(16)
        y = add_and_normalize(x, x, weight, weight, 1e-5, None)
        with pytest.raises(TrainingError, match="no gradient of its gradient"):
            torch.autograd.grad(y.square().sum(), x, create_graph=True)


@needs.compiler
class TestEncoderLayer:
    @pytest.fixture
    def layer(self, small):
        torch.manual_seed(0)
        return TransformerEncoderLayer(
            {"encoder_embed_dim": 32, "encoder_ffn_embed_dim": 64, "encoder_attention_heads": 4, "dropout": 0.2,
             "attention_dropout": 0.1, "activation_fn": "gelu"}
        )  # fmt: skip

    def run(self, layer, x):
        torch.manual_seed(7)
        x = x.clone().requires_grad_()
        y = layer(x, None)
        grads = torch.autograd.grad((y * torch.randn_like(y)).sum(), [x, *layer.parameters()])
        return [y.detach(), *grads]

    @pytest.mark.parametrize("training", [True, False])
    def test_one_pass_equals_the_parts(self, layer, training, monkeypatch):
        layer.train(training)
        x = torch.randn(6, 5, 32)
        whole = self.run(layer, x)
        for module in (gelu_kernel, norm):
            monkeypatch.setattr(module, "MIN_KERNEL_ELEMENTS", 2**40)
        for one, other in zip(whole, self.run(layer, x), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)

    def test_hooks_and_other_classes_see_their_calls(self, layer, monkeypatch):
        calls = []
        monkeypatch.setattr(
            "fairseq.modules.transformer_layer_base.add_and_normalize",
            lambda *args, **kwargs: calls.append(1) or add_and_normalize(*args, **kwargs),
        )
        x = torch.randn(6, 5, 32)
        before = self.run(layer, x)
        assert len(calls) == 2
        seen = []
        for hooked in (
            layer.final_layer_norm.register_forward_hook(lambda *_: seen.append(1)),
            layer.final_layer_norm.register_full_backward_hook(lambda *_: seen.append(1)),
            layer.final_layer_norm.register_forward_pre_hook(lambda *_: seen.append(1)),
            nn.modules.module.register_module_forward_hook(lambda *_: seen.append(1)),
        ):
            calls.clear(), seen.clear()
            after = self.run(layer, x)
            hooked.remove()
            assert seen and len(calls) < 2
            torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-5)
        assert is_unmodified(layer.final_layer_norm, nn.LayerNorm)
        layer.final_layer_norm = type("Norm", (nn.LayerNorm,), {})(32)
        layer.dropout_module.register_forward_hook(lambda *_: seen.append(1))
        calls.clear()
        self.run(layer, x)
        assert not calls

    def test_integers_keep_half(self, layer):
        x = torch.randn(8, 8, 32)
        sizes, grads = {}, {}
        for compute in ("simulate", "integer"):
            torch.manual_seed(1)
            quantized = quantize_model(layer, "int8", compute=compute)
            leaf = x.clone().requires_grad_()
            torch.manual_seed(3)
            kept = []
            with torch.autograd.graph.saved_tensors_hooks(lambda t, k=kept: k.append(t) or t, lambda t: t):
                y = quantized(leaf, None)
            sizes[compute] = sum(t.nbytes for t in kept if t.dtype == torch.int16)
            grads[compute] = torch.autograd.grad((y * torch.randn_like(y)).sum(), leaf)[0]
        assert sizes == {"simulate": 0, "integer": 2 * 64 * (64 + 32 + 32)}  # GELU's slopes, and both norms
        difference = (grads["integer"] - grads["simulate"]).norm() / grads["simulate"].norm()
        assert difference < 0.05  # noise of 8-bit gradients
