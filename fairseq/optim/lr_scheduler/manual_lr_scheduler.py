"""`lr_scheduler=manual`: rates written out by hand, for epochs or for updates.

    --epoch2lr "{'1-3': 0.1, '4': 0.05}"        --update2lr "{'1-1000': 0.1, '1001,2000': 0.05}"

A key is a number, a range `a-b` (both ends count) or several numbers with commas. Where nothing is written, the rate
stays.
"""

import ast
import logging
from typing import Any

from fairseq.dataclass.lr_schedulers import ManualConfig
from fairseq.errors import ConfigError
from fairseq.optim.lr_scheduler import FairseqLRScheduler, register_lr_scheduler

logger = logging.getLogger(__name__)


@register_lr_scheduler("manual", dataclass=ManualConfig)
class ManualSchedule(FairseqLRScheduler):
    """Rates by hand; see the head of this file."""

    def __init__(self, cfg: Any, optimizer: Any):
        super().__init__(cfg, optimizer)
        self.epoch2lr = self.parse_manuallr_args(cfg.epoch2lr, "--epoch2lr")
        self.update2lr = self.parse_manuallr_args(cfg.update2lr, "--update2lr")
        if 1 in self.epoch2lr:
            self.lr = self.epoch2lr[1]
        elif 1 in self.update2lr:
            self.lr = self.update2lr[1]
        else:
            raise ConfigError("lr_scheduler=manual: neither --epoch2lr nor --update2lr has a rate for 1")
        self.optimizer.set_lr(self.lr)

    @staticmethod
    def parse_manuallr_args(text: str, flag: str = "--epoch2lr") -> dict[int, float]:
        """Number -> rate.

        >>> ManualSchedule.parse_manuallr_args("{'1-2': 0.5, '7': 0.1}")
        {1: 0.5, 2: 0.5, 7: 0.1}
        """
        rates: dict[int, float] = {}
        try:
            for key, lr in ast.literal_eval(text).items():
                for part in str(key).split(","):
                    first, _, last = part.partition("-")
                    for number in range(int(first), int(last or first) + 1):
                        rates[number] = float(lr)
        except (ValueError, SyntaxError, AttributeError, TypeError):
            raise ConfigError(f"{flag}: expected a dict like {{'1-3': 0.1, '4': 0.05}}, got {text!r}") from None
        return rates

    def state_dict(self) -> dict[str, Any]:
        return {"lr": self.lr}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.lr = state_dict.get("lr", self.lr)

    def get_next_lr(self, epoch: int) -> float:
        """The rate of `epoch`: that written, else the present one."""
        return self.epoch2lr.get(epoch, self.optimizer.get_lr())

    def step_begin_epoch(self, epoch: int) -> float:  # type: ignore[override]
        self.lr = self.get_next_lr(epoch)
        self.optimizer.set_lr(self.lr)
        return self.optimizer.get_lr()

    def step_update(self, num_updates: int) -> float:
        if num_updates in self.update2lr:
            self.optimizer.set_lr(self.update2lr[num_updates])
        return self.optimizer.get_lr()
