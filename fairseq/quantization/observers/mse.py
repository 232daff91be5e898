"""The range with which rounding has the least mean squared error: the full range shrunk by the best of several factors.

    r* = argmin_r mean (fake_quantize(x; r * low, r * high) - x)^2,   r = 1, ..., smallest

Costs one quantization per candidate; meant for weights, which are cached, and for few bits.
"""

import torch
from torch import Tensor

from fairseq.errors import ConfigError
from fairseq.quantization.kernels import levels
from fairseq.quantization.observers.base import OBSERVERS, Observer, Range, Request, whole_range


@OBSERVERS.register("mse")
class LeastSquares(Observer):
    """Grid search.

    Args:
        candidates: number of factors tried, equally spaced.
        smallest: the least factor.
    """

    def __init__(self, candidates: int = 16, smallest: float = 0.25):
        super().__init__()
        if candidates < 2 or not 0 < smallest < 1:
            raise ConfigError(f"range mse: needs 2 candidates and 0 < smallest < 1, got {candidates} and {smallest}")
        self.factors = torch.linspace(1.0, smallest, candidates).tolist()

    def forward(self, x: Tensor, request: Request) -> Range:
        full_low, full_high, _ = whole_range(x, request)
        low, high = full_low, full_high
        room = torch.empty_like(x)
        least, last = torch.full_like(low, torch.inf), None
        for factor in self.factors:
            trial_low, trial_high = full_low * factor, full_high * factor
            qparams = request.format.qparams(trial_low, trial_high, request.num_bits)
            if not request.format.scale_is_free:
                if last is not None and torch.equal(last, qparams.scale):
                    continue  # of few scales most come several times
                last = qparams.scale
            if not levels.fake_quantize(request.format, x, qparams, room):
                request.format.fake_quantize(x, qparams, None, room)
            error = room.sub_(x).square_().mean(request.axes, keepdim=True)
            better = error < least
            least = torch.where(better, error, least)
            low, high = torch.where(better, trial_low, low), torch.where(better, trial_high, high)
        return Range(low, high, covers=False)
