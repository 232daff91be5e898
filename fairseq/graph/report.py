"""What `fairseq-graph` prints of a graph: nodes, types, shapes, parameters; as rows for tables and as JSON values."""

from typing import Any

from torch import fx, nn

from fairseq.graph.model_graph import ModelGraph

Rows = list[dict[str, Any]]


def node_rows(graph: ModelGraph) -> Rows:
    """One row per node: opcode, name, target, args, kwargs."""
    return [
        {
            "opcode": node.op,
            "name": node.name,
            "target": node.meta["info"].target,
            "args": str(node.args),
            "kwargs": str(node.kwargs),
        }
        for node in graph.graph.nodes
    ]


def type_rows(graph: ModelGraph) -> Rows:
    """One row per node: its kind and the type of its module or function."""
    return [{"name": info.name, "opcode": info.kind, "type": info.type, "owner": info.owner} for info in graph.nodes]


def shape_rows(graph: ModelGraph) -> Rows:
    """One row per node: shapes of its tensor arguments by position or name, and of what it gives."""
    rows = []
    for node in graph.graph.nodes:
        info = node.meta["info"]
        given = [f"{name} = {shape_text(value.meta['info'].shape)}" for name, value in _tensor_arguments(node)]
        gives = "" if info.shape is None else shape_text(info.shape)
        rows.append({"name": info.name, "in": ", ".join(given), "out": gives, "dtype": info.dtype or ""})
    return rows


def parameter_rows(model: nn.Module) -> Rows:
    """One row per module with parameters of its own, each parameter counted once, and the total."""
    rows: Rows = []
    seen: set[int] = set()
    for path, module in model.named_modules():
        own = [parameter for parameter in module._parameters.values() if parameter is not None]
        if not own:
            continue
        new = [parameter for parameter in own if id(parameter) not in seen]
        seen.update(map(id, new))
        rows.append(_counted(path or "(the model)", type(module).__name__, new, shared=len(own) - len(new)))
    every = list(model.parameters())
    return [*rows, _counted("total", "", every, shared=0)]


def _counted(path: str, kind: str, parameters: Any, shared: int) -> dict[str, Any]:
    return {
        "module": path,
        "type": kind,
        "trainable": sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        "parameters": sum(parameter.numel() for parameter in parameters),
        "note": f"{shared} shared with a module above" if shared else "",
    }


def summary(graph: ModelGraph) -> dict[str, Any]:
    """Counts of the six kinds, and layer types."""
    return {"counts": graph.counts(), "layer_types": graph.layer_types()}


def shape_text(shape: Any) -> str:
    """Sizes in brackets.

    >>> shape_text(("s0", 16)), shape_text([(2,), None]), shape_text({"loss": ()})
    ('[s0, 16]', '([2], -)', '{loss: []}')
    """
    if shape is None:
        return "-"
    if isinstance(shape, tuple):
        return f"[{', '.join(map(str, shape))}]"
    if isinstance(shape, dict):
        return f"{{{', '.join(f'{key}: {shape_text(part)}' for key, part in shape.items())}}}"
    return f"({', '.join(map(shape_text, shape))})"


def _tensor_arguments(node: fx.Node) -> list[tuple[str, fx.Node]]:
    found: list[tuple[str, fx.Node]] = []
    for position, value in enumerate(node.args):
        found += [(str(position), part) for part in _nodes(value)]
    for name, value in node.kwargs.items():
        found += [(name, part) for part in _nodes(value)]
    return found


def _nodes(value: Any) -> list[fx.Node]:
    """The nodes in an argument that give tensors."""
    found: list[fx.Node] = []
    fx.node.map_arg(value, lambda node: found.append(node) or node)  # type: ignore[func-returns-value]
    return [node for node in found if node.meta.get("info") is not None and node.meta["info"].shape is not None]
