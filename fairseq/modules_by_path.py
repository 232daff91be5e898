"""Parts of a model by dotted path, and those that have several.

>>> layer = nn.Linear(2, 2)
>>> model = nn.ModuleDict({"a": layer, "b": layer})
>>> shared_paths(model)
[['a.weight', 'b.weight'], ['a.bias', 'b.bias']]
"""

from typing import Any

from torch import Tensor, nn


def shared_paths(module: nn.Module) -> list[list[str]]:
    """The paths of each parameter that has more than one."""
    paths: dict[Tensor, list[str]] = {}
    for name, weight in module.named_parameters(remove_duplicate=False):
        paths.setdefault(weight, []).append(name)
    return [names for names in paths.values() if len(names) > 1]


def get_by_path(module: nn.Module, path: str) -> Any:
    """`module.a.b` for `"a.b"`; None where there is none."""
    value: Any = module
    for name in path.split("."):
        value = getattr(value, name, None)
        if value is None:
            return None
    return value


def set_by_path(module: nn.Module, path: str, value: Any) -> None:
    """`module.a.b = value` for `"a.b"`."""
    parent, _, name = path.rpartition(".")
    setattr(get_by_path(module, parent) if parent else module, name, value)
