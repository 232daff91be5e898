"""The base of encoders: tokens in, whatever the decoder or the heads read out.

>>> FairseqEncoder(dictionary=None).max_positions()
1000000.0
"""

from typing import Any, NamedTuple, Optional

from torch import Tensor, nn


class EncoderOut(NamedTuple):
    """An encoder's output as older plugins return it."""

    encoder_out: Tensor  # (T, B, C)
    encoder_padding_mask: Optional[Tensor]  # (B, T)
    encoder_embedding: Optional[Tensor]  # (B, T, C)
    encoder_states: Optional[list[Tensor]]  # of (T, B, C)
    src_tokens: Optional[Tensor]  # (B, T)
    src_lengths: Optional[Tensor]  # (B, 1)


class FairseqEncoder(nn.Module):
    """Encodes batches of token ids from `dictionary`."""

    def __init__(self, dictionary: Any):
        super().__init__()
        self.dictionary = dictionary

    def forward(self, src_tokens: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Encode `src_tokens` (B, T); most encoders take their lengths (B,) next, as `src_lengths`."""
        raise NotImplementedError

    def forward_torchscript(self, net_input: dict[str, Tensor]) -> Any:
        """Encode a sample's `net_input`, without the decoder's inputs."""
        return self.forward_non_torchscript(net_input)

    def forward_non_torchscript(self, net_input: dict[str, Tensor]) -> Any:
        return self.forward(**{name: value for name, value in net_input.items() if name != "prev_output_tokens"})

    def reorder_encoder_out(self, encoder_out: Any, new_order: Tensor) -> Any:
        """`encoder_out` with its sentences in the order of `new_order` (beam search)."""
        raise NotImplementedError

    def max_positions(self) -> Any:
        """The longest input in tokens."""
        return 1e6

    def upgrade_state_dict_named(self, state_dict: dict[str, Any], name: str) -> dict[str, Any]:
        """Bring keys of older checkpoints under `name` up to date, in place."""
        return state_dict

    def set_num_updates(self, num_updates: int) -> None:
        """Called before each update with the number of updates done."""
