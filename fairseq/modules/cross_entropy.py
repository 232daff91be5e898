"""Cross entropy of logits, in fp32."""

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits: Tensor, target: Tensor, ignore_index: int = -100, reduction: str = "mean") -> Tensor:
    """-log softmax(logits)[target], over logits (N, V) and targets (N,)."""
    log_probs = F.log_softmax(logits, dim=-1, dtype=torch.float32)
    return F.nll_loss(log_probs, target, ignore_index=ignore_index, reduction=reduction)
