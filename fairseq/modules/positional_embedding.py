"""Learned or sinusoidal positions behind one constructor.

>>> PositionalEmbedding(512, 8, padding_idx=1, learned=True).weight.shape
torch.Size([514, 8])
"""

from typing import Optional, Union

from torch import nn

from fairseq.modules.learned_positional_embedding import LearnedPositionalEmbedding
from fairseq.modules.sinusoidal_positional_embedding import SinusoidalPositionalEmbedding


def PositionalEmbedding(
    num_embeddings: int, embedding_dim: int, padding_idx: Optional[int], learned: bool = False
) -> Union[LearnedPositionalEmbedding, SinusoidalPositionalEmbedding]:
    """Embeddings for `num_embeddings` positions; the offset by `padding_idx` is added here."""
    rows = num_embeddings + (padding_idx + 1 if padding_idx is not None else 1)
    if not learned:
        return SinusoidalPositionalEmbedding(embedding_dim, padding_idx, init_size=rows)
    table = LearnedPositionalEmbedding(rows if padding_idx is not None else num_embeddings, embedding_dim, padding_idx)
    nn.init.normal_(table.weight, mean=0, std=embedding_dim**-0.5)
    if padding_idx is not None:
        nn.init.zeros_(table.weight[padding_idx])
    return table
