"""Nesterov's accelerated gradient as fairseq writes it (`optimizer=nag`), weight decay decoupled from the gradient.

The velocity v is kept in units of parameters, so it is rescaled by c = lr / (lr of the last step) when the rate
changes:

    p = p * (1 - lr * weight_decay)
    p = p + momentum^2 * c * v - (1 + momentum) * lr * g
    v = momentum * c * v - lr * g
"""

from collections.abc import Callable, Iterable
from typing import Any, Optional

import torch

from fairseq.dataclass.optimizers import NAGConfig
from fairseq.optim import FairseqOptimizer, register_optimizer
from fairseq.optim.fairseq_optimizer import first_lr, wide
from fairseq.optim.light_optimizer import LightOptimizer

FairseqNAGConfig = NAGConfig  # fairseq's name


@register_optimizer("nag", dataclass=NAGConfig)
class FairseqNAG(FairseqOptimizer):
    """Nesterov's accelerated gradient; see the head of this file."""

    def __init__(self, cfg: Any, params: Iterable[Any]):
        super().__init__(cfg)
        self._optimizer = NAG(params, **self.optimizer_config)

    @property
    def optimizer_config(self) -> dict[str, Any]:
        return {
            "lr": first_lr(self.cfg),
            "momentum": float(self.cfg.momentum),
            "weight_decay": float(self.cfg.weight_decay),
        }


class NAG(LightOptimizer):
    """The torch side of `FairseqNAG`. State: `momentum_buffer`; group value `lr_old`: the rate of the last step."""

    supports_memory_efficient_fp16 = True
    supports_flat_params = True

    def __init__(self, params: Iterable[Any], lr: float, momentum: float = 0.0, weight_decay: float = 0.0):
        super().__init__(params, {"lr": lr, "lr_old": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Optional[Callable] = None) -> Any:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            lr, momentum = group["lr"], group["momentum"]
            rescale = lr / group.get("lr_old", lr) if group.get("lr_old", lr) > 0 else lr
            group["lr_old"] = lr
            for p in group["params"]:
                if p.grad is None:
                    continue
                weight, grad = wide(p), wide(p.grad)
                state = self.state[p]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(grad)
                velocity = state["momentum_buffer"]
                if group["weight_decay"] != 0:
                    weight.mul_(1 - lr * group["weight_decay"])
                weight.add_(velocity, alpha=momentum * momentum * rescale)
                weight.add_(grad, alpha=-(1 + momentum) * lr)
                velocity.mul_(momentum * rescale).add_(grad, alpha=-lr)
                if weight is not p:
                    p.copy_(weight)
        return loss
