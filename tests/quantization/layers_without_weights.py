"""Layers whose quantizers round activations alone, for the table of `layer_registry.py`: products called as functions,
sums, activations and norms, attention.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.quantization.layer_registry import Layer


class Products(nn.Module):
    """`matmul`, `einsum` and `F.linear` in one forward."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(3, 4) / 8), nn.Parameter(torch.randn(3) / 8)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        y = (a / 2) @ (b / 2)  # (..., 4); small, as some formats end at 3.5
        y = F.linear(y, self.weight, self.bias)
        return torch.einsum("ik,jk->ij", y.reshape(-1, 3), self.weight.mT)


class Sums(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return (a + b) * a


class Attend(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(x, 2 * x, x - 1, is_causal=True)


def _attend_to_itself(module: nn.Module, x: Tensor) -> Tensor:
    y: Tensor = module(x, x, x)[0]
    return y


def requested(*patterns: str) -> tuple[dict[str, Any], ...]:
    return tuple({"match": pattern, "bits": "follow"} for pattern in patterns)


ATTENTION = ("query", "key", "probs", "value", "output", "grad_output")

WITHOUT_WEIGHTS: dict[str, Layer] = {
    "functional products": Layer(
        Products,
        (((2, 3, 5), (2, 5, 4)), ((3, 5), (5, 4)), ((5,), (5, 4)), ((2, 1, 1, 1), (1, 4))),
        words=("left", "right", "output", "input", "weight", "bias", "grad_output"),
        by_example=True,
    ),
    "functional attention": Layer(
        Attend, (((2, 2, 3, 4),), ((2, 3, 4),), ((3, 4),), ((1, 1),)), words=ATTENTION, by_example=True
    ),
    "sum and gate": Layer(
        Sums,
        (((2, 3, 4), (2, 3, 4)), ((1,), (1,)), ((2, 1, 2, 3), (2, 1))),
        words=("left", "right", "output"),
        rules=requested("layer.add.*", "layer.mul.*"),
        by_example=True,
    ),
    "activations, softmax, norms": Layer(
        lambda: nn.Sequential(nn.LayerNorm(4), nn.GELU(), nn.RMSNorm(4), nn.PReLU(), nn.Softmax(-1)),
        (((2, 3, 4),), ((4,),), ((2, 1, 3, 4),)),
        words=("input", "output"),
        rules=requested("layer.?.*"),
    ),
    "images' norms and activations": Layer(
        lambda: nn.Sequential(nn.BatchNorm2d(4), nn.ReLU6(inplace=True), nn.GroupNorm(2, 4)),
        (((2, 4, 3, 2),), ((2, 4, 1, 1),)),
        words=("input", "output"),
        rules=requested("layer.?.*"),
    ),
    "MultiheadAttention": Layer(
        lambda: nn.MultiheadAttention(4, 2, batch_first=True),
        (((2, 3, 4),), ((1, 4),)),
        _attend_to_itself,
        words=(*ATTENTION, "input", "weight", "bias"),
    ),
}
