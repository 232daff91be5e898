"""`FairseqOptimizer`: a torch optimizer behind the calls that the trainer makes.

A subclass sets `self._optimizer` in its constructor and says in `optimizer_config` which group values come from the
command line; those win over the values in a checkpoint.

    optimizer = build_optimizer(cfg.optimizer, model.parameters())
    optimizer.backward(loss)
    optimizer.multiply_grads(1 / sample_size)
    grad_norm = optimizer.clip_grad_norm(1.0)
    optimizer.step()
    optimizer.zero_grad()
"""

from argparse import Namespace
from collections.abc import Callable, Iterator
from typing import Any, Optional, Union

import torch
from torch import Tensor

from fairseq import utils
from fairseq.dataclass.base import FairseqDataclass
from fairseq.dataclass.flags import add_flags_of
from fairseq.errors import CheckpointError

# State tensors with one element for each element of their parameter.
ELEMENTWISE_STATE = ("exp_avg", "exp_avg_sq", "exp_inf", "momentum_buffer")


class FairseqOptimizer:
    """Base of all optimizers.

    Args:
        cfg: the optimizer's config node, dataclass or namespace.
    """

    def __init__(self, cfg: Any):
        super().__init__()
        self.cfg = cfg
        self.loss_scale: Any = None  # set by a trainer that scales the loss (fairseq.optim.loss_scale)

    @classmethod
    def add_args(cls, parser: Any) -> None:
        """Add an optimizer's flags to `parser`: those of its config dataclass, unless a class overrides this."""
        add_flags_of(cls, parser)

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The torch optimizer."""
        if not isinstance(getattr(self, "_optimizer", None), torch.optim.Optimizer):
            raise ValueError(f"{type(self).__name__} must set _optimizer to a torch.optim.Optimizer")
        return self._optimizer

    @optimizer.setter
    def optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer

    @property
    def optimizer_config(self) -> dict[str, Any]:
        """Group values from the user's config, put in place of those of a checkpoint: `{"lr": 1e-3, ...}`."""
        raise NotImplementedError

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return self.optimizer.param_groups

    @property
    def params(self) -> Iterator[torch.nn.Parameter]:
        """Every parameter that this optimizer updates, in group order."""
        for group in self.param_groups:
            yield from group["params"]

    def get_lr(self) -> float:
        """Learning rate of the first group."""
        return self.param_groups[0]["lr"]

    def set_lr(self, lr: float) -> None:
        """One learning rate for all groups."""
        for group in self.param_groups:
            group["lr"] = lr

    def state_dict(self) -> dict[str, Any]:
        return self.optimizer.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any], optimizer_overrides: Optional[dict[str, Any]] = None) -> None:
        """Restore a state; `optimizer_overrides` (`{"lr": 0.1}`) then win over the saved group values.

        Raises:
            CheckpointError: the state belongs to another number of parameters, or to parameters of other shapes.
        """
        self._check_fits(state_dict)
        self.optimizer.load_state_dict(state_dict)
        for group in self.param_groups:
            group.update(optimizer_overrides or {})

    def _check_fits(self, state_dict: dict[str, Any]) -> None:
        saved_ids = [index for group in state_dict["param_groups"] for index in group["params"]]
        params = list(self.params)
        advice = "set checkpoint.reset_optimizer=true to start it from scratch"
        if len(saved_ids) != len(params):
            raise CheckpointError(
                f"optimizer state is for {len(saved_ids)} parameters, but {len(params)} are trained here; {advice}"
            )
        for index, p in zip(saved_ids, params, strict=True):
            for name, value in state_dict["state"].get(index, {}).items():
                if name in ELEMENTWISE_STATE and torch.is_tensor(value) and value.shape != p.shape:
                    shapes = f"{tuple(value.shape)}, the parameter {tuple(p.shape)}"
                    raise CheckpointError(f"optimizer state {name!r} of parameter {index} has shape {shapes}; {advice}")

    def backward(self, loss: Tensor) -> None:
        """Accumulate the gradient of `loss`, times the loss scale if there is one."""
        (loss if self.loss_scale is None else loss * self.loss_scale.value).backward()

    def all_reduce_grads(self, module: Any) -> None:
        """Sum gradients over processes, for data-parallel wrappers that leave this to the trainer."""
        if hasattr(module, "all_reduce_grads"):
            module.all_reduce_grads()

    def multiply_grads(self, c: Union[float, Tensor]) -> None:
        """Multiply all gradients by the constant `c` (a number or a one-element tensor)."""
        grads = utils.gradient_values(self.params)
        if torch.is_tensor(c):
            for grad in grads:
                grad.mul_(c.to(grad.device))
        elif grads:
            torch._foreach_mul_(grads, float(c))

    def clip_grad_norm(self, max_norm: float, aggregate_norm_fn: Optional[Callable[[Tensor], Tensor]] = None) -> Tensor:
        """Clip gradients to a joint L2 norm of `max_norm` (0: measure only); returns the norm before, as a tensor."""
        return utils.clip_grad_norm_(self.params, max_norm, aggregate_norm_fn)

    def multiply_and_clip_grads(self, c: float, max_norm: float) -> Tensor:
        """`multiply_grads(c)`, then `clip_grad_norm(max_norm)`; in fewer passes where a subclass changes neither."""
        own, base = type(self), FairseqOptimizer
        if own.multiply_grads is base.multiply_grads and own.clip_grad_norm is base.clip_grad_norm:
            return utils.multiply_and_clip_grads_(self.params, c, max_norm)
        self.multiply_grads(c)
        return self.clip_grad_norm(max_norm)

    def step(self, closure: Optional[Callable] = None, scale: float = 1.0, groups: Any = None) -> None:
        """One update. Gradients are divided by `scale` first, inside the optimizer where it can, else here."""
        optimizer: Any = self.optimizer  # those that say so take more than torch's
        extra = {"groups": groups} if self.supports_groups else {}
        if self.supports_step_with_scale:
            optimizer.step(closure, scale=scale, **extra)
            return
        if scale != 1.0:
            self.multiply_grads(1.0 / scale)
        optimizer.step(closure, **extra)

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for p in self.params:
            p.grad = None

    @property
    def supports_memory_efficient_fp16(self) -> bool:
        """Can update half-precision parameters directly (its statistics stay in fp32)."""
        return bool(getattr(self.optimizer, "supports_memory_efficient_fp16", False))

    @property
    def supports_step_with_scale(self) -> bool:
        """`step` takes `scale`."""
        return bool(getattr(self.optimizer, "supports_step_with_scale", False))

    @property
    def supports_groups(self) -> bool:
        """`step` takes `groups`."""
        return bool(getattr(self.optimizer, "supports_groups", False))

    @property
    def supports_flat_params(self) -> bool:
        """Elementwise: gives the same result when all parameters are joined into one flat tensor."""
        return bool(getattr(self.optimizer, "supports_flat_params", False))

    @property
    def supports_row_gradients(self) -> bool:
        """Takes embedding gradients that hold only the rows of the batch (`fairseq.optim.rows`)."""
        return bool(getattr(self.optimizer, "supports_row_gradients", False))

    def average_params(self) -> None:
        """Hook for optimizers that keep a running average of the parameters."""

    def broadcast_global_state_dict(self, state_dict: dict[str, Any]) -> dict[str, Any]:
        """The state of all ranks from that of rank 0, for sharded optimizers; others share it as it is."""
        if hasattr(self.optimizer, "broadcast_global_state_dict"):
            return self.optimizer.broadcast_global_state_dict(state_dict)
        return state_dict


class LegacyFairseqOptimizer(FairseqOptimizer):
    """Base for optimizers in the argparse style (`add_args`, options read from `self.args`)."""

    def __init__(self, args: Union[Namespace, FairseqDataclass]):
        super().__init__(args)
        self.args = args


def first_lr(cfg: Any) -> float:
    """The learning rate to start with: `cfg.lr` is a list with one value an epoch, or a number."""
    lr = cfg.lr
    return float(lr) if isinstance(lr, (int, float)) else float(lr[0])


def wide(tensor: Tensor) -> Tensor:
    """The tensor in fp32 or wider: itself where it is, else an fp32 copy."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
