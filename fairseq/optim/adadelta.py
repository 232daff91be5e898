"""Adadelta (`optimizer=adadelta`): torch's, steps in units of the parameters.

s = rho s + (1 - rho) g^2          d = g * sqrt(u + eps) / sqrt(s + eps)
u = rho u + (1 - rho) d^2          p = p - lr * d
"""

from collections.abc import Iterable
from typing import Any

import torch

from fairseq.dataclass.optimizers import AdadeltaConfig
from fairseq.optim import FairseqOptimizer, register_optimizer
from fairseq.optim.fairseq_optimizer import first_lr


@register_optimizer("adadelta", dataclass=AdadeltaConfig)
class Adadelta(FairseqOptimizer):
    """torch.optim.Adadelta."""

    def __init__(self, cfg: Any, params: Iterable[Any]):
        super().__init__(cfg)
        self._optimizer = torch.optim.Adadelta(params, **self.optimizer_config)

    @property
    def optimizer_config(self) -> dict[str, Any]:
        return {
            "lr": first_lr(self.cfg),
            "rho": float(self.cfg.adadelta_rho),
            "eps": float(self.cfg.adadelta_eps),
            "weight_decay": float(self.cfg.weight_decay),
        }

    @property
    def supports_flat_params(self) -> bool:
        return True
