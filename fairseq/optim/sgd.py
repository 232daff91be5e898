"""Stochastic gradient descent with momentum (`optimizer=sgd`): torch's.

v = momentum * v + (g + weight_decay * p)          p = p - lr * v
"""

from collections.abc import Iterable
from typing import Any

import torch

from fairseq.dataclass.optimizers import SGDConfig
from fairseq.optim import FairseqOptimizer, register_optimizer
from fairseq.optim.fairseq_optimizer import first_lr


@register_optimizer("sgd", dataclass=SGDConfig)
class SGD(FairseqOptimizer):
    """torch.optim.SGD."""

    def __init__(self, cfg: Any, params: Iterable[Any]):
        super().__init__(cfg)
        self._optimizer = torch.optim.SGD(params, **self.optimizer_config)

    @property
    def optimizer_config(self) -> dict[str, Any]:
        return {
            "lr": first_lr(self.cfg),
            "momentum": float(self.cfg.momentum),
            "weight_decay": float(self.cfg.weight_decay),
        }

    @property
    def supports_flat_params(self) -> bool:
        return True
