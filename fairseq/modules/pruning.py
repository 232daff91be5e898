"""AdaPrune (Li et al., arXiv:2105.12844): which attention heads and feed-forward units weigh least, and layers without
them.

The weight of a head is the sum of the magnitudes of its rows in the projections of queries, keys and values; that of a
unit, of its row in `fc1` and its column in `fc2`. Regularisers that sum these make heads and units fade away.

>>> from fairseq.modules.multihead_attention import MultiheadAttention
>>> heads = strongest_heads(MultiheadAttention(8, 4, self_attention=True), 2)
>>> len(heads), [end - start for start, end in heads]
(2, [2, 2])
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


def weight_of_heads(attention: Any) -> Tensor:
    """(H,)."""
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    return torch.stack([_weight_of_rows(each).view(attention.num_heads, -1).sum(1) for each in projections]).sum(0)


def weight_of_feed_forward(fc1: Any, fc2: Any) -> Tensor:
    """All magnitudes of a feed-forward block."""
    return _weight_of_rows(fc1).sum() + _weight_of_rows(fc2).sum()


def _weight_of_rows(layer: nn.Linear) -> Tensor:
    rows = layer.weight.abs().sum(1)
    return rows if layer.bias is None else rows + layer.bias.abs()


def strongest_heads(attention: Any, number: int) -> list[tuple[int, int]]:
    """First and last row (behind it) of the `number` heads that weigh most, in that order.

    Raises:
        IndexError: there are not so many.
    """
    order = weight_of_heads(attention).argsort(descending=True, stable=True).tolist()
    width = attention.head_dim
    return [(order[place] * width, (order[place] + 1) * width) for place in range(number)]


def keep_heads(attention: Any, rows: Sequence[tuple[int, int]]) -> None:
    """Reduce the projections to `rows` (see `strongest_heads`), in place. Input and output keep their widths."""
    index = torch.cat([torch.arange(start, end) for start, end in rows])
    for name in ("q_proj", "k_proj", "v_proj"):
        keep_rows(getattr(attention, name), index)
    keep_columns(attention.out_proj, index)
    attention.num_heads = len(rows)
    attention.embed_dim = attention.head_dim * len(rows)


def weakest_units(fc1: Any, fc2: Any, number: int) -> list[int]:
    """The `number` units that weigh least, the least first."""
    weights = _weight_of_rows(fc1) + fc2.weight.abs().sum(0)
    return weights.argsort(stable=True).tolist()[:number]  # type: ignore[no-any-return]


def remove_units(fc1: Any, fc2: Any, units: Sequence[int]) -> None:
    """Take `units` out of a feed-forward block, in place."""
    gone = set(units)
    index = torch.tensor([unit for unit in range(fc1.out_features) if unit not in gone], dtype=torch.long)
    keep_rows(fc1, index)
    keep_columns(fc2, index)


def keep_rows(layer: Any, index: Tensor) -> None:
    index = index.to(layer.weight.device)
    layer.weight = _selected(layer.weight, index, 0)
    if layer.bias is not None:
        layer.bias = _selected(layer.bias, index, 0)
    layer.out_features = len(index)


def keep_columns(layer: Any, index: Tensor) -> None:
    layer.weight = _selected(layer.weight, index.to(layer.weight.device), 1)
    layer.in_features = len(index)


def _selected(weight: Tensor, index: Tensor, dim: int) -> nn.Parameter:
    return nn.Parameter(weight.detach().index_select(dim, index), requires_grad=weight.requires_grad)
