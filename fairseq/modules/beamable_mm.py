"""Batched products of hypotheses with what their sentence has in common.

With `beam_size` set and outside training, `beam_size` neighbours of the batch have the same second factor: one product
with it does for all of them.
"""

from typing import Optional

from torch import Tensor, nn


class BeamableMM(nn.Module):
    """`input1 @ input2`, (B, 1, N) with (B, N, M)."""

    def __init__(self, beam_size: Optional[int] = None):
        super().__init__()
        self.beam_size = beam_size

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        beam = self.beam_size
        if self.training or beam is None or input1.dim() != 3 or input1.size(1) != 1:
            return input1.bmm(input2)
        hypotheses = input1.view(-1, beam, input1.size(2))  # (B, 1, N) -> (B/beam, beam, N)
        return hypotheses.bmm(input2[::beam]).view(input1.size(0), 1, -1)

    def set_beam_size(self, beam_size: Optional[int]) -> None:
        self.beam_size = beam_size
