"""Adam with decoupled weight decay, in fairseq's arithmetic.

With gradient g, step count t, `betas = (b1, b2)`:

    m = b1 m + (1 - b1) g                     v = b2 v + (1 - b2) g^2
    p = p - lr * weight_decay * p             a = lr * sqrt(1 - b2^t) / (1 - b1^t)
    p = p - a * m / (sqrt(v) + eps)

`eps` meets sqrt(v) *before* the bias correction. torch's AdamW adds it after, to sqrt(v / (1 - b2^t)), so its kernels
compute the same update when they are given `eps / sqrt(1 - b2^t)`. That is how the default path uses torch's fused
kernel, which is an order of magnitude faster than the formula in separate operations; `use_old_adam` takes those, in
fairseq's order and to fairseq's last bit.

>>> weight = torch.nn.Parameter(torch.ones(2))
>>> weight.grad = torch.tensor([1.0, -2.0])
>>> Adam([weight], lr=0.1).step()
>>> weight.data
tensor([0.9000, 1.1000])
"""

import logging
import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Optional

import torch
from torch import Tensor

from fairseq.allocator import persistent_allocations
from fairseq.dataclass.optimizers import AdamConfig
from fairseq.errors import ConfigError
from fairseq.optim import FairseqOptimizer, register_optimizer
from fairseq.optim.fairseq_optimizer import first_lr
from fairseq.optim.light_optimizer import LightOptimizer
from fairseq.optim.numbers import pair_of_numbers
from fairseq.optim.rows import RowUpdate

logger = logging.getLogger(__name__)

FUSED_DEVICES = ("cpu", "cuda")

FairseqAdamConfig = AdamConfig  # fairseq's name


@register_optimizer("adam", dataclass=AdamConfig)
class FairseqAdam(FairseqOptimizer):
    """Adam for `optimizer=adam`; see the head of this file."""

    def __init__(self, cfg: Any, params: Iterable[Any]):
        super().__init__(cfg)
        self._defaults: dict[str, Any] = {
            "betas": parse_betas(cfg.adam_betas, "adam_betas"),
            "eps": float(cfg.adam_eps),
            "weight_decay": float(cfg.weight_decay),
        }
        if getattr(cfg, "fp16_adam_stats", False):
            logger.warning("optimizer.fp16_adam_stats is not supported: Adam's statistics are kept in fp32")
        fused = not getattr(cfg, "use_old_adam", False)
        self._optimizer = Adam(params, lr=first_lr(cfg), fused=fused, **self._defaults)

    @property
    def optimizer_config(self) -> dict[str, Any]:
        return {"lr": first_lr(self.cfg), **self._defaults}


