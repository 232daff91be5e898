"""An optimizer around an optimizer, for training under autocast in fp16: the loss is scaled by torch's GradScaler.

optimizer = AMPOptimizer.build_optimizer(cfg, list(model.parameters()))
with torch.autocast("cuda"):
    loss = model(...)
optimizer.backward(loss)
optimizer.clip_grad_norm(1.0)       # OverflowError: leave this update out
optimizer.step()
"""

from collections.abc import Callable
from typing import Any, Optional

import torch
from torch import Tensor

from fairseq import optim
from fairseq.optim.fairseq_optimizer import FairseqOptimizer


class AMPOptimizer(FairseqOptimizer):
    """`fp32_optimizer` whose gradients are those of the scaled loss.

    Args:
        cfg: the root config.
    """

    def __init__(self, cfg: Any, params: Any, fp32_optimizer: FairseqOptimizer, **kwargs: Any):
        super().__init__(cfg.optimizer)
        self.fp32_optimizer = fp32_optimizer
        common = cfg.common
        window = common.amp_scale_window
        if window is None:
            window = int(2**14 / cfg.distributed_training.distributed_world_size / cfg.optimization.update_freq[0])
        device = next(iter(fp32_optimizer.params)).device.type
        init_scale = getattr(common, "amp_init_scale", 2**7)
        self._grad_scaler = torch.amp.GradScaler(device, init_scale=init_scale, growth_interval=max(1, window))
        self.min_loss_scale = common.min_loss_scale

    @classmethod
    def build_optimizer(cls, cfg: Any, params: Any, **kwargs: Any) -> "AMPOptimizer":
        """From the root config."""
        params = list(params)
        return cls(cfg, params, optim.build_optimizer(cfg.optimizer, params), **kwargs)

    def backward(self, loss: Tensor) -> None:
        self._grad_scaler.scale(loss).backward()

    def step(self, closure: Optional[Callable] = None, scale: float = 1.0, groups: Any = None) -> None:
        self._grad_scaler.step(self.optimizer)
        self._grad_scaler.update()

    def clip_grad_norm(self, max_norm: float, aggregate_norm_fn: Optional[Callable[[Tensor], Tensor]] = None) -> Tensor:
        """Clip the true gradients; returns their norm before.

        Raises:
            OverflowError: it is not finite; the scale is lowered by `step`, which leaves this update out.
            FloatingPointError: the scale would fall below `common.min_loss_scale`.
        """
        self._grad_scaler.unscale_(self.optimizer)
        norm = self.fp32_optimizer.clip_grad_norm(max_norm, aggregate_norm_fn)
        if not torch.isfinite(norm).all():
            if self.next_loss_scale <= self.min_loss_scale:
                raise FloatingPointError(
                    f"the loss scale would fall to {self.next_loss_scale:g} (common.min_loss_scale="
                    f"{self.min_loss_scale:g}) and gradients still overflow; lower optimization.lr"
                )
            raise OverflowError(f"setting loss scale to: {self.next_loss_scale}")
        return norm

    @property
    def scaler(self) -> Any:
        """torch's GradScaler."""
        return self._grad_scaler

    @property
    def next_loss_scale(self) -> float:
        return self._grad_scaler.get_scale() * self._grad_scaler.get_backoff_factor()

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        return self.fp32_optimizer.optimizer

    @optimizer.setter
    def optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        self.fp32_optimizer.optimizer = optimizer

    @property
    def optimizer_config(self) -> dict[str, Any]:
        return self.fp32_optimizer.optimizer_config

    @property
    def lr_scheduler(self) -> Any:
        return getattr(self.fp32_optimizer, "lr_scheduler", None)

    def get_lr(self) -> float:
        return self.fp32_optimizer.get_lr()

    def set_lr(self, lr: float) -> None:
        self.fp32_optimizer.set_lr(lr)

    def all_reduce_grads(self, module: Any) -> None:
        self.fp32_optimizer.all_reduce_grads(module)

    @property
    def supports_flat_params(self) -> bool:
        return self.fp32_optimizer.supports_flat_params
