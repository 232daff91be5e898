"""What a graph says of each node: kind, type, shape, dtype, parameters.

Sizes that the run has left open are `s0`, `s1`, ... in the order in which inputs have them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

import torch
from torch import Tensor, fx, nn

KINDS = ("placeholder", "get_attr", "call_function", "call_method", "call_module", "output")


@dataclass(frozen=True)
class NodeInfo:
    """One node.

    Attributes:
        kind: one of `KINDS`.
        type: class of the module, or name of the function or method.
        owner: path of the module whose forward calls it; the empty path is the model.
        shape: sizes as numbers or names; nested where a node gives several tensors; None where it gives none, or where
            the graph has no shapes.
        dtype: of its tensor, or of the first one.
        parameters: elements of a module's parameters, or of the parameter that is read.
    """

    name: str
    kind: str
    target: str
    type: str
    owner: str
    shape: Any = None
    dtype: Optional[str] = None
    parameters: int = 0


def describe(graph: fx.Graph, model: nn.Module) -> None:
    """Turn what the recorder has kept of each node into `meta["info"]`."""
    names: dict[Any, str] = {}
    for node in graph.nodes:
        value = node.meta.pop("value", None)
        if node.op == "placeholder":
            _name_sizes(value, names)
        node.meta["info"] = NodeInfo(
            node.name, node.op, _text(node.target), _type(node, model), node.meta.pop("owner", ""),
            _shape(value, names), _dtype(value), _parameters(node, model),
        )  # fmt: skip


def _name_sizes(value: Any, names: dict[Any, str]) -> None:
    if isinstance(value, Tensor):
        for size in value.shape:
            if isinstance(size, torch.SymInt):
                expression = size.node.shape_env.replace(size.node.expr)
                if not expression.is_number:
                    names.setdefault(expression, f"s{len(names)}")


def _shape(value: Any, names: Mapping[Any, str]) -> Any:
    if isinstance(value, Tensor):
        return tuple(_size(size, names) for size in value.shape)
    if isinstance(value, Mapping):
        return {key: _shape(part, names) for key, part in value.items()}
    if isinstance(value, (tuple, list)):
        return [_shape(part, names) for part in value]
    return None


def _size(size: Any, names: Mapping[Any, str]) -> Any:
    if not isinstance(size, torch.SymInt):
        return int(size)
    expression = size.node.shape_env.replace(size.node.expr)
    if expression.is_number:
        return int(expression)
    import sympy

    return str(expression.xreplace({symbol: sympy.Symbol(name) for symbol, name in names.items()}))


def _dtype(value: Any) -> Optional[str]:
    if isinstance(value, Tensor):
        return str(value.dtype).removeprefix("torch.")
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, (tuple, list)) else ()
    return next((found for found in map(_dtype, parts) if found is not None), None)


def _text(target: Any) -> str:
    if isinstance(target, str):
        return target
    return f"{getattr(target, '__module__', None) or ''}.{_name(target)}".lstrip(".")


def _name(function: Any) -> str:
    return str(getattr(function, "__name__", function))


def _type(node: fx.Node, model: nn.Module) -> str:
    if node.op == "call_module":
        return type(model.get_submodule(str(node.target))).__name__
    return node.op if node.op in ("placeholder", "get_attr", "output") else _name(node.target)


def _parameters(node: fx.Node, model: nn.Module) -> int:
    if node.op == "call_module":
        return sum(parameter.numel() for parameter in model.get_submodule(str(node.target)).parameters())
    if node.op == "get_attr":
        owner, _, name = str(node.target).rpartition(".")
        found = model.get_submodule(owner)._parameters.get(name) if _has(model, owner) else None
        return 0 if found is None else found.numel()
    return 0


def _has(model: nn.Module, path: str) -> bool:
    return not path or any(name == path for name, _ in model.named_modules())
