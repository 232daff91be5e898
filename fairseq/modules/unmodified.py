"""Whether calling a module only runs its class's forward (no hooks, no subclass), so that one kernel may replace it.

>>> is_unmodified(nn.Linear(2, 2), nn.Linear), is_unmodified(nn.Linear(2, 2), nn.Module)
(True, False)
"""

from typing import TypeGuard, TypeVar

from torch import nn
from torch.nn.modules import module as torch_module

Kind = TypeVar("Kind", bound=nn.Module)


def is_unmodified(module: nn.Module, kind: type[Kind]) -> TypeGuard[Kind]:
    """No subclass of `kind`, no hook on it or on all modules, no replaced forward."""
    changed = type(module) is not kind or "forward" in vars(module)
    return not (changed or has_hooks(module) or torch_module._has_any_global_hook())


def has_hooks(module: nn.Module) -> bool:
    """Whether any hook runs when `module` is called."""
    return bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )
