"""Fixed sine and cosine positions (Vaswani et al., arXiv:1706.03762, section 3.5), with sines in the first half:

    PE(p, i) = sin(p * w_i),  PE(p, C/2 + i) = cos(p * w_i),  w_i = 10000 ** (-i / (C/2 - 1)),  i < C/2

Nothing is stored in checkpoints; the table grows when a longer sentence arrives.

>>> SinusoidalPositionalEmbedding(4, padding_idx=1)(torch.tensor([[5, 1]]))[0, 1]
tensor([0., 0., 0., 0.])
"""

import math
from typing import Any, Optional

import torch
from torch import Tensor, nn

from fairseq.modules.positions import make_positions


class SinusoidalPositionalEmbedding(nn.Module):
    """Embeds positions counted from padding_idx + 1; padding is embedded as zeros."""

    weights: Tensor  # (N, C)

    def __init__(self, embedding_dim: int, padding_idx: Optional[int], init_size: int = 1024):
        super().__init__()
        self.embedding_dim = embedding_dim
        self.padding_idx = padding_idx if padding_idx is not None else 0
        self.max_positions = int(1e5)
        self.register_buffer("weights", self.get_embedding(init_size, embedding_dim, padding_idx), persistent=False)

    @staticmethod
    def get_embedding(num_embeddings: int, embedding_dim: int, padding_idx: Optional[int] = None) -> Tensor:
        """The table (num_embeddings, embedding_dim); an odd last column is zero."""
        table = torch.zeros(
            num_embeddings, embedding_dim
        )  # allocated before the arithmetic, so that a limit on its size applies first
        half = embedding_dim // 2
        frequencies = torch.exp(torch.arange(half, dtype=torch.float) * -(math.log(10000) / max(half - 1, 1)))
        angles = torch.arange(num_embeddings, dtype=torch.float).unsqueeze(1) * frequencies  # (N, C/2)
        table[:, :half] = angles.sin()
        table[:, half : 2 * half] = angles.cos()
        if padding_idx is not None:
            table[padding_idx] = 0
        return table

    def forward(
        self,
        input: Tensor,
        incremental_state: Optional[Any] = None,
        timestep: Optional[Tensor] = None,
        positions: Optional[Tensor] = None,
    ) -> Tensor:
        """Vectors (B, T, C) for token ids `input` (B, T); (B, 1, C) for the newest token in incremental decoding."""
        batch, length = input.shape
        needed = self.padding_idx + 1 + length
        if needed > self.weights.size(0):
            self.weights = self.get_embedding(needed, self.embedding_dim, self.padding_idx).to(self.weights)
        if incremental_state is not None:
            position = length if timestep is None else int(timestep.reshape(-1)[0]) + 1
            return self.weights[self.padding_idx + position].expand(batch, 1, -1)
        if positions is None:
            positions = make_positions(input, self.padding_idx)
        return self.weights[positions].detach()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        # older fairseq stored the table, or an empty tensor that carried the data type
        for name in ("weights", "_float_tensor"):
            state_dict.pop(prefix + name, None)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
