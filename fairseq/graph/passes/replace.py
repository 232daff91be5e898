"""`replace`: another module, or another function, where a node was.

    graph, result = replace(graph, "fc1", MyLinear(16, 8))             # takes the weights of the old one
    graph, result = replace(graph, ["act", "act_1"], nn.GELU)          # made for each; or a function of the old module
    graph, result = replace(graph, "relu", torch.tanh)                 # for a function's node: with its arguments

A module is put into the model itself, with the old one's mode, device and dtype. Parameters and buffers of equal keys
and shapes stay the same objects, so that an optimizer still has them; losing one is an error. For the node of a
function the model is afterwards the graph's own module (`graph.model`), as with `remove`.

>>> import torch
>>> from fairseq.graph.tracing import trace
>>> graph = trace(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), {"input": torch.randn(3, 4)})
>>> graph, result = replace(graph, "_1", nn.GELU)
>>> graph.layer_types(), result.changed
({'Linear': 1, 'GELU': 1}, ['1'])
>>> replace(graph, "_0", nn.Identity())
Traceback (most recent call last):
...
fairseq.errors.ConfigError: replace '0', a Linear: weight, bias would be lost; give a module that has them, or lose=True
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Union

from torch import nn

from fairseq.errors import ConfigError, unknown
from fairseq.graph.diff import described
from fairseq.graph.model_graph import ModelGraph
from fairseq.graph.passes.edit import Which, copied, module_of, nodes_of, put
from fairseq.graph.passes.registry import PASSES
from fairseq.graph.passes.result import Result, changed_in_place
from fairseq.graph.passes.select import select
from fairseq.graph.tracing import trace

New = Union[nn.Module, Callable[..., Any]]
OPTIONS = ("pattern", "by", "with", "options", "lose")


def replace(
    graph: ModelGraph, node: Union[Which, Iterable[Which]], new: New, *, lose: bool = False
) -> tuple[ModelGraph, Result]:
    """The graph with `new` in the place of a node, or of several; a module that several nodes call is replaced for all.

    Args:
        node: nodes of `graph`, or their names: all of modules, or all of functions.
        new: for one module, a module; for modules, a class without arguments or a function from the old module to the
            new; for functions, what is called with the same arguments.
        lose: whether parameters and buffers that `new` does not have may go.

    Raises:
        ConfigError: no such node; weights that would be lost; an output of another shape or dtype. Nothing is changed
            then.
    """
    nodes = nodes_of(graph, node)
    of_modules = [each.op == "call_module" for each in nodes]
    if any(of_modules) and not all(of_modules):
        raise ConfigError("replace: the nodes are of modules and of functions; replace them one after the other")
    before = described(graph)
    if not all(of_modules):
        if isinstance(new, (nn.Module, type)):
            raise ConfigError(f"replace: node {nodes[0].name!r} calls a function; give a function, no module")
        copy, places = copied(graph)
        for each in nodes:
            place = places[each]
            with copy.inserting_after(place):
                other = copy.call_function(new, place.args, place.kwargs)
            place.replace_all_uses_with(other)
            copy.erase_node(place)
        return _checked(graph, module_of(graph, copy), before, [])
    paths = list(dict.fromkeys(str(each.target) for each in nodes))
    if isinstance(new, nn.Module) and len(paths) > 1:
        raise ConfigError(
            f"replace: {len(paths)} modules by one would share its weights; give a class, or a function from the old "
            "module to the new"
        )
    made = [
        (path, graph.model.get_submodule(path), _made(path, graph.model.get_submodule(path), new, lose))
        for path in paths
    ]
    for path, _, module in made:
        put(graph.model, path, module)
    return _checked(graph, graph.model, before, [(path, old) for path, old, _ in made])


@PASSES.register("replace")
def replace_pass(graph: ModelGraph, options: Mapping[str, Any]) -> tuple[ModelGraph, Result]:
    """Put a module of another class where modules are; parameters of equal keys and shapes stay.

    Options:
        pattern: which modules (needed).
        by: what `pattern` is: `type`, `name` or `regex` (default "type").
        with: the name of a class of torch.nn (needed).
        options: its arguments, a table (default {}).
        lose: whether parameters that the new module does not have may go (default false).
    """
    for key in options:
        if key not in OPTIONS:
            raise ConfigError(unknown("option", str(key), OPTIONS, where="replace"))
    name, arguments = options.get("with"), options.get("options", {})
    kind = getattr(nn, str(name), None)
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        known = [word for word, value in vars(nn).items() if isinstance(value, type) and issubclass(value, nn.Module)]
        raise ConfigError(unknown("class of torch.nn", str(name), known, where="replace: with"))
    paths = select(graph.model, str(options.get("pattern", "")), str(options.get("by", "type")))
    nodes = [node for node in graph.graph.nodes if node.op == "call_module" and node.target in paths]
    if not nodes:
        raise ConfigError(f"replace: no node calls {paths[0] or 'the model'!r}")
    return replace(graph, nodes, lambda old: kind(**arguments), lose=bool(options.get("lose", False)))


def _made(path: str, old: nn.Module, new: Any, lose: bool) -> nn.Module:
    """The new module with what the old one has."""
    try:
        module = new if isinstance(new, nn.Module) else new() if isinstance(new, type) else new(old)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"replace {path!r}, a {type(old).__name__}: {str(error).splitlines()[0]}") from None
    what = f"replace {path!r}, a {type(old).__name__}"
    if not isinstance(module, nn.Module):
        raise ConfigError(f"{what}: {type(module).__name__} is no module")
    own, theirs = old.state_dict(keep_vars=True), module.state_dict(keep_vars=True)
    lost = [key for key in own if key not in theirs or _shape(theirs[key]) != _shape(own[key])]
    if lost and not lose:
        it = "it" if len(lost) == 1 else "them"
        raise ConfigError(f"{what}: {', '.join(lost)} would be lost; give a module that has {it}, or lose=True")
    like = next((value for value in own.values() if getattr(value, "is_floating_point", bool)()), None)
    if like is not None:
        module.to(device=like.device, dtype=like.dtype)
    for key, value in own.items():
        if key not in lost:
            owner, _, name = key.rpartition(".")
            part = module.get_submodule(owner)
            store = part._parameters if name in part._parameters else part._buffers
            store[name] = value
    return module.train(old.training)


def _shape(value: Any) -> Any:
    return tuple(value.shape) if hasattr(value, "shape") else None


def _checked(
    graph: ModelGraph, model: nn.Module, before: Any, undo: list[tuple[str, nn.Module]]
) -> tuple[ModelGraph, Result]:
    """The new graph, whose output is of the old one's shape and dtype; or the model as it was, and an error."""
    try:
        after = trace(model, graph.inputs, graph.leaves)
        was, now = _given(graph), _given(after)
        if was != now:
            raise ConfigError(f"replace: the graph would give {now} in place of {was}")
        return changed_in_place(before, graph, model, "replace")
    except ConfigError:
        for path, old in undo:
            put(model, path, old)
        raise


def _given(graph: ModelGraph) -> str:
    """Dtypes and shapes of what a graph gives."""
    output = next(node for node in graph.graph.nodes if node.op == "output")
    infos = [node.meta["info"] for node in output.all_input_nodes]
    return ", ".join(f"{info.dtype} {list(info.shape or ())}" for info in infos)
