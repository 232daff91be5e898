"""Quantized layers: what they compute in full precision, when weights are rounded again, types and shapes."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fairseq.errors import ConfigError
from fairseq.quantization import QEmbedding, QLinear, QMatmul, quantize_model
from fairseq.quantization.layers import MatMul, QMultiheadAttention
from fairseq.quantization.quantizer import Quantizer
from fairseq.quantization.spec import QuantizerSpec


def levels(x: torch.Tensor) -> int:
    return torch.unique(x.detach()).numel()


def test_qlinear_is_a_linear_layer_without_bits() -> None:
    layer, x = QLinear(6, 4), torch.randn(3, 6)
    assert isinstance(layer, nn.Linear) and list(layer.state_dict()) == ["weight", "bias"]
    assert torch.equal(layer(x), F.linear(x, layer.weight, layer.bias))
    assert not torch.equal(layer(x, num_bits=3), layer(x))
    assert torch.equal(layer(x, num_bits=0), layer(x))  # 0 is full precision, as in the reference
    bare = QLinear(6, 4, quantized=False)
    assert torch.equal(bare(x, num_bits=3), F.linear(x, bare.weight, bare.bias))


@pytest.mark.parametrize("shape", [(6,), (0, 6), (1, 6), (2, 0, 6), (2, 3, 4, 6)])
def test_any_rank(shape: tuple[int, ...]) -> None:
    for bias in (True, False):
        layer, x = QLinear(6, 4, bias=bias), torch.randn(shape, requires_grad=True)
        y = layer(x, num_bits=4)
        assert y.shape == (*shape[:-1], 4)
        y.sum().backward()
        assert x.grad.shape == shape and layer.weight.grad.shape == (4, 6)


def test_only_wanted_gradients() -> None:
    x = torch.randn(3, 6, requires_grad=True)
    layer = QLinear(6, 4)
    layer.weight.requires_grad_(False)
    layer(x, num_bits=4).sum().backward()
    assert x.grad is not None and layer.weight.grad is None and layer.bias.grad is not None
    layer = QLinear(6, 4)
    layer(x.detach(), num_bits=4).sum().backward()
    assert layer.weight.grad is not None
    layer.requires_grad_(False)
    assert not layer(x.detach(), num_bits=4).requires_grad


def test_weight_is_rounded_once_per_version_and_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    model = quantize_model(nn.Sequential(nn.Linear(6, 4)), "int8")
    layer, x = model[0], torch.randn(3, 6)
    weights = layer.quantizers.quantizer("weight")
    rounded = []
    fake = weights.fake
    monkeypatch.setattr(weights, "fake", lambda *args: rounded.append(1) or fake(*args))

    def runs(**kwargs: Any) -> int:
        rounded.clear()
        model(x, **kwargs)
        return len(rounded)

    quantization = model.quantization
    quantization.begin_micro_batch(0, 0)
    assert runs() == 1
    quantization.begin_micro_batch(0, 1)
    assert runs() == 0  # accumulation
    assert runs(num_bits=4) == 1 and runs(num_bits=4) == 0 and runs() == 1  # bits changed, and back
    with torch.no_grad():
        layer.weight.add_(1)
    assert runs() == 1 and runs() == 0  # weight changed
    layer.weight.data.add_(1)  # leaves no trace in the version ...
    quantization.begin_micro_batch(1, 0)
    assert runs() == 1  # ... but a new update has begun
    layer.weight.data.add_(1)
    model.eval()
    assert runs() == 1 and runs() == 0  # so has evaluation
    model.load_state_dict({"0.weight": torch.ones(4, 6), "0.bias": torch.zeros(4), **keys(model)})
    assert runs() == 1 and torch.allclose(model(torch.ones(1, 6)), torch.full((1, 4), 6.0), atol=0.2)


def keys(model: nn.Module) -> dict[str, torch.Tensor]:
    from fairseq.quantization import quantizer_state

    return quantizer_state(model)


def test_frozen_weights_are_rounded_once() -> None:
    model = quantize_model(nn.Sequential(nn.Linear(6, 4)).requires_grad_(False), "int8")
    x = torch.randn(3, 6)
    model(x)
    cached = model[0].quantizers._cached
    model(x)
    assert model[0].quantizers._cached is cached and cached is not None


def test_cached_weights_are_not_copied_or_saved() -> None:
    model = quantize_model(nn.Sequential(nn.Linear(6, 4)).requires_grad_(False), "int8")
    model(torch.randn(3, 6))
    assert copy.deepcopy(model)[0].quantizers._cached is None


def test_deepcopy_keeps_working_apart() -> None:
    model = quantize_model(nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 4)), "int8")
    twin = copy.deepcopy(model)
    twin.quantization.begin_micro_batch(7)
    twin(torch.randn(3, 6), num_bits=2)
    assert model.quantization.context.update != 7
    assert twin[0].quantizers.context is twin.quantization.context is twin[1].quantizers.context
    assert twin[0].weight is not model[0].weight


@pytest.mark.parametrize("preset", ["cpt", "int8", "int4"])
def test_autocast(preset: str) -> None:
    model = quantize_model(nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 4)), preset)
    x = torch.randn(9, 16)
    exact = model(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = model(x)
    assert y.dtype == torch.bfloat16 and torch.allclose(y.float(), exact, atol=0.05 * float(exact.detach().abs().max()))
    y.float().square().sum().backward()
    assert model[0].weight.grad.dtype == torch.float32 and model[0].weight.grad.isfinite().all()


def test_bf16_model() -> None:
    model = quantize_model(nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 4)), "int8").bfloat16()
    x = torch.randn(9, 16, dtype=torch.bfloat16, requires_grad=True)
    y = model(x)
    y.sum().backward()
    assert all(buffer.dtype == torch.float32 for buffer in model.buffers() if buffer.is_floating_point())
    assert y.dtype == x.grad.dtype == model[0].weight.grad.dtype == torch.bfloat16


def test_repr_stays_readable() -> None:
    model = quantize_model(nn.Sequential(nn.Linear(16, 16)), "int8")
    assert len(str(model).splitlines()) == 6 and "weight: follow bits symmetric per channel" in str(model)


def test_qmatmul_names_and_strided_operands() -> None:
    product = QMatmul("query", "key")
    q, k = torch.randn(4, 5, 6), torch.randn(4, 7, 6)
    assert torch.equal(product(q, k.mT), q @ k.mT)
    y = product(q, k.mT, num_bits=3)
    assert torch.allclose(y, product(q, k.mT.contiguous(), num_bits=3), atol=1e-5)
    assert {m.path for m in product.modules() if hasattr(m, "path") and hasattr(m, "spec")} == {
        "query",
        "key",
        "grad_output",
    }


def test_output_quantizer_by_rule(transformer: nn.Module, tokens: torch.Tensor) -> None:
    rules = [{"match": "*.output", "bits": 2}]
    model = quantize_model(copy.deepcopy(transformer), "int8", rules=rules)
    outputs = []
    for module in model.modules():
        if isinstance(module, QMatmul) and module.output:
            module.register_forward_hook(lambda _, __, y: outputs.append(y))
    model(tokens).sum().backward()
    assert len(outputs) == 2 and all(levels(y) <= 4 for y in outputs)
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("granularity", ["channel", "tensor", "token", "group:4", "channel:1"])
def test_embedding(granularity: str) -> None:
    table = QEmbedding(10, 8, spec=QuantizerSpec(format="symmetric", granularity=granularity), padding_idx=1)
    index = torch.tensor([[1, 3], [3, 9]])
    assert torch.equal(table(index), F.embedding(index, table.weight))
    whole = table.quantizers.quantizer("weight").fake(table.weight, 3)
    y = table(index, num_bits=3)
    assert torch.equal(y, whole[index])
    y.sum().backward()
    assert table.weight.grad[3].tolist() == [2.0] * 8 and table.weight.grad[1].tolist() == [0.0] * 8
    assert list(table.state_dict()) == ["weight"]


def test_embedding_and_head_by_rule(transformer: nn.Module, tokens: torch.Tensor) -> None:
    plain = quantize_model(copy.deepcopy(transformer), "int8")
    assert type(plain.embed) is nn.Embedding and type(plain.classification_heads) is nn.Linear
    assert not plain.quantization.plan["embed.weight"].active
    rules = [{"match": "embed.weight", "bits": 4}, {"match": "classification_heads.*", "bits": 8}]
    model = quantize_model(copy.deepcopy(transformer), "int8", rules=rules)
    assert isinstance(model.embed, QEmbedding) and isinstance(model.classification_heads, QLinear)
    model(tokens).sum().backward()
    assert model.embed.weight.grad is not None


# --- torch's attention -------------------------------------------------------------------------------------------

ATTENTION = [
    {},
    {"batch_first": True},
    {"bias": False},
    {"add_bias_kv": True},
    {"add_zero_attn": True},
    {"kdim": 6, "vdim": 5},
    {"batch_first": True, "add_bias_kv": True, "add_zero_attn": True},
]


@pytest.mark.parametrize("options", ATTENTION, ids=str)
@pytest.mark.parametrize("masks", ["none", "bool", "float", "per head", "padding", "both"])
def test_torch_attention_in_full_precision(options: dict[str, Any], masks: str) -> None:
    attention = nn.MultiheadAttention(8, 2, **options)
    ours = quantize_model(copy.deepcopy(attention), "int8")
    assert isinstance(ours, QMultiheadAttention) and list(ours.state_dict()) == list(attention.state_dict())
    query, key, value = (
        torch.randn(5, 3, 8),
        torch.randn(7, 3, options.get("kdim", 8)),
        torch.randn(7, 3, options.get("vdim", 8)),
    )
    if options.get("batch_first"):
        query, key, value = (x.transpose(0, 1) for x in (query, key, value))
    arguments: dict[str, Any] = {}
    if masks in ("bool", "both"):
        arguments["attn_mask"] = torch.triu(torch.ones(5, 7, dtype=torch.bool), 1)
    elif masks == "float":
        arguments["attn_mask"] = torch.randn(5, 7)
    elif masks == "per head":
        arguments["attn_mask"] = torch.randn(6, 5, 7)
    if masks in ("padding", "both"):
        arguments["key_padding_mask"] = torch.zeros(3, 7, dtype=torch.bool).index_fill_(1, torch.tensor([6]), True)
    for average in (True, False):
        expected, probs = attention(query, key, value, average_attn_weights=average, **arguments)
        y, weights = ours(query, key, value, average_attn_weights=average, **arguments, num_bits=0)
        assert torch.allclose(y, expected, atol=1e-5) and torch.allclose(weights, probs, atol=1e-5)
    assert ours(query, key, value, need_weights=False)[1] is None


def test_torch_attention_unbatched_and_nested() -> None:
    attention = nn.MultiheadAttention(8, 2)
    ours = quantize_model(copy.deepcopy(attention), "int8")
    x = torch.randn(5, 8)
    for theirs, mine in zip(attention(x, x, x), ours(x, x, x, num_bits=0), strict=True):
        assert torch.allclose(theirs, mine, atol=1e-6)
    nested = torch.nested.nested_tensor([torch.randn(3, 8), torch.randn(2, 8)])
    with pytest.raises(ConfigError, match="nested"):
        ours(nested, nested, nested)


def test_torch_encoder_is_quantized_also_on_its_fast_path() -> None:
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0), 2)
    ours = quantize_model(copy.deepcopy(encoder), "int4")
    x, padding = torch.randn(3, 5, 8), torch.zeros(3, 5, dtype=torch.bool)
    padding[0, 3:] = True
    ours(x)  # ranges
    encoder.eval(), ours.eval()
    with torch.no_grad():
        exact, rough = encoder(x, src_key_padding_mask=padding), ours(x, src_key_padding_mask=padding)
        same = ours(x, src_key_padding_mask=padding, num_bits=0)
    assert torch.allclose(same[~padding], exact[~padding], atol=1e-5)
    error = (rough - exact)[~padding].norm() / exact[~padding].norm()
    assert 0.01 < error < 0.5


def test_modules_that_hide_their_product_are_refused() -> None:
    class Odd(nn.Linear):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return F.linear(input, self.weight * 2, self.bias)

    model = nn.Sequential(nn.Linear(4, 4), Odd(4, 4))
    with pytest.raises(ConfigError, match=r"cannot quantize '1': Odd has a forward of its own"):
        quantize_model(model, "int8")
    quantized = quantize_model(model, "int8", rules=[{"match": "1.*", "quantize": False}])
    assert type(quantized[1]) is Odd and type(quantized[0]) is QLinear
    normed = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)))
    with pytest.raises(ConfigError, match="parametrized"):
        quantize_model(normed, "int8")


def test_shared_layers_and_hooks_survive() -> None:
    shared = nn.Linear(4, 4)
    calls = []
    shared.register_forward_hook(lambda *_: calls.append(1))
    model = quantize_model(nn.Sequential(shared, nn.ReLU(), shared), "int8")
    assert model[0] is model[2] and isinstance(model[0], QLinear) and model[0].weight is shared.weight
    model(torch.randn(2, 4))
    assert len(calls) == 2


def test_inputs_shared_by_projections_are_rounded_once(transformer: nn.Module, tokens: torch.Tensor) -> None:
    model = quantize_model(transformer, "int8")

    class Counter:
        work = reused = 0

        def quantized(self, quantizer: Any, x: Any, result: Any, num_bits: int, again: bool) -> None:
            if quantizer.path.endswith("_proj.input"):
                Counter.work, Counter.reused = Counter.work + (not again), Counter.reused + again

        def product(self, *_: Any, **__: Any) -> None: ...

    with model.quantization.context.with_callback(Counter()):
        model(tokens)
    assert (Counter.work, Counter.reused) == (4, 4)  # per layer: q and out; k and v
    inputs = [model.layers[0].self_attn.get_submodule(f"{n}_proj").quantizers.quantizer("input") for n in "qkv"]
    model.eval()(tokens)
    lows = {float(q.observer.running_low) for q in inputs}
    assert len(lows) == 1 and lows != {0.0}


def test_plain_matmul() -> None:
    a, b = torch.randn(2, 3, 4), torch.randn(2, 4, 5)
    assert torch.equal(MatMul()(a, b, num_bits=4), a @ b)


def test_products_of_one_module_have_quantizers_of_their_own():
    class Scores(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = MatMul(), MatMul()

        def forward(self, x):
            return self.two(self.one(x, x.mT), x)

    rules = [{"match": "one.right", "bits": 4}, {"match": "two.left", "quantize": False}]
    model = quantize_model(Scores(), "int8", rules=rules)
    operands = ["one.left", "one.right", "one.grad_output", "two.left", "two.right", "two.grad_output"]
    quantizers = [module for module in model.modules() if isinstance(module, Quantizer)]
    assert [module.path for module in quantizers] == operands
    assert (
        model.quantization.plan["one.right"].spec.bits == 4 and model.two.quantizers.quantizer("right").spec.bits != 4
    )
    x = torch.randn(2, 3, 4)
    model(x)
    again = quantize_model(copy.deepcopy(model), "int8", rules=rules)  # products that are quantized keep the names
    assert [row.quantizer for row in again.quantization.plan.rows] == operands
