"""What generation reads of a batch: its sources, their lengths, the sentences' numbers.

>>> sources_of({"src_tokens": torch.tensor([[5, 6, 2], [1, 5, 2]])}, eos=2, pad=1)[1]
tensor([2, 1])
"""

from typing import Any

import torch
from torch import Tensor

from fairseq.errors import DataError


def sources_of(net_input: dict[str, Any], eos: int, pad: int) -> tuple[Tensor, Tensor]:
    """The sources (B, S, ...) and their lengths (B,): those of the batch, or else how many words without the end."""
    if "src_tokens" in net_input:
        tokens = net_input["src_tokens"]
        lengths = net_input.get("src_lengths")
        return tokens, (tokens.ne(eos) & tokens.ne(pad)).long().sum(dim=1) if lengths is None else lengths
    for name in ("source", "features"):
        if name in net_input:
            source, mask = net_input[name], net_input.get("padding_mask")
            if mask is None:
                return source, torch.full((source.size(0),), source.size(-1 if name == "source" else 1)).to(
                    source.device
                )
            return source, mask.size(1) - mask.sum(dim=1)
    raise DataError(f"expected src_tokens or source in net input. input keys: {', '.join(net_input) or 'none'}")


def sentence_numbers(sample: dict[str, Any], sources: Tensor) -> Tensor:
    """The sentences' numbers (B,): as the data set counts them, or as they lie in the batch."""
    given = sample.get("id")
    return given if torch.is_tensor(given) else torch.arange(sources.size(0), device=sources.device)  # type: ignore[return-value]
