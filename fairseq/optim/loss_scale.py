"""Dynamic loss scaling for fp16 (Micikevicius et al., arXiv:1710.03740, section 3.2), with fairseq's settings.

Gradients below 6e-8 vanish in fp16, so the loss is multiplied by S before backward and gradients are divided by S after
it. S halves when a gradient overflows, and that update is skipped; it doubles after `window` updates without overflow.

>>> scale = LossScale(initial=4.0, window=2, minimum=0.5)
>>> [scale.after(overflow) or scale.value for overflow in (False, False, True, False)]
[4.0, 8.0, 4.0, 4.0]
"""

from collections.abc import Mapping
from typing import Any, Optional

from fairseq.errors import TrainingError


class LossScale:
    """The factor S and when it changes.

    Args:
        initial: first value of S.
        window: updates without overflow before S doubles.
        tolerance: S is halved only if more than this share of the updates since its last change overflowed.
        threshold: S never falls below it, None: no such floor.
        minimum: reaching it ends training.
        factor: what S is multiplied or divided by.
    """

    def __init__(
        self,
        initial: float = 2.0**7,
        window: int = 2**14,
        tolerance: float = 0.0,
        threshold: Optional[float] = None,
        minimum: float = 1e-4,
        factor: float = 2.0,
    ):
        self.value = float(initial)
        self._window, self._tolerance, self._threshold, self._minimum = window, tolerance, threshold, minimum
        self._factor = factor
        self._update = 0
        self._last_change = self._last_overflow = -1
        self._overflows = 0

    @classmethod
    def from_config(cls, common: Any, world_size: int, update_freq: int) -> "LossScale":
        """Read `common.fp16_*` or, with `common.amp`, `common.amp_*`."""
        initial = common.amp_init_scale if common.amp else common.fp16_init_scale
        window = common.amp_scale_window if common.amp else common.fp16_scale_window
        return cls(
            initial=initial,
            window=window or max(1, 2**14 // max(world_size, 1) // max(update_freq, 1)),
            tolerance=common.fp16_scale_tolerance,
            threshold=common.threshold_loss_scale,
            minimum=common.min_loss_scale,
        )

    def after(self, overflow: bool) -> None:
        """Adapt the scale after an update.

        Raises:
            TrainingError: S has fallen to `minimum`.
        """
        if overflow:
            self._overflows += 1
            self._last_overflow = self._update
            if self._overflows / (self._update - self._last_change) >= self._tolerance:
                self._halve()
        elif (self._update - self._last_overflow) % self._window == 0:
            self.value *= self._factor
            self._last_change = self._update  # fairseq keeps the count of overflows here
        self._update += 1

    def _halve(self) -> None:
        lower = self.value / self._factor
        self.value = lower if self._threshold is None else max(lower, self._threshold)
        self._last_change, self._overflows = self._update, 0
        if self.value <= self._minimum:
            raise TrainingError(
                f"the fp16 loss scale has fallen to {self.value:g} (common.min_loss_scale={self._minimum:g}) and "
                "gradients still overflow; lower optimization.lr, set optimization.clip_norm or use common.bf16"
            )

    def state_dict(self) -> dict[str, Any]:
        """For checkpoints."""
        counters = (self._update, self._last_change, self._last_overflow, self._overflows)
        return {"loss_scale": self.value, "counters": list(counters)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`."""
        self.value = float(state["loss_scale"])
        self._update, self._last_change, self._last_overflow, self._overflows = state["counters"]
