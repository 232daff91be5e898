"""Optimizers around an optimizer, for models in 16 bits, as loops of one's own use them.

    optimizer = FP16Optimizer.build_optimizer(cfg, list(model.half().parameters()))
    optimizer.backward(loss)
    optimizer.multiply_grads(1 / sample_size)
    optimizer.clip_grad_norm(1.0)       # OverflowError: leave this update out
    optimizer.step()
    optimizer.zero_grad()

`FP16Optimizer` keeps the weights in fp32 beside the model; `MemoryEfficientFP16Optimizer` does not, and needs an
optimizer whose statistics are in fp32. This package's own trainer uses autocast instead.
"""

from collections.abc import Callable, Sequence
from typing import Any, Optional, Union

import torch
from torch import Tensor, nn

from fairseq import optim
from fairseq.errors import ConfigError
from fairseq.optim.dynamic_loss_scaler import DynamicLossScaler
from fairseq.optim.fairseq_optimizer import FairseqOptimizer
from fairseq.utils import clip_grad_norm_


def _scaler(cfg: Any) -> Optional[DynamicLossScaler]:
    """What the root config asks for; None for bfloat16, whose gradients do not overflow."""
    common = cfg.common
    if getattr(common, "bf16", False):
        return None
    window = common.fp16_scale_window
    if window is None:
        if len(cfg.optimization.update_freq) > 1:
            raise ConfigError(
                "common.fp16_scale_window has to be given with several values of optimization.update_freq"
            )
        window = int(2**14 / cfg.distributed_training.distributed_world_size / cfg.optimization.update_freq[0])
    return DynamicLossScaler(
        init_scale=common.fp16_init_scale,
        scale_window=window,
        tolerance=common.fp16_scale_tolerance,
        threshold=common.threshold_loss_scale,
        min_loss_scale=common.min_loss_scale,
    )


class _Wrapping(FairseqOptimizer):
    """What both have in common. Gradients are true ones times the loss scale until `multiply_grads`'s factors, which
    are collected, are applied in `clip_grad_norm` or `step`.
    """

    _inner: FairseqOptimizer

    def __init__(self, cfg: Any, scaler: Optional[DynamicLossScaler]):
        super().__init__(cfg.optimizer)
        self.scaler = scaler
        self._multiply_factor: Any = 1.0 if scaler is None else 1.0 / scaler.loss_scale

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        return self._inner.optimizer

    @optimizer.setter
    def optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        self._inner.optimizer = optimizer

    @property
    def optimizer_config(self) -> dict[str, Any]:
        return self._inner.optimizer_config

    @property
    def lr_scheduler(self) -> Any:
        return getattr(self._inner, "lr_scheduler", None)

    def get_lr(self) -> float:
        return self._inner.get_lr()

    def set_lr(self, lr: float) -> None:
        self._inner.set_lr(lr)

    def state_dict(self) -> dict[str, Any]:
        state = self._inner.state_dict()
        return state if self.scaler is None else {**state, "loss_scale": self.scaler.loss_scale}

    def load_state_dict(self, state_dict: dict[str, Any], optimizer_overrides: Optional[dict[str, Any]] = None) -> None:
        if self.scaler is not None and "loss_scale" in state_dict:
            self.scaler.loss_scale = state_dict["loss_scale"]
            self._multiply_factor = 1.0 / self.scaler.loss_scale
        rest = {key: value for key, value in state_dict.items() if key != "loss_scale"}
        self._inner.load_state_dict(rest, optimizer_overrides)

    def backward(self, loss: Tensor) -> None:
        """Gradients of `loss` times the loss scale."""
        (loss if self.scaler is None else self.scaler.scale(loss)).backward()

    def multiply_grads(self, c: Union[float, Tensor]) -> None:
        self._multiply_factor = self._multiply_factor * c

    def _unscale_grads(self) -> None:
        factor = self._multiply_factor
        if torch.is_tensor(factor) or factor != 1.0:
            self._inner.multiply_grads(factor)
            self._multiply_factor = 1.0

    def clip_grad_norm(self, max_norm: float, aggregate_norm_fn: Optional[Callable[[Tensor], Tensor]] = None) -> Tensor:
        """Clip to a joint norm of `max_norm` (0: measure only); returns the true norm before.

        Raises:
            OverflowError: it is not finite; gradients are dropped and the loss scale is lower.
        """
        self._gather_grads()
        norm = self._multiply_factor * clip_grad_norm_(list(self._inner.params), 0, aggregate_norm_fn)
        if max_norm > 0.0 and norm > max_norm:
            self._multiply_factor = self._multiply_factor * max_norm / norm
        if self.scaler is not None:
            try:
                self.scaler.check_overflow(norm)
            except OverflowError:
                self.zero_grad()
                raise
        elif not torch.isfinite(norm):
            raise FloatingPointError(f"the norm of the gradients is {float(norm)}; lower optimization.lr")
        return norm  # type: ignore[no-any-return]

    def step(self, closure: Optional[Callable] = None, scale: float = 1.0, groups: Any = None) -> None:
        self._gather_grads()
        if scale != 1.0:
            self.multiply_grads(1.0 / scale)
        self._unscale_grads()
        self._inner.step(closure, groups=groups)
        if self.scaler is not None:
            self.scaler.update()
        self._scatter_weights()
        self._multiply_factor = 1.0 if self.scaler is None else 1.0 / self.scaler.loss_scale

    def zero_grad(self) -> None:
        self._inner.zero_grad()
        self._multiply_factor = 1.0 if self.scaler is None else 1.0 / self.scaler.loss_scale

    def _gather_grads(self) -> None:
        """Bring the model's gradients to where the inner optimizer looks for them."""

    def _scatter_weights(self) -> None:
        """Bring the updated weights back into the model."""


