"""What classifies sentences from BART's feature of the last `</s>`.

    W_o dropout(tanh(W dropout(x_</s>)))

>>> head = BARTClassificationHead(8, inner_dim=8, num_classes=3, activation_fn="tanh", pooler_dropout=0.0)
>>> head(torch.zeros(2, 8)).shape
torch.Size([2, 3])
"""

from typing import Any, Optional

import torch
from torch import Tensor

from fairseq.models.roberta.heads import RobertaClassificationHead


class BARTClassificationHead(RobertaClassificationHead):
    """Scores over `num_classes` for a sentence; arguments as RoBERTa's head, without quantization noise."""

    def __init__(
        self,
        input_dim: int,
        inner_dim: int,
        num_classes: int,
        activation_fn: str,
        pooler_dropout: float,
        do_spectral_norm: bool = False,
    ):
        super().__init__(
            input_dim, inner_dim, num_classes, activation_fn, pooler_dropout, do_spectral_norm=do_spectral_norm
        )

    def forward(self, features: Tensor, num_bits: Optional[int] = None, **kwargs: Any) -> Tensor:
        """Scores (B, num_classes) for `features` (B, C)."""
        return super().forward(features.unsqueeze(1), num_bits=num_bits)


def last_eos_features(features: Tensor, tokens: Tensor, eos: int) -> Tensor:
    """The features (B, C), of (B, T, C), at the last `eos` of each row of `tokens` (B, T).

    >>> features = torch.arange(6.0).view(2, 3, 1)
    >>> last_eos_features(features, torch.tensor([[5, 2, 2], [5, 2, 1]]), eos=2).tolist()
    [[2.0], [4.0]]
    """
    places = torch.arange(tokens.size(1), device=tokens.device)
    last = (tokens.eq(eos) * places).max(dim=1).values
    return features[torch.arange(len(tokens), device=tokens.device), last]
