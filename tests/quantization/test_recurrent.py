"""Recurrent layers and cells behind quantizers: torch's results without rounding, and near them at 16 bits."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from fairseq.errors import ConfigError
from fairseq.quantization import quantize_model, remove_quantization

LAYERS: dict[str, Any] = {
    "lstm": lambda: nn.LSTM(5, 6, num_layers=2, bidirectional=True),
    "projected": lambda: nn.LSTM(5, 6, num_layers=2, proj_size=3, batch_first=True, bidirectional=True),
    "gru": lambda: nn.GRU(5, 6, num_layers=2, bidirectional=True, batch_first=True),
    "no bias": lambda: nn.GRU(5, 6, bias=False),
    "rnn": lambda: nn.RNN(5, 6, num_layers=2, nonlinearity="tanh"),
    "relu": lambda: nn.RNN(5, 6, nonlinearity="relu"),
}
CELLS: dict[str, Any] = {
    "lstm cell": lambda: nn.LSTMCell(5, 6),
    "gru cell": lambda: nn.GRUCell(5, 6, bias=False),
    "relu cell": lambda: nn.RNNCell(5, 6, nonlinearity="relu"),
}
NEAR = [{"match": "*", "range": "minmax", "rounding": "nearest"}]


def quantized(layer: nn.Module, preset: str = "int16", **changes: Any) -> nn.Module:
    """Quantized so finely that only a wrong computation is far off."""
    return quantize_model(copy.deepcopy(layer), preset, **{"rules": NEAR, "num_grad_bits": 0, **changes})


def tensors(result: Any) -> list[Tensor]:
    if isinstance(result, PackedSequence):
        return [result.data]
    return [result] if isinstance(result, Tensor) else [tensor for part in result for tensor in tensors(part)]


def states(layer: Any, batch: tuple[int, ...]) -> Any:
    count = layer.num_layers * (2 if layer.bidirectional else 1)
    h = torch.randn(count, *batch, layer.proj_size or layer.hidden_size)
    return (h, torch.randn(count, *batch, layer.hidden_size)) if layer.mode == "LSTM" else h


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("how", ["batch", "one sequence", "packed", "packed, sorted"])
@pytest.mark.parametrize("given", [False, True], ids=["zeros", "states"])
def test_as_torch(name: str, how: str, given: bool) -> None:
    layer = LAYERS[name]()
    model = quantized(layer)
    assert list(model.state_dict()) == list(layer.state_dict())
    x: Any = (
        torch.randn(3, 4, 5, requires_grad=True) if how != "one sequence" else torch.randn(4, 5, requires_grad=True)
    )
    leaf, batch = x, (4,) if not layer.batch_first else (3,)
    if how.startswith("packed"):
        lengths = [4, 2, 3] if layer.batch_first else [3, 1, 2, 3]
        is_sorted = how == "packed, sorted"
        lengths = sorted(lengths, reverse=True) if is_sorted else lengths
        x = pack_padded_sequence(x, torch.tensor(lengths), layer.batch_first, enforce_sorted=is_sorted)
    hx = states(layer, () if how == "one sequence" else batch) if given else None
    expected, exact, near = layer(x, hx), model(x, hx, num_bits=0), model(x, hx)
    for ours, rough, theirs in zip(tensors(exact), tensors(near), tensors(expected), strict=True):
        assert torch.equal(ours, theirs)
        assert (
            rough.shape == theirs.shape and torch.allclose(rough, theirs, atol=2e-3) and not torch.equal(rough, theirs)
        )
    gradients = []
    for result, module in ((near, model), (expected, layer)):
        leaf.grad = None
        sum(tensor.square().sum() for tensor in tensors(result)).backward(retain_graph=True)  # they share the packing
        gradients.append([leaf.grad, *(parameter.grad for parameter in module.parameters())])
    for ours, theirs in zip(*gradients, strict=True):
        assert torch.allclose(ours, theirs, atol=0.02, rtol=0.02)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("shape", [(3, 5), (5,)])
def test_cells_as_torch(name: str, shape: tuple[int, ...]) -> None:
    cell = CELLS[name]()
    model, x = quantized(cell), torch.randn(shape)
    h = torch.randn(*shape[:-1], 6)
    for hx in (None, (h, h.clone()) if name == "lstm cell" else h):
        for ours, exact, theirs in zip(
            *(tensors(r) for r in (model(x, hx), model(x, hx, num_bits=0), cell(x, hx))), strict=True
        ):
            assert torch.equal(exact, theirs)
            assert (
                ours.shape == theirs.shape and torch.allclose(ours, theirs, atol=2e-3) and not torch.equal(ours, theirs)
            )


def test_dropout_draws_torchs_masks() -> None:
    layer = nn.GRU(5, 6, num_layers=3, dropout=0.5)
    model, x = quantized(layer), torch.randn(3, 4, 5)
    torch.manual_seed(5)
    theirs = layer(x)[0]
    torch.manual_seed(5)
    assert torch.allclose(model(x)[0], theirs, atol=2e-3)
    assert torch.allclose(model.eval()(x)[0], layer.eval()(x)[0], atol=2e-3)


def test_the_weight_is_rounded_once_and_noise_differs_by_step() -> None:
    model = quantize_model(nn.RNN(4, 4), "int4")
    rounded: list[str] = []
    noises: list[int] = []

    class Callback:
        def quantized(self, quantizer: Any, x: Tensor, result: Tensor, num_bits: int, reused: bool) -> None:
            rounded.append(quantizer.path)

        def product(self, path: str, kind: str, *_: Any, **__: Any) -> None: ...

    quantizer = model.quantizers._modules["hh_l0"].quantizer("grad_output")
    noise = quantizer._noise
    quantizer._noise = lambda x, key, index: noises.append(key.layer) or noise(x, key, index)
    with model.quantization.context.with_callback(Callback()):
        model(torch.randn(5, 2, 4))[0].square().sum().backward()
    assert rounded.count("hh_l0.weight") == 1 and rounded.count("hh_l0.input") == 5
    assert len(set(noises)) == len(noises) == 5


def test_plan_integer_compute_and_removal() -> None:
    layer = nn.LSTM(4, 4, proj_size=2)
    model = quantize_model(copy.deepcopy(layer), "int8", compute="integer")
    plan = model.quantization.plan
    names = [f"{kind}_l0.{word}" for kind in ("ih", "hh", "hr") for word in ("weight", "input", "grad_output")]
    assert [row.quantizer for row in plan.rows] == names
    assert plan["ih_l0.input"].cells()["compute"] == "simulate, no integer kernel"
    restored = remove_quantization(model)
    assert type(restored) is nn.LSTM and restored.weight_ih_l0 is model.weight_ih_l0
    with pytest.raises(ConfigError, match=r"'hr_l0.bias' matches no quantizer"):
        quantize_model(restored, "int8", rules=[{"match": "hr_l0.bias", "bits": 4}])


def test_wrong_states_are_refused() -> None:
    model = quantized(nn.GRU(5, 6))
    with pytest.raises(RuntimeError, match="expected hidden states for"):
        model(torch.randn(3, 4, 5), torch.randn(1, 3, 6))