class FP16Optimizer(_Wrapping):
    """An fp32 copy of the weights is trained; the model gets it after each step.

    Args:
        cfg: the root config.
        params: the model's.
        fp32_optimizer: over `fp32_params`.
        fp32_params: one flat parameter, or as many as the model has.
    """

    def __init__(self, cfg: Any, params: Sequence[nn.Parameter], fp32_optimizer: Any, fp32_params: Any, **kwargs: Any):
        super().__init__(cfg, _scaler(cfg))
        self.fp16_params, self.fp32_params = list(params), fp32_params
        self.fp32_optimizer = self._inner = fp32_optimizer
        self._grads_are_here = False

    @classmethod
    def build_optimizer(cls, cfg: Any, params: Any, **kwargs: Any) -> "FP16Optimizer":
        """From the root config; `common.fp16_no_flatten_grads` keeps one copy for each parameter."""
        params = list(params)
        flatten = not getattr(cfg.common, "fp16_no_flatten_grads", False) and not getattr(cfg.common, "bf16", False)
        fp32_params = cls.build_fp32_params(cfg.optimizer, params, flatten=flatten)
        inner = optim.build_optimizer(cfg.optimizer, [fp32_params] if flatten else fp32_params)
        if flatten and not inner.supports_flat_params:
            raise ConfigError(
                f"{type(inner).__name__} cannot train one flat tensor; set common.fp16_no_flatten_grads=true"
            )
        return cls(cfg, params, inner, fp32_params, **kwargs)

    @classmethod
    def build_fp32_params(cls, args: Any, params: Sequence[nn.Parameter], flatten: bool = True) -> Any:
        """Copies in fp32: one flat parameter, or a list."""
        if flatten:
            return nn.Parameter(torch.cat([p.detach().float().flatten() for p in params]))
        copies = []
        for p in params:
            copy = nn.Parameter(p.detach().float().clone(), requires_grad=p.requires_grad)
            for mark in ("expert", "base_expert", "param_group"):
                if hasattr(p, mark):
                    setattr(copy, mark, getattr(p, mark))
            copies.append(copy)
        return copies

    @property
    def has_flat_params(self) -> bool:
        return torch.is_tensor(self.fp32_params)

    @property
    def supports_flat_params(self) -> bool:
        return self.fp32_optimizer.supports_flat_params

    def backward(self, loss: Tensor) -> None:
        super().backward(loss)
        self._grads_are_here = False

    def all_reduce_grads(self, module: Any) -> None:
        self.fp32_optimizer.all_reduce_grads(module)

    @torch.no_grad()
    def _gather_grads(self) -> None:
        if self._grads_are_here:
            return
        if self.has_flat_params:
            grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.fp16_params]
            self.fp32_params.grad = torch.cat([grad.float().flatten() for grad in grads])
        else:
            for p, copy in zip(self.fp16_params, self.fp32_params, strict=True):
                copy.grad = None if p.grad is None else p.grad.float()
        self._grads_are_here = True

    @torch.no_grad()
    def _scatter_weights(self) -> None:
        sizes = [p.numel() for p in self.fp16_params]
        copies = self.fp32_params.split(sizes) if self.has_flat_params else self.fp32_params
        for p, copy in zip(self.fp16_params, copies, strict=True):
            p.copy_(copy.view_as(p))

    def zero_grad(self) -> None:
        for p in self.fp16_params:
            p.grad = None
        self._grads_are_here = False
        super().zero_grad()


class MemoryEfficientFP16Optimizer(_Wrapping):
    """The model's own weights are trained, in 16 bits.

    Args:
        cfg: the root config.
        params: the model's.
        optimizer: over them.
        allow_unsupported: take an optimizer whose statistics are in 16 bits, too.
    """

    def __init__(self, cfg: Any, params: Any, optimizer: Any, allow_unsupported: bool = False, **kwargs: Any):
        if not allow_unsupported and not optimizer.supports_memory_efficient_fp16:
            raise ValueError(f"{type(optimizer).__name__} keeps its statistics in 16 bits; use FP16Optimizer")
        super().__init__(cfg, _scaler(cfg))
        self.wrapped_optimizer = self._inner = optimizer

    @classmethod
    def build_optimizer(cls, cfg: Any, params: Any, **kwargs: Any) -> "MemoryEfficientFP16Optimizer":
        """From the root config."""
        params = list(params)
        return cls(cfg, params, optim.build_optimizer(cfg.optimizer, params), **kwargs)

    @property
    def has_flat_params(self) -> bool:
        return False

    @property
    def supports_flat_params(self) -> bool:
        return self.wrapped_optimizer.supports_flat_params

    def all_reduce_grads(self, module: Any) -> None:
        self.wrapped_optimizer.all_reduce_grads(module)
