"""Fixed random numbers, a small transformer whose every product is a module, and each way of computing with codes."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from fairseq.native import compiled
from fairseq.quantization import MatMul
from fairseq.quantization.kernels import encoding, gemm, packing, torch_gemm
from fairseq.quantization.products import integer_encode
from tests.quantization.integer_tools import without_own_kernels


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


@pytest.fixture(params=["torch", "native", "native codes"])
def each_kernel(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[None]:
    """By torch's operations, by our own kernels (also for what is small), by these with torch's GEMM, as with AMX."""
    monkeypatch.setattr(compiled, "MIN_KERNEL_ELEMENTS", 2**60)  # compiling takes seconds and has tests of its own
    for place, name in (
        (packing, "MIN_KERNEL_ELEMENTS"),
        (gemm, "MIN_MACS"),
        (encoding, "MIN_KERNEL_ELEMENTS"),
        (integer_encode, "MIN_WEIGHT_ELEMENTS"),
    ):
        monkeypatch.setattr(place, name, 0)
    if request.param == "torch":
        monkeypatch.setattr(packing, "MIN_KERNEL_ELEMENTS", 2**60)
        without_own_kernels(monkeypatch)
    elif request.param == "native codes":
        monkeypatch.setattr(gemm, "is_preferred", lambda *_: False)
    else:
        monkeypatch.setattr(gemm, "has_amx", lambda: False)
    yield
    torch_gemm.backend.cache_clear()
    torch_gemm.fuses.cache_clear()
    compiled.clear()
