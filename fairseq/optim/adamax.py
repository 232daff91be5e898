"""Adamax (`optimizer=adamax`): Adam with the largest recent gradient in place of the mean square, decoupled weight
decay.

m = b1 m + (1 - b1) g          u = max(b2 u, |g|)
p = p - lr * weight_decay * p
p = p - lr / (1 - b1^t) * m / (u + eps)          (no division by 1 - b1^t with `no_bias_correction`)
"""

from collections.abc import Callable, Iterable
from typing import Any, Optional

import torch

from fairseq.dataclass.optimizers import AdamaxConfig
from fairseq.optim import FairseqOptimizer, register_optimizer
from fairseq.optim.adam import parse_betas
from fairseq.optim.fairseq_optimizer import first_lr, wide
from fairseq.optim.light_optimizer import LightOptimizer


@register_optimizer("adamax", dataclass=AdamaxConfig)
class FairseqAdamax(FairseqOptimizer):
    """Adamax; see the head of this file."""

    def __init__(self, cfg: Any, params: Iterable[Any]):
        super().__init__(cfg)
        self._optimizer = Adamax(params, **self.optimizer_config)

    @property
    def optimizer_config(self) -> dict[str, Any]:
        return {
            "lr": first_lr(self.cfg),
            "betas": parse_betas(self.cfg.adamax_betas, "adamax_betas"),
            "eps": float(self.cfg.adamax_eps),
            "weight_decay": float(self.cfg.weight_decay),
            "bias_correction": not self.cfg.no_bias_correction,
        }


class Adamax(LightOptimizer):
    """The torch side of `FairseqAdamax`. State: `step` (int), `exp_avg`, `exp_inf`."""

    supports_memory_efficient_fp16 = True
    supports_flat_params = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        bias_correction: bool = True,
    ):
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "bias_correction": bias_correction,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Optional[Callable] = None) -> Any:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                weight, grad = wide(p), wide(p.grad)
                state = self.state[p]
                if not state:
                    state.update(step=0, exp_avg=torch.zeros_like(grad), exp_inf=torch.zeros_like(grad))
                state["step"] += 1
                state["exp_avg"].mul_(beta1).add_(grad, alpha=1 - beta1)
                torch.maximum(state["exp_inf"].mul_(beta2), grad.abs(), out=state["exp_inf"])
                step_size = group["lr"]
                if group["bias_correction"]:
                    step_size /= 1 - beta1 ** state["step"]
                if group["weight_decay"] != 0:
                    weight.add_(weight, alpha=-group["weight_decay"] * group["lr"])
                weight.addcdiv_(state["exp_avg"], state["exp_inf"].add(group["eps"]), value=-step_size)
                if weight is not p:
                    p.copy_(weight)
        return loss
