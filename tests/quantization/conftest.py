"""Fixed random numbers, and a small transformer whose every product is a module."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from fairseq.quantization import MatMul


@pytest.fixture(autouse=True)
def _seed() -> Iterator[None]:
    torch.manual_seed(1)
    yield


class Attention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))
        self.qk_matmul, self.pv_matmul = MatMul("query", "key"), MatMul("probs", "value", "output")

    def forward(self, x: Tensor) -> Tensor:
        length, batch, width = x.shape
        q, k, v = (
            project(x).view(length, batch * self.heads, -1).transpose(0, 1)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        probs = self.qk_matmul(q * q.shape[-1] ** -0.5, k.transpose(1, 2)).softmax(-1)
        return self.out_proj(self.pv_matmul(probs, v).transpose(0, 1).reshape(length, batch, width))


class Layer(nn.Module):
    def __init__(self, width: int, heads: int, ffn: int):
        super().__init__()
        self.self_attn = Attention(width, heads)
        self.fc1, self.fc2 = nn.Linear(width, ffn), nn.Linear(ffn, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(x + self.self_attn(x))
        return self.norm2(x + self.fc2(torch.nn.functional.gelu(self.fc1(x))))


class Transformer(nn.Module):
    """Embedding, layers, a head: (T, B) tokens -> (B, 3)."""

    def __init__(self, layers: int = 2, width: int = 16, heads: int = 2, ffn: int = 32):
        super().__init__()
        self.embed = nn.Embedding(50, width)
        self.layers = nn.ModuleList(Layer(width, heads, ffn) for _ in range(layers))
        self.classification_heads = nn.Linear(width, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        for layer in self.layers:
            x = layer(x)
        return self.classification_heads(x[0])


@pytest.fixture
def transformer() -> Transformer:
    return Transformer()


@pytest.fixture
def tokens() -> Tensor:
    return torch.randint(0, 50, (7, 3))
