"""An LSTM cell with zoneout (Krueger et al., arXiv:1606.01305): units keep their last value with a probability.

h' = prob * h + (1 - prob) * LSTM(x, h)      outside training; while training, prob is the chance of keeping h
"""

from typing import Any

from torch import Tensor, nn


class LSTMCellWithZoneOut(nn.Module):
    """`nn.LSTMCell` whose hidden and cell state are zoned out with probability `prob`."""

    def __init__(self, prob: float, input_size: int, hidden_size: int, bias: bool = True):
        super().__init__()
        if not 0.0 <= prob <= 1.0:
            raise ValueError(f"zoneout probability must be between 0 and 1, not {prob}")
        self.lstm_cell = nn.LSTMCell(input_size, hidden_size, bias=bias)
        self.prob = prob

    def zoneout(self, h: Any, next_h: Any, prob: float) -> Any:
        if isinstance(h, tuple):
            return tuple(self.zoneout(old, new, prob) for old, new in zip(h, next_h, strict=True))
        if self.training:
            keep = h.new_empty(h.shape).bernoulli_(prob)
            return keep * h + (1 - keep) * next_h
        return prob * h + (1 - prob) * next_h

    def forward(self, x: Tensor, h: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """State (h, c), each (B, hidden_size), after input `x` (B, input_size)."""
        return self.zoneout(h, self.lstm_cell(x, h), self.prob)  # type: ignore[no-any-return]
