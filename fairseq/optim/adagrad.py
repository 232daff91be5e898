"""Adagrad (`optimizer=adagrad`): torch's, rates shrink with the summed squares of the gradients.

s = s + g^2          p = p - lr * g / (sqrt(s) + 1e-10)
"""

from collections.abc import Iterable
from typing import Any

import torch

from fairseq.dataclass.optimizers import AdagradConfig
from fairseq.optim import FairseqOptimizer, register_optimizer
from fairseq.optim.fairseq_optimizer import first_lr


@register_optimizer("adagrad", dataclass=AdagradConfig)
class Adagrad(FairseqOptimizer):
    """torch.optim.Adagrad."""

    def __init__(self, cfg: Any, params: Iterable[Any]):
        super().__init__(cfg)
        self._optimizer = torch.optim.Adagrad(params, **self.optimizer_config)

    @property
    def optimizer_config(self) -> dict[str, Any]:
        return {"lr": first_lr(self.cfg), "weight_decay": float(self.cfg.weight_decay)}
