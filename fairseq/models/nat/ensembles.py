"""Ensembles of refining models: the first one runs the methods of all, and averages what they return.

    decoder.ensemble_models = [decoder, other]
    scores = decoder.forward_word_ins(normalize=True, encoder_out=encoder_out, prev_output_tokens=tokens)

Log probabilities are averaged as probabilities, features and logits as they are.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_STACKED = ("encoder_out", "encoder_embedding")  # what differs between models; the rest is the first one's


def ensemble_encoder(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator for an encoder's `forward`: with `ensemble_models`, their outputs in a last dimension."""

    @functools.wraps(forward)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not self.ensemble_models:
            return forward(self, *args, **kwargs)
        outputs = [forward(model, *args, **kwargs) for model in self.ensemble_models]
        together = {name: [torch.stack([out[name][0] for out in outputs], dim=-1)] for name in _STACKED}
        return {**outputs[0], **together}

    return wrapped


def ensemble_decoder(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator for a decoder's `forward_...`: with `ensemble_models`, the mean of what they return."""

    @functools.wraps(forward)
    def wrapped(self: Any, normalize: bool = False, encoder_out: Any = None, *args: Any, **kwargs: Any) -> Any:
        if not self.ensemble_models:
            return forward(self, normalize, encoder_out, *args, **kwargs)
        results = []
        for number, model in enumerate(self.ensemble_models):
            own = {name: [encoder_out[name][0][..., number]] for name in _STACKED}
            results.append(forward(model, normalize, {**encoder_out, **own}, *args, **kwargs))
        if not isinstance(results[0], tuple):
            return _mean(results, normalize)
        attention = [result[1] for result in results]
        return _mean([scores for scores, _ in results], normalize), (
            None if any(attn is None for attn in attention) else torch.stack(attention).mean(0)
        )

    return wrapped


def _mean(results: list[Tensor], log_probs: bool) -> Tensor:
    stacked = torch.stack(results)
    return torch.logsumexp(stacked, dim=0) - math.log(len(results)) if log_probs else stacked.mean(0)
