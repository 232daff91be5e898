"""Decoders that generate token by token and keep what they computed in `incremental_state`.

>>> FairseqIncrementalDecoder(dictionary=None).beam_size
-1
"""

from typing import Any, Optional

from torch import Tensor, nn

from fairseq.incremental_decoding_utils import FairseqIncrementalState, IncrementalState
from fairseq.models.fairseq_decoder import FairseqDecoder


class FairseqIncrementalDecoder(FairseqIncrementalState, FairseqDecoder):
    """With `incremental_state`, `forward` gets all earlier tokens but returns the scores after the last one only."""

    def __init__(self, dictionary: Any):
        super().__init__(dictionary)
        self.beam_size = -1

    def forward(
        self,
        prev_output_tokens: Tensor,
        encoder_out: Any = None,
        incremental_state: Optional[IncrementalState] = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Any]:
        raise NotImplementedError

    def extract_features(
        self,
        prev_output_tokens: Tensor,
        encoder_out: Any = None,
        incremental_state: Optional[IncrementalState] = None,
        *args: Any,
        **kwargs: Any,
    ) -> tuple[Tensor, Any]:
        raise NotImplementedError

    def reorder_incremental_state(self, incremental_state: IncrementalState, new_order: Tensor) -> None:
        """Rearrange this module's own kept rows; subclasses that keep some override it."""

    def reorder_incremental_state_scripting(self, incremental_state: IncrementalState, new_order: Tensor) -> None:
        """Rearrange what this decoder and every submodule keep to follow beam search. A state that one of them returns
        is what those after it are given.
        """
        reorder_each(with_kept_state(self), incremental_state, new_order)

    def set_beam_size(self, beam_size: int) -> None:
        """Set the number of hypotheses per sentence in every submodule that has `set_beam_size`."""
        if self.beam_size == beam_size:
            return
        for module in self.modules():
            if module is not self and hasattr(type(module), "set_beam_size"):
                module.set_beam_size(beam_size)  # type: ignore[operator]
        self.beam_size = beam_size


def reorder_each(modules: list[Any], incremental_state: IncrementalState, new_order: Tensor) -> None:
    """Let each of `modules` rearrange what it keeps."""
    for module in modules:
        result = module.reorder_incremental_state(incremental_state, new_order)
        if result is not None:
            incremental_state = result


def with_kept_state(root: nn.Module) -> list[nn.Module]:
    """`root` and its submodules that have `reorder_incremental_state`, each once, in the order of `root.modules()`.

    A walk of its own, since `modules()` also puts names together, and nn.Module's lookup is slow for names that are not
    there.
    """
    found, waiting, seen = [], [root], set()
    while waiting:
        module = waiting.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        if hasattr(type(module), "reorder_incremental_state") or "reorder_incremental_state" in module.__dict__:
            found.append(module)
        waiting += [child for child in reversed(module._modules.values()) if child is not None]
    return found
