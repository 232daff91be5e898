"""Small building blocks: activations, dropout, LayerDrop, positions, quantization noise, activation checkpointing."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fairseq.errors import ConfigError, DataError
from fairseq.modules import FairseqDropout, LayerDropModuleList, LayerNorm, PositionalEmbedding
from fairseq.modules.activations import get_activation_fn, get_available_activation_fns
from fairseq.modules.checkpoint_activations import checkpointed
from fairseq.modules.dropout import dropout
from fairseq.modules.layer_norm import Fp32LayerNorm
from fairseq.modules.positions import make_positions
from fairseq.modules.quant_noise import quant_noise


class TestActivations:
    def test_values(self):
        x = torch.linspace(-3, 3, 25, dtype=torch.float64)
        phi = 0.5 * (1 + torch.erf(x / math.sqrt(2)))
        tanh_phi = 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
        expected = {
            "relu": x.clamp(min=0),
            "relu_squared": x.clamp(min=0) ** 2,
            "gelu": x * phi,
            "gelu_accurate": x * tanh_phi,
            "gelu_fast": x * tanh_phi,
            "tanh": torch.tanh(x),
            "linear": x,
            "swish": x * torch.sigmoid(x),
        }
        assert set(get_available_activation_fns()) == set(expected)
        for name, value in expected.items():
            torch.testing.assert_close(get_activation_fn(name)(x), value)

    def test_unknown_name(self):
        with pytest.raises(ConfigError, match="did you mean 'gelu'"):
            get_activation_fn("gleu")


class TestDropout:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
    def test_statistics(self, dtype):
        torch.manual_seed(0)
        n, p = 400_000, 0.1
        y = dropout(torch.ones(n, dtype=dtype), p).double()
        kept = torch.tensor(1 / (1 - round(p * 2**16) / 2**16), dtype=torch.float64).to(dtype).double()
        assert set(y.unique().tolist()) == {0.0, kept.item()}
        assert abs((y == 0).double().mean() - p) < 4 * math.sqrt(p * (1 - p) / n)

    def test_neighbours_are_independent(self):
        torch.manual_seed(0)
        zero = (dropout(torch.ones(400_003), 0.3) == 0).double()
        for lag in (1, 2, 3, 4, 64):
            together = (zero[:-lag] * zero[lag:]).mean()
            assert abs(together - 0.09) < 4 * math.sqrt(0.09 * 0.91 / len(zero))

    def test_gradient_passes_where_the_value_does(self):
        x = torch.randn(5, 7, requires_grad=True)
        y = dropout(x, 0.5)
        y.sum().backward()
        torch.testing.assert_close(x.grad * x.detach(), y.detach())

    def test_seed_inplace_and_layout(self):
        x = torch.randn(6, 4).t()
        torch.manual_seed(1)
        first = dropout(x, 0.4)
        torch.manual_seed(1)
        second = dropout(x.clone(), 0.4, inplace=True)
        assert torch.equal(first, second)
        assert not torch.equal(first, dropout(x, 0.4))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_same_mask_with_and_without_compiler(self, dtype, monkeypatch):
        x = torch.randn(3, 100_001, dtype=dtype).transpose(0, 1).requires_grad_()
        results = []
        for least, threads in ((2**16, 1), (2**16, 3), (2**40, 1)):  # compiled, in threads, in torch's operations
            monkeypatch.setattr("fairseq.modules.dropout.MIN_KERNEL_ELEMENTS", least)
            monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
            torch.manual_seed(3)
            y = dropout(x, 0.2)
            results.append((y, *torch.autograd.grad(y.sum(), x)))
        for y, grad in results[1:]:
            assert torch.equal(y, results[0][0]) and torch.equal(grad, results[0][1])
        assert torch.equal(results[0][1] == 0, results[0][0] == 0)

    def test_keeps_nothing_for_backward(self):
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):
            dropout(torch.randn(1000, requires_grad=True), 0.1)
        assert sum(kept) <= 1

    @pytest.mark.parametrize("p", [0.0, 1e-9, 1.0])
    def test_extremes(self, p):
        assert dropout(torch.ones(100), p).mean() == (0 if p == 1 else 1)

    def test_module(self):
        module = FairseqDropout(0.5, module_name="Layer")
        x = torch.ones(1000)
        assert (module(x) == 0).any()
        assert module.eval()(x) is x
        module.make_generation_fast_("layer", retain_dropout=True, retain_dropout_modules=["Other"])
        assert module(x) is x
        module.make_generation_fast_("layer", retain_dropout=True, retain_dropout_modules=["Layer"])
        assert (module(x) == 0).any()


class TestLayerDrop:
    def test_share_of_layers(self):
        layers = LayerDropModuleList(0.25, [nn.Identity() for _ in range(4000)])
        torch.manual_seed(0)
        assert 2880 < len(list(layers)) < 3120
        assert len(list(layers.eval())) == len(layers) == 4000

    def test_drawn_anew_and_indexable(self):
        layers = LayerDropModuleList(0.5, [nn.Linear(1, 1) for _ in range(50)])
        assert list(layers) != list(layers)
        assert next(iter(layers.state_dict())) == "0.weight" and layers[3] is layers._modules["3"]


class TestPositions:
    def test_padding_on_either_side(self):
        tokens = torch.tensor([[5, 6, 1], [1, 1, 9]])
        assert make_positions(tokens, 1).tolist() == [[2, 3, 1], [1, 1, 2]]

    def test_learned(self):
        table = PositionalEmbedding(10, 6, padding_idx=1, learned=True)
        assert table.weight.shape == (12, 6) and table.max_positions == 10
        assert (table.weight[1] == 0).all()
        tokens = torch.tensor([[5, 6, 1]])
        assert torch.equal(table(tokens)[0], table.weight[[2, 3, 1]])
        assert torch.equal(table(tokens, incremental_state={})[0, 0], table.weight[4])
        table(torch.full((1, 10), 5))
        with pytest.raises(DataError, match="11 tokens does not fit the model's 10 positions"):
            table(torch.full((1, 11), 5))

    def test_sinusoidal_formula(self):
        """The definition, element by element (arXiv:1706.03762 with sines in front)."""
        table = PositionalEmbedding(10, 6, padding_idx=1)
        out = table(torch.tensor([[7, 7, 1]]))[0]
        for row, position in ((0, 2), (1, 3)):
            for i in range(3):
                angle = position * 10000 ** (-i / 2)
                assert out[row, i].item() == pytest.approx(math.sin(angle), abs=1e-6)
                assert out[row, i + 3].item() == pytest.approx(math.cos(angle), abs=1e-6)
        assert (out[2] == 0).all()

    def test_sinusoidal_grows_and_leaves_no_trace(self):
        table = PositionalEmbedding(3, 6, padding_idx=1)
        assert table(torch.full((2, 50), 7)).shape == (2, 50, 6)
        assert not table.state_dict()
        old = {"_float_tensor": torch.zeros(1), "weights": torch.zeros(3, 6)}
        table.load_state_dict(old, strict=True)
        assert torch.equal(table(torch.full((1, 4), 7))[0, 3], table(torch.full((1, 4), 7), incremental_state={})[0, 0])


class TestQuantNoise:
    def test_off_is_the_module_itself(self):
        layer = nn.Linear(8, 4)
        assert quant_noise(layer, 0.0, 3) is layer

    @pytest.mark.parametrize("make", [lambda: nn.Linear(16, 30), lambda: nn.Embedding(30, 16, padding_idx=1)])
    def test_blocks_are_dropped_and_the_weight_survives(self, make):
        torch.manual_seed(0)
        plain = make()
        before = plain.weight.detach().clone()
        noisy = quant_noise(plain, 0.25, 4)
        assert list(noisy.state_dict()) == list(make().state_dict()) and noisy.weight is plain.weight
        seen = (noisy(torch.eye(16)) - noisy.bias).t() if isinstance(plain, nn.Linear) else noisy(torch.arange(30))
        blocks = (seen / before).nan_to_num(0).detach().view(30, 4, 4)
        dropped = (blocks == 0).all(-1)
        kept = (blocks - 1 / 0.75).abs().amax(-1) < 1e-4
        rows = torch.arange(30) != 1 if isinstance(plain, nn.Embedding) else torch.ones(30, dtype=torch.bool)
        assert (dropped | kept)[rows].all() and dropped[rows].any() and kept[rows].any()
        assert torch.equal(noisy.weight, before)
        assert torch.equal(
            noisy.eval()(torch.zeros(1, 16) if isinstance(plain, nn.Linear) else torch.tensor([3])),
            plain(torch.zeros(1, 16) if isinstance(plain, nn.Linear) else torch.tensor([3])),
        )

    def test_gradient_is_straight_through(self):
        noisy = quant_noise(nn.Linear(8, 2), 0.9, 4)
        x = torch.randn(3, 8)
        noisy(x).sum().backward()
        torch.testing.assert_close(noisy.weight.grad, x.sum(0).expand(2, 8))

    def test_what_it_cannot_do(self):
        with pytest.raises(ConfigError, match="does not divide"):
            quant_noise(nn.Linear(10, 2), 0.1, 4)
        with pytest.raises(ConfigError, match="not Conv1d"):
            quant_noise(nn.Conv1d(1, 1, 1), 0.1, 4)


class TestCheckpointing:
    @pytest.mark.parametrize("offload", [True, False])
    def test_same_result_and_gradients_with_dropout(self, offload):
        layer = nn.Sequential(nn.Linear(6, 6), FairseqDropout(0.5), nn.Linear(6, 6))
        x = torch.randn(4, 6, requires_grad=True)
        results = []
        for run in (layer, lambda x: checkpointed(layer, x, offload_to_cpu=offload)):
            torch.manual_seed(0)
            y = run(x)
            results.append((y, *torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])))
        for ours, expected in zip(*results, strict=True):
            assert torch.equal(ours, expected)


def test_layer_norm():
    x = torch.randn(3, 5)
    norm = LayerNorm(5)
    expected = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(norm(x), expected)
    half = Fp32LayerNorm(5).to(torch.bfloat16)(x.to(torch.bfloat16))
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half, F.layer_norm(x.to(torch.bfloat16).float(), (5,)).to(torch.bfloat16))
