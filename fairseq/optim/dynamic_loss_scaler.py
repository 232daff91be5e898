"""The scale of the loss in fp16 training (Micikevicius et al., arXiv:1710.03740), as a loop of one's own drives it.

    scaler.scale(loss).backward()
    scaler.check_overflow(grad_norm)    # OverflowError: leave this update out; the scale is lower now
    scaler.update()                     # after an update that went well

>>> scaler = DynamicLossScaler(init_scale=4.0, scale_window=2)
>>> for _ in range(2):
...     scaler.check_overflow(1.0)
...     scaler.update()
>>> scaler.loss_scale
8.0
"""

import math
from typing import Any, Optional

from fairseq.errors import TrainingError
from fairseq.optim.loss_scale import LossScale


class DynamicLossScaler:
    """See `LossScale`, whose rule it follows.

    Args:
        scale_factor: what the scale is multiplied or divided by.
    """

    def __init__(
        self,
        init_scale: float = 2.0**15,
        scale_factor: float = 2.0,
        scale_window: int = 2000,
        tolerance: float = 0.0,
        threshold: Optional[float] = None,
        min_loss_scale: float = 1e-4,
    ):
        self._rule = LossScale(init_scale, scale_window, tolerance, threshold, min_loss_scale, factor=scale_factor)

    @property
    def loss_scale(self) -> float:
        return self._rule.value

    @loss_scale.setter
    def loss_scale(self, value: float) -> None:
        self._rule.value = value

    def scale(self, outputs: Any) -> Any:
        return outputs * self.loss_scale

    def update(self) -> None:
        """Count an update that was made."""
        self._rule.after(overflow=False)

    def check_overflow(self, grad_norm: Any) -> None:
        """Raise OverflowError, and lower the scale, where `grad_norm` is not finite.

        Raises:
            FloatingPointError: the scale has fallen to its minimum.
        """
        if math.isfinite(float(grad_norm)):
            return
        before = self.loss_scale
        try:
            self._rule.after(overflow=True)
        except TrainingError as error:
            self.loss_scale = before
            raise FloatingPointError(str(error)) from None
        raise OverflowError(f"setting loss scale to: {self.loss_scale}")