class Adam(LightOptimizer):
    """The torch side of `FairseqAdam`.

    Per-parameter state, as fairseq saves it: `step` (int), `exp_avg` and `exp_avg_sq` (fp32 for half-precision
    parameters).

    Args:
        params: parameters or parameter groups.
        lr, betas, eps, weight_decay: as in the formula.
        fused: use torch's fused kernel on devices that have it.
    """

    supports_memory_efficient_fp16 = True
    supports_flat_params = True
    supports_row_gradients = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        fused: bool = True,
    ):
        # `amsgrad` is never on; fairseq's optimizer states carry the key
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": False}
        super().__init__(params, defaults)
        self._fused = fused
        self._rows: dict[Tensor, RowUpdate] = defaultdict(RowUpdate)

    @torch.no_grad()
    def step(self, closure: Optional[Callable] = None) -> Any:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for (device, _, step), batch in self._batches(group).items():
                fused = self._fused and device.type in FUSED_DEVICES
                _update([item for item in batch if not item[1].is_sparse], step, group, fused)
                for p, grad, exp_avg, exp_avg_sq in batch:
                    if grad.is_sparse:
                        update = partial(_update_columns, step=step, group=group, fused=fused)
                        self._rows[p](p, grad, exp_avg, exp_avg_sq, group, update)
                    else:
                        self._rows.pop(p, None)  # a dense gradient may change any row
        return loss

    def _batches(self, group: dict[str, Any]) -> dict[Any, list[tuple[Tensor, Tensor, Tensor, Tensor]]]:
        """Advance the step counts; (param, grad, exp_avg, exp_avg_sq) by what one kernel call shares."""
        batches = defaultdict(list)
        for p in group["params"]:
            grad = p.grad
            if grad is None:
                continue
            state = self.state[p]
            if not state:
                statistics = torch.promote_types(p.dtype, torch.float32)
                state["step"] = 0
                with persistent_allocations():
                    state["exp_avg"] = torch.zeros_like(p, dtype=statistics)
                    state["exp_avg_sq"] = torch.zeros_like(p, dtype=statistics)
            state["step"] += 1
            batches[p.device, p.dtype, state["step"]].append((p, grad, state["exp_avg"], state["exp_avg_sq"]))
        return batches

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore a state of this class, of fairseq's Adam or of torch's; statistics keep at least fp32."""
        super().load_state_dict(state_dict)
        self._rows.clear()
        saved_ids = [index for group in state_dict["param_groups"] for index in group["params"]]
        params = [p for group in self.param_groups for p in group["params"]]
        for index, p in zip(saved_ids, params, strict=True):
            saved, state = state_dict["state"].get(index), self.state.get(p)
            if not saved or not state:
                continue
            state["step"] = int(saved["step"])  # torch's optimizers keep a tensor
            for name in ("exp_avg", "exp_avg_sq"):
                # torch casts statistics to the parameter's type, which would round those of half-precision parameters
                statistics = torch.promote_types(p.dtype, torch.float32)
                state[name] = saved[name].to(device=p.device, dtype=statistics, copy=True)


def _update(batch: list[tuple[Tensor, Tensor, Tensor, Tensor]], step: int, group: dict[str, Any], fused: bool) -> None:
    """Apply the formula to parameters of one device, type and step count."""
    if batch:
        params, grads, exp_avgs, exp_avg_sqs = (list(column) for column in zip(*batch, strict=True))
        _update_columns(params, grads, exp_avgs, exp_avg_sqs, step, group, fused)


def _update_columns(
    params: list[Tensor],
    grads: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    step: int,
    group: dict[str, Any],
    fused: bool,
) -> None:
    narrow = None
    if params[0].dtype != exp_avgs[0].dtype:  # half-precision parameters: compute in fp32, then round once
        narrow, params, grads = params, [p.float() for p in params], [g.float() for g in grads]
    (_fused_update if fused else _plain_update)(params, grads, exp_avgs, exp_avg_sqs, step, group)
    if narrow is not None:
        torch._foreach_copy_(narrow, params)


def _fused_update(
    params: list[Tensor],
    grads: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    step: int,
    group: dict[str, Any],
) -> None:
    beta1, beta2 = group["betas"]
    steps = [torch.tensor(float(step), device=params[0].device)] * len(params)
    torch._fused_adamw_(
        params,
        [_same_layout(grad, p) for grad, p in zip(grads, params, strict=True)],
        exp_avgs,
        exp_avg_sqs,
        [],
        steps,
        lr=group["lr"],
        beta1=beta1,
        beta2=beta2,
        weight_decay=group["weight_decay"],
        eps=group["eps"] / math.sqrt(1 - beta2**step),
        amsgrad=False,
        maximize=False,
    )


def _same_layout(grad: Tensor, p: Tensor) -> Tensor:
    """`grad` with the strides of `p`: the fused kernel walks raw memory and would read past an expanded gradient."""
    return grad if grad.stride() == p.stride() else torch.empty_like(p).copy_(grad)


def _plain_update(
    params: list[Tensor],
    grads: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    step: int,
    group: dict[str, Any],
) -> None:
    beta1, beta2 = group["betas"]
    torch._foreach_mul_(exp_avgs, beta1)
    torch._foreach_add_(exp_avgs, grads, alpha=1 - beta1)
    torch._foreach_mul_(exp_avg_sqs, beta2)
    torch._foreach_addcmul_(exp_avg_sqs, grads, grads, value=1 - beta2)
    denominators = torch._foreach_sqrt(exp_avg_sqs)
    torch._foreach_add_(denominators, group["eps"])
    step_size = group["lr"] * math.sqrt(1 - beta2**step) / (1 - beta1**step)
    if group["weight_decay"] != 0:
        torch._foreach_add_(params, params, alpha=-group["weight_decay"] * group["lr"])
    torch._foreach_addcdiv_(params, exp_avgs, denominators, value=-step_size)


def parse_betas(value: Any, name: str) -> tuple[float, float]:
    """Two decay rates from `"(0.9, 0.98)"`, `"0.9, 0.98"` or a sequence.

    >>> parse_betas("(0.9, 0.98)", "adam_betas")
    (0.9, 0.98)
    """
    beta1, beta2 = pair_of_numbers(value, name, "(0.9, 0.98)")
    if not (0 <= beta1 < 1 and 0 <= beta2 < 1):
        raise ConfigError(f"optimizer.{name}: both must lie in [0, 1), got {value!r}")
    return beta1, beta2
