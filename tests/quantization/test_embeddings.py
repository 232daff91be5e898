"""Embeddings and bags of them behind quantizers, against torch's layers on a table that is rounded beforehand."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fairseq.errors import ConfigError
from fairseq.quantization import fake_quantize, quantize_model, remove_quantization
from fairseq.quantization.integer_weights import keep_integer_weights, restore_float_weights
from fairseq.quantization.layers.embedding import QEmbeddingBag

ROWS, WIDTH = 11, 6
TABLE = {"match": "0.weight", "bits": 4, "format": "symmetric", "range": "minmax"}


class Bags(nn.Sequential):
    """A bag layer whose call takes more than indices."""

    def forward(self, *args: Any) -> Tensor:
        return self[0](*args)  # type: ignore[no-any-return]


def bags(granularity: str = "channel:0", **kwargs: Any) -> tuple[nn.EmbeddingBag, nn.Module]:
    """torch's layer on the rounded table, and ours on the table itself."""
    torch.manual_seed(1)
    layer = nn.EmbeddingBag(ROWS, WIDTH, **kwargs)
    model = quantize_model(Bags(copy.deepcopy(layer)), "int8", rules=[{**TABLE, "granularity": granularity}])
    with torch.no_grad():
        layer.weight.copy_(fake_quantize(layer.weight, "symmetric", num_bits=4, granularity=granularity))
    return layer, model


LISTED = torch.tensor([1, 3, 3, 10, 0, 1, 7]), torch.tensor([0, 2, 2, 5])
CALLS = {
    "offsets": LISTED,
    "matrix": (torch.tensor([[1, 3], [3, 1], [9, 9]]),),
    "more lookups than rows": (torch.arange(3 * ROWS).view(3, ROWS) % ROWS,),
    "int32": (LISTED[0].int(), LISTED[1].int()),
    "one": (torch.tensor([[3]]),),
}


@pytest.mark.parametrize("granularity", ["channel:0", "tensor", "token", "group:4"])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_values_and_gradients(mode: str, call: str, granularity: str) -> None:
    for padding_idx in (None, 3, -1):
        plain, model = bags(granularity, mode=mode, padding_idx=padding_idx)
        if granularity == "channel:0" and call == "offsets":
            assert model[0].quantizers.by_row
        y, expected = model(*CALLS[call]), plain(*CALLS[call])
        assert torch.equal(y, expected)
        grad = torch.randn_like(y)
        y.backward(grad)
        expected.backward(grad)
        assert torch.allclose(model[0].weight.grad, plain.weight.grad, atol=1e-6)


@pytest.mark.parametrize("granularity", ["channel:0", "tensor"])
def test_settings_of_the_layer(granularity: str) -> None:
    weights = torch.randn(7)
    for kwargs, args in (
        ({"mode": "sum"}, (*LISTED, weights)),
        ({"include_last_offset": True, "padding_idx": 1}, (LISTED[0], torch.tensor([0, 2, 2, 5, 7]))),
        ({"sparse": True, "mode": "sum"}, LISTED),
    ):
        plain, model = bags(granularity, **kwargs)
        y, expected = model(*args), plain(*args)
        assert torch.equal(y, expected), kwargs
        y.sum().backward()
        expected.sum().backward()
        assert model[0].weight.grad.is_sparse == bool(kwargs.get("sparse")), kwargs
        assert torch.allclose(model[0].weight.grad.to_dense(), plain.weight.grad.to_dense()), kwargs
    leaf = weights.clone().requires_grad_()
    plain, model = bags(granularity, mode="sum")
    (gradient,) = torch.autograd.grad(model(*LISTED, leaf).sum(), leaf)
    assert torch.allclose(gradient, torch.autograd.grad(plain(*LISTED, leaf).sum(), leaf)[0])


def test_gradients_by_frequency() -> None:
    _, model = bags(scale_grad_by_freq=True, mode="sum")
    model(*LISTED).sum().backward()
    found = torch.zeros(ROWS)
    found[LISTED[0]] = 1.0  # as many times as it occurs, over that number
    assert torch.allclose(model[0].weight.grad, found[:, None].expand(ROWS, WIDTH))


def test_rows_are_shortened_before_they_are_rounded() -> None:
    for granularity in ("channel:0", "tensor"):
        torch.manual_seed(1)
        layer = nn.EmbeddingBag(ROWS, WIDTH, max_norm=1.0)
        model = quantize_model(Bags(copy.deepcopy(layer)), "int8", rules=[{**TABLE, "granularity": granularity}])
        layer(*LISTED)  # shortens rows of its table
        y = model(*LISTED)
        assert torch.equal(model[0].weight, layer.weight)
        table = fake_quantize(layer.weight.detach(), "symmetric", num_bits=4, granularity=granularity)
        assert torch.equal(y, F.embedding_bag(LISTED[0], table, LISTED[1]))


