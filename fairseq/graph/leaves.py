"""Which modules become one node of a graph: layers, not blocks of layers.

A leaf is a module that a rule of quantization knows (`fairseq.quantization.plan.targets`), a layer of torch (by its
base classes, so subclasses count), a module without parts and without parameters, and what the caller names.

>>> leaves = Leaves(["encoder.pooler"])
>>> leaves.has("fc", nn.Linear(2, 2)), leaves.has("block", nn.Sequential(nn.ReLU()))
(True, False)
>>> leaves.has("encoder.pooler", nn.Sequential(nn.ReLU()))
True
"""

from collections.abc import Iterable
from typing import Any

from torch import nn

from fairseq.quantization.plan.targets import target_of

WHOLE = (nn.MultiheadAttention, nn.RNNBase, nn.RNNCellBase)  # layers of torch that have parts
CONTAINERS = (nn.Module, nn.Sequential, nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)


class Removed(nn.Module):
    """Stands where a module was that a pass has removed: gives its first argument, and is no node."""

    def forward(self, input: Any, *ignored: Any, **also_ignored: Any) -> Any:
        return input


class Leaves:
    """A predicate on modules.

    Args:
        named: paths of modules that are leaves whatever they are.
    """

    def __init__(self, named: Iterable[str] = ()):
        self.named = frozenset(named)

    def has(self, path: str, module: nn.Module) -> bool:
        """Whether `module` at `path` is a leaf."""
        if path in self.named or isinstance(module, WHOLE):
            return True
        if isinstance(module, Removed):
            return False
        if target_of(path, module) is not None:
            return True
        if any(name != "quantizers" for name in module._modules):
            return False
        layer = any(base.__module__.startswith("torch.nn.") for base in type(module).__mro__ if base not in CONTAINERS)
        return layer or not module._parameters
