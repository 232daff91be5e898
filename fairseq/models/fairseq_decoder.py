"""The base of decoders: earlier outputs and an encoder's output in, scores over the next token out.

>>> FairseqDecoder(dictionary=None).max_positions()
1000000.0
"""

from typing import Any, Optional

import torch.nn.functional as F
from torch import Tensor, nn


class FairseqDecoder(nn.Module):
    """Decodes into tokens of `dictionary`. Subclasses write `extract_features` and `output_layer`."""

    adaptive_softmax: Optional[nn.Module]

    def __init__(self, dictionary: Any):
        super().__init__()
        self.dictionary = dictionary
        self.adaptive_softmax = None  # in place of the output projection, where a subclass makes one

    def forward(self, prev_output_tokens: Tensor, encoder_out: Any = None, **kwargs: Any) -> tuple[Tensor, Any]:
        """Scores (B, T, V) for `prev_output_tokens` (B, T) shifted right, and extras."""
        features, extra = self.extract_features(prev_output_tokens, encoder_out=encoder_out, **kwargs)
        return self.output_layer(features), extra

    def extract_features(
        self, prev_output_tokens: Tensor, encoder_out: Any = None, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Any]:
        """Features (B, T, C) and extras."""
        raise NotImplementedError

    def output_layer(self, features: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Scores over the dictionary for `features`."""
        raise NotImplementedError

    def get_normalized_probs(
        self, net_output: tuple[Tensor, Any], log_probs: bool, sample: Optional[dict[str, Any]] = None
    ) -> Tensor:
        """(Log-)probabilities of `forward`'s result, in fp32."""
        if self.adaptive_softmax is not None:
            target = None if sample is None else sample["target"]
            scores: Tensor = self.adaptive_softmax.get_log_prob(  # type: ignore[operator]
                net_output[0], target=target
            )
            return scores if log_probs else scores.exp()
        normalize = F.log_softmax if log_probs else F.softmax
        return normalize(net_output[0].float(), dim=-1)

    def get_normalized_probs_scriptable(
        self, net_output: tuple[Tensor, Any], log_probs: bool, sample: Optional[dict[str, Any]] = None
    ) -> Tensor:
        return self.get_normalized_probs(net_output, log_probs, sample)

    def max_positions(self) -> Any:
        """The longest output in tokens."""
        return 1e6

    def upgrade_state_dict_named(self, state_dict: dict[str, Any], name: str) -> dict[str, Any]:
        """Bring keys of older checkpoints under `name` up to date, in place."""
        return state_dict
