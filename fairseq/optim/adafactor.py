"""Adafactor (`optimizer=adafactor`; Shazeer and Stern 2018, arXiv:1804.04235): the mean square of the gradients of a
matrix is kept as one number per row and one per column.

    b = 1 - t^decay_rate                       q = g^2 + eps[0]
    R = b R + (1 - b) mean_columns(q)          C = b C + (1 - b) mean_rows(q)
    V = R C / mean(R)                          (vectors keep V itself: V = b V + (1 - b) q)
    u = g / sqrt(V)                            u = u / max(1, rms(u) / clip_threshold)
    d = lr u                                   with `beta1`: d = beta1 d + (1 - beta1) lr u
    p = p - weight_decay lr p - d

With `scale_parameter` lr is multiplied by max(eps[1], rms(p)). With `relative_step` it is min(0.01, 1 / sqrt(t)), or
min(1e-6 t, 1 / sqrt(t)) with `warmup_init`, in place of the one that is set.
"""

import logging
import math
from collections.abc import Callable, Iterable
from typing import Any, Optional

import torch
from torch import Tensor

from fairseq.dataclass.optimizers import AdafactorConfig
from fairseq.errors import ConfigError
from fairseq.optim import register_optimizer
from fairseq.optim.fairseq_optimizer import LegacyFairseqOptimizer, first_lr, wide
from fairseq.optim.light_optimizer import LightOptimizer
from fairseq.optim.numbers import pair_of_numbers

logger = logging.getLogger(__name__)


@register_optimizer("adafactor", dataclass=AdafactorConfig)
class FairseqAdafactor(LegacyFairseqOptimizer):
    """Adafactor; see the head of this file."""

    def __init__(self, args: Any, params: Iterable[Any]):
        super().__init__(args)
        if args.warmup_init and not args.relative_step:
            raise ConfigError("optimizer.warmup_init=True needs optimizer.relative_step=True (--relative-step)")
        if args.relative_step:
            logger.info("Adafactor sets the learning rate itself (relative_step); optimization.lr is not used")
        self._optimizer = Adafactor(params, **self.optimizer_config)

    @property
    def optimizer_config(self) -> dict[str, Any]:
        cfg: Any = self.args
        return {
            "lr": None if cfg.relative_step else first_lr(cfg),
            "eps": pair_of_numbers(cfg.adafactor_eps, "adafactor_eps", "(1e-30, 1e-3)"),
            "clip_threshold": cfg.clip_threshold,
            "decay_rate": cfg.decay_rate,
            "beta1": cfg.beta1,
            "weight_decay": cfg.weight_decay,
            "scale_parameter": cfg.scale_parameter,
            "relative_step": cfg.relative_step,
            "warmup_init": cfg.warmup_init,
        }

    def get_lr(self) -> float:
        """That of the first group; 0 before the first update where the optimizer sets it itself."""
        return super().get_lr() or 0.0


class Adafactor(LightOptimizer):
    """The torch side of `FairseqAdafactor`. State: `step`, `RMS` (of the weights before the last update), and
    `exp_avg_sq_row`, `exp_avg_sq_col` of matrices or `exp_avg_sq` of vectors; `exp_avg` with `beta1`.
    """

    supports_memory_efficient_fp16 = True
    supports_flat_params = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: Optional[float] = None,
        eps: tuple[float, float] = (1e-30, 1e-3),
        clip_threshold: float = 1.0,
        decay_rate: float = -0.8,
        beta1: Optional[float] = None,
        weight_decay: float = 0.0,
        scale_parameter: bool = True,
        relative_step: bool = True,
        warmup_init: bool = False,
    ):
        if lr is not None and relative_step:
            raise ValueError("Cannot combine manual lr and relative_step options")
        if warmup_init and not relative_step:
            raise ValueError("warmup_init requires relative_step=True")
        defaults = {
            "lr": lr,
            "eps": eps,
            "clip_threshold": clip_threshold,
            "decay_rate": decay_rate,
            "beta1": beta1,
            "weight_decay": weight_decay,
            "scale_parameter": scale_parameter,
            "relative_step": relative_step,
            "warmup_init": warmup_init,
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
            for p in group["params"]:
                if p.grad is not None:
                    self._update(p, group)
        return loss

    def _update(self, p: Tensor, group: dict[str, Any]) -> None:
        if p.grad.is_sparse:  # type: ignore[union-attr]
            raise RuntimeError("Adafactor does not support sparse gradients.")
        weight, grad = wide(p), wide(p.grad)  # type: ignore[arg-type]
        state = self.state[p]
        if not state:
            state.update(_first_state(grad, momentum=group["beta1"] is not None))
        state["step"] += 1
        state["RMS"] = _rms(weight)
        if group["relative_step"]:
            most = 1e-6 * state["step"] if group["warmup_init"] else 1e-2
            group["lr"] = min(most, 1 / math.sqrt(state["step"]))
        lr = group["lr"]
        if group["scale_parameter"]:
            lr = lr * max(group["eps"][1], float(state["RMS"]))
        update = _scaled(grad, state, 1 - state["step"] ** group["decay_rate"], group["eps"][0])
        update.div_((_rms(update) / group["clip_threshold"]).clamp_(min=1.0)).mul_(lr)
        if group["beta1"] is not None:
            update = state["exp_avg"].mul_(group["beta1"]).add_(update, alpha=1 - group["beta1"])
        if group["weight_decay"] != 0:
            weight.add_(weight, alpha=-group["weight_decay"] * lr)
        weight.sub_(update)
        if weight is not p:
            p.copy_(weight)


def _first_state(grad: Tensor, momentum: bool) -> dict[str, Any]:
    state: dict[str, Any] = {"step": 0}
    if momentum:
        state["exp_avg"] = torch.zeros_like(grad)
    if grad.dim() >= 2:
        state["exp_avg_sq_row"] = grad.new_zeros(grad.shape[:-1])
        state["exp_avg_sq_col"] = grad.new_zeros(grad.shape[:-2] + grad.shape[-1:])
    else:
        state["exp_avg_sq"] = torch.zeros_like(grad)
    state["RMS"] = 0
    return state


def _scaled(grad: Tensor, state: dict[str, Any], decay: float, eps: float) -> Tensor:
    """The gradient over the root of its mean square, which is brought up to date."""
    square = grad.square().add_(eps)
    if grad.dim() < 2:
        return state["exp_avg_sq"].mul_(decay).add_(square, alpha=1 - decay).rsqrt().mul_(grad)
    rows = state["exp_avg_sq_row"].mul_(decay).add_(square.mean(dim=-1), alpha=1 - decay)
    columns = state["exp_avg_sq_col"].mul_(decay).add_(square.mean(dim=-2), alpha=1 - decay)
    of_row = (rows / rows.mean(dim=-1, keepdim=True)).rsqrt_().unsqueeze(-1)  # (..., M, 1)
    return (of_row * columns.unsqueeze(-2).rsqrt()).mul_(grad)


def _rms(tensor: Tensor) -> Tensor:
    return tensor.norm(2) / tensor.numel() ** 0.5
