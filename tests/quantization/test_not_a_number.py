"""NaN in, NaN out: integer products say so wherever the simulation does, in forward and backward."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fairseq.dataclass.transformer import TransformerConfig
from fairseq.modules.multihead_attention import MultiheadAttention
from fairseq.modules.transformer_encoder_layer import TransformerEncoderLayerBase
from fairseq.native import gelu
from fairseq.quantization import quantize_model
from fairseq.quantization.kernels import heads

CONFIG = {"encoder_embed_dim": 16, "encoder_ffn_embed_dim": 32, "encoder_attention_heads": 2, "activation_fn": "gelu"}


class SelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = MultiheadAttention(16, 2, self_attention=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x, x, x, need_weights=False)[0]  # type: ignore[no-any-return]


class FeedForward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = TransformerEncoderLayerBase(TransformerConfig.from_namespace(CONFIG))
        del self.layer.self_attn

    def forward(self, x: Tensor) -> Tensor:
        return self.layer.feed_forward(x)


KINDS = {"linear": lambda: nn.Sequential(nn.Linear(16, 24)), "attention": SelfAttention, "feed-forward": FeedForward}


@pytest.fixture(autouse=True)
def _small_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "MIN_KERNEL_ELEMENTS", 0)
    monkeypatch.setattr(gelu, "MIN_KERNEL_ELEMENTS", 0)


def poisoned(kind: str, compute: str, where: str, value: float, training: bool, rule: dict[str, Any]) -> list[Tensor]:
    """Where the result and the gradients are NaN or infinite, with one such number in a tensor."""
    torch.manual_seed(0)
    inputs = {"match": r"re:.*\.(input|query|key|value|probs|output)", **rule}
    model = quantize_model(KINDS[kind](), "int8", compute=compute, rules=[inputs])
    x = torch.randn(6, 4, 16)
    model.quantization.begin_micro_batch(0)
    model(x)
    model.quantization.end_update(model)
    model.train(training)
    model.quantization.begin_micro_batch(1)
    if where == "weight":
        next(parameter for parameter in model.parameters() if parameter.dim() == 2).data[3, 5] = value
    if where == "input":
        x[2, 1, 7] = value
    with torch.set_grad_enabled(training):
        y = model(x.requires_grad_(training))
    if not training:
        return [~y.isfinite()]
    grad = torch.randn_like(y)
    if where == "gradient":
        grad[1, 2, 3] = value
    y.backward(grad)
    grads = [parameter.grad for parameter in model.parameters()]  # the block has no use for some of them
    return [~part.isfinite() for part in (y, x.grad, *grads) if part is not None]


@pytest.mark.usefixtures("each_kernel")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("source", ["minmax", "running", "percentile"])
@pytest.mark.parametrize("name", ["symmetric", "affine_int"])
@pytest.mark.parametrize("where", ["weight", "input", "gradient"])
def test_as_the_simulation(kind: str, source: str, name: str, where: str) -> None:
    rule = {"range": source, "format": name}
    for training in (True, False) if where != "gradient" else (True,):
        for value in (math.nan, math.inf, -math.inf):
            expected = poisoned(kind, "simulate", where, value, training, rule)
            found = poisoned(kind, "integer", where, value, training, rule)
            for bad, wanted in zip(found, expected, strict=True):
                assert not bool((wanted & ~bad).any()), (training, value)  # nothing is hidden
            if math.isnan(value):
                assert expected[0].any() or where == "gradient"
                assert all(bad.equal(wanted) for bad, wanted in zip(found, expected, strict=True)), training
