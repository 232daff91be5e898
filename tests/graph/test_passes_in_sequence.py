"""Passes one after another, and on models that use a layer's weight besides calling the layer."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fairseq.errors import ConfigError
from fairseq.graph import fuse_conv_bn, fuse_lora, insert_lora, prune, quantize, remove, restore, trace
from fairseq.graph.masks import broken_masks, named_masks
from tests.graph.models import random

X = random(4, 8)


def mlp() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 4))


# --- prune ------------------------------------------------------------------------------------------------------------


def test_rows_after_elements_are_those_of_the_lowest_mean() -> None:
    """A pruned element makes no row unimportant, and stays pruned."""
    layer = nn.Linear(4, 4, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[10.0, 10, 10, 0.1], [1, 1, 1, 1], [2, 2, 2, 2], [3, 3, 3, 3]]))
    graph, _ = prune(nn.Sequential(layer), 1 / 16, inputs=random(2, 4))
    _, result = prune(graph, 0.25, granularity="row")
    expected = torch.ones(4, 4, dtype=torch.bool)
    expected[0, 3] = expected[1] = False
    assert torch.equal(layer.weight_mask, expected) and result.details[0]["pruned"] == 5


def test_heads_after_elements() -> None:
    model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    graph, _ = prune(model, 0.2, "MultiheadAttention", inputs=random(2, 3, 8))
    before = model.self_attn.in_proj_weight_mask.clone()
    prune(graph, 0.5, granularity="head")
    kept = model.self_attn.in_proj_weight_mask.view(3, 2, 4, 8)
    assert sum(bool(kept[:, head].any()) for head in (0, 1)) == 1
    assert not (model.self_attn.in_proj_weight_mask & ~before).any()


def test_n_of_m_adds_to_what_is_pruned() -> None:
    model = nn.Sequential(nn.Linear(8, 8))
    graph, _ = prune(model, 0.75, inputs=X)
    before = model[0].weight_mask.clone()
    prune(graph, granularity="2:4")
    assert not (model[0].weight_mask & ~before).any()
    assert int(model[0].weight_mask.view(-1, 4).sum(1).max()) <= 2


def test_a_later_pattern_takes_the_place_of_an_earlier_one() -> None:
    model = mlp()
    _, result = prune(model, {".+": 0.5, "1": 0.25}, by="regex", inputs=X)
    assert [(row["weight"], row["pruned"]) for row in result.details] == [
        ("0.weight", 32), ("2.weight", 16), ("1.weight", 16)
    ]  # fmt: skip
    assert [int((layer.weight == 0).sum()) for layer in model] == [32, 16, 16]
    assert not broken_masks(model)


# --- a weight that is used besides ------------------------------------------------------------------------------------


class Autoencoder(nn.Module):
    """Its decoder has the encoder's weight."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.norm = nn.Linear(8, 6), nn.BatchNorm1d(6)
        self.norm.running_var.fill_(4.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(self.norm(self.encode(x)), self.encode.weight.t())


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(self.embed(x), self.embed.weight)


def test_no_fusion_where_the_weight_is_used_besides() -> None:
    model = Autoencoder().eval()
    before = model(X)
    with pytest.raises(ConfigError, match=r"not fused with encode: the model uses encode\.weight besides"):
        fuse_conv_bn(model, inputs={"x": X})
    assert torch.equal(model(X), before)


def test_no_adapter_is_fused_where_the_weight_is_used_besides() -> None:
    model, tokens = Tied().eval(), torch.arange(6).view(2, 3)
    graph, _ = insert_lora(model, "embedding", inputs={"x": tokens})
    with torch.no_grad():
        model.embed.lora.A.normal_()
    before = model(tokens)
    with pytest.raises(ConfigError, match=r"'embed': the model uses embed\.weight besides"):
        fuse_lora(graph)
    assert torch.equal(model(tokens), before)


def test_a_removal_that_fails_changes_nothing() -> None:
    class Regularized(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(x) + self.fc.weight.sum()

    model = Regularized()
    graph = trace(model, {"x": X})
    with pytest.raises(ConfigError, match="no attribute 'weight'"):
        remove(graph, "fc")
    assert isinstance(model.fc, nn.Linear)


# --- adapters, and models that become a graph -------------------------------------------------------------------------


def test_adapters_of_two_calls_train_what_either_names() -> None:
    model = mlp()
    graph, _ = insert_lora(model, "0", by="name", trainable=["2.bias"], inputs=X)
    insert_lora(graph, "1", by="name", trainable=["0.bias"])
    trains = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trains == {"2.bias", "0.bias", "0.lora.A", "0.lora.B", "1.lora.A", "1.lora.B"}
    again = restore(mlp(), model.state_dict())
    assert trains == {name for name, parameter in again.named_parameters() if parameter.requires_grad}


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.fc = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.fc(self.attention(x, x, x, need_weights=False)[0]))


def test_masks_are_kept_after_a_function_is_removed() -> None:
    """torch's attention uses the weight of its last layer without calling it: the whole model looks after its mask."""
    graph, _ = prune(Attention(), 0.5, "MultiheadAttention", inputs={"x": random(2, 3, 8)})
    graph, _ = remove(graph, "relu")
    model = graph.model
    with torch.no_grad():
        model.attention.out_proj.weight.add_(1.0)
    model(random(2, 3, 8))
    assert len(named_masks(model)) == 2 and not broken_masks(model)


def test_fusing_after_a_function_is_removed_lets_parameters_train_again() -> None:
    graph, _ = insert_lora(Attention(), "fc", by="name", inputs={"x": random(2, 3, 8)})
    graph, _ = remove(graph, "relu")
    graph, _ = fuse_lora(graph)
    assert all(parameter.requires_grad for parameter in graph.model.parameters())


# --- quantize ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings", [{"bits": 99}, {"format": "symetric"}, {"bits": 3.5}, {"bits": 8, "rounding": "upwards"}]
)
def test_quantizers_stay_where_other_ones_are_refused(settings) -> None:
    model = mlp()
    graph, _ = quantize(model, {"linear": {"bits": 4, "format": "symmetric"}}, inputs=X)
    before, plan = model(X), str(model.quantization.plan)
    with pytest.raises(ConfigError):
        quantize(graph, {"linear": settings})
    assert torch.equal(model(X), before) and str(model.quantization.plan) == plan
    quantize(graph, {"linear": {"bits": 8, "format": "symmetric"}})
    fresh = mlp()
    quantize(fresh, {"linear": {"bits": 8, "format": "symmetric"}}, inputs=X)
    assert torch.equal(model(X), fresh(X))