def test_only_the_rows_that_are_looked_up_are_rounded() -> None:
    _, model = bags()
    seen: list[tuple[int, ...]] = []
    model[0].quantizers.quantizer("weight").register_forward_hook(lambda _, args, __: seen.append(tuple(args[0].shape)))
    model(*LISTED)
    assert seen == [(7, WIDTH)]


def test_presets_leave_them_alone() -> None:
    model = quantize_model(nn.ModuleList([nn.EmbeddingBag(3, 2), nn.Embedding(3, 2), nn.Linear(2, 2)]), "int8")
    assert type(model[0]) is nn.EmbeddingBag and type(model[1]) is nn.Embedding
    rows = [(row.quantizer, row.active) for row in model.quantization.plan.rows]
    assert rows[:2] == [("0.weight", False), ("1.weight", False)] and len(rows) == 5


@pytest.mark.parametrize("kind", [nn.Embedding, nn.EmbeddingBag])
def test_output(kind: type[nn.Module]) -> None:
    torch.manual_seed(1)
    indices = torch.tensor([[1, 3], [3, 9]])
    rule = {"match": "0.output", "bits": 3, "format": "symmetric", "range": "minmax", "granularity": "tensor"}
    model = quantize_model(nn.Sequential(kind(ROWS, WIDTH)), "int8", rules=[rule])
    exact = _plain(kind, model)(indices)
    y = model(indices)
    assert torch.equal(y, fake_quantize(exact.detach(), "symmetric", num_bits=3))
    y.sum().backward()
    assert not model.quantization.plan["0.weight"].active and model[0].weight.grad is not None
    both = quantize_model(nn.Sequential(_plain(kind, model)), "int8", rules=[TABLE, rule])
    rounded = _plain(kind, model)
    with torch.no_grad():
        rounded.weight.copy_(fake_quantize(rounded.weight, "symmetric", num_bits=4, granularity="channel:0"))
    assert torch.equal(both(indices), fake_quantize(rounded(indices), "symmetric", num_bits=3))


def _plain(kind: type[nn.Module], model: nn.Module) -> Any:
    layer: Any = kind(ROWS, WIDTH)
    layer.load_state_dict(model[0].state_dict(), strict=True)
    return layer


def test_a_gradient_has_no_quantizer() -> None:
    for kind in (nn.Embedding, nn.EmbeddingBag):
        with pytest.raises(ConfigError, match=r"'0\.grad_output' matches no quantizer; nearest is '0\.") as error:
            quantize_model(nn.Sequential(kind(3, 2)), "int8", rules=[TABLE, {"match": "0.grad_output", "grad_bits": 8}])
        assert "\n" not in str(error.value)


def test_a_parametrized_table_is_refused_by_name() -> None:
    for layer in (nn.Embedding(3, 2), nn.EmbeddingBag(3, 2)):
        make = lambda layer=layer: nn.Sequential(  # noqa: E731
            nn.utils.parametrizations.weight_norm(copy.deepcopy(layer)), nn.Linear(2, 2)
        )
        assert not quantize_model(make(), "int8").quantization.plan["0.weight"].active
        with pytest.raises(ConfigError, match=r"cannot quantize '0': its weight is parametrized; use nn\.Embedding"):
            quantize_model(make(), "int8", rules=[TABLE])


def test_codes_in_place_of_the_table_and_removal() -> None:
    for mode in ("sum", "mean", "max"):
        _, model = bags(mode=mode, padding_idx=3)
        table = model[0].weight.detach().clone()
        y = model.eval()(*LISTED)
        assert torch.equal(keep_integer_weights(copy.deepcopy(model))(*LISTED), y)
        assert torch.equal(restore_float_weights(keep_integer_weights(copy.deepcopy(model)))(*LISTED), y)
        assert isinstance(model[0], QEmbeddingBag)
        assert type(remove_quantization(model)[0]) is nn.EmbeddingBag and torch.equal(model[0].weight, table)
        assert not hasattr(model[0], "quantizers")


@pytest.mark.parametrize("kind", [nn.Embedding, nn.EmbeddingBag])
def test_a_format_that_looks_at_the_whole_table_rounds_a_row_alike_in_every_batch(kind: type[nn.Module]) -> None:
    torch.manual_seed(1)
    table = kind(6, 32)
    with torch.no_grad():
        table.weight[5] *= 1000  # which settles the scale of nvfp4 for all rows
    model = quantize_model(nn.Sequential(table), "mxfp8", rules=[{"match": "*.weight", "bits": 4, "format": "nvfp4"}])
    alone, together = (model.eval()(torch.tensor(rows))[0] for rows in ([[1]], [[1], [5]]))
    assert torch.equal(alone, together)
    assert torch.equal(keep_integer_weights(model)(torch.tensor([[1]]))[0], alone)
