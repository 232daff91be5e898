"""Nodes of a graph, removed: `remove` hands a node's input on to its users, `erase` takes a node that has none.

A module that is called once is removed from the model itself, in place: a placeholder without parameters stands there,
and the model keeps its class. For a function, or a module that is called several times, the model is afterwards the
graph's own module (`graph.model`), with the same parameters and keys.

>>> import torch
>>> from fairseq.graph.tracing import trace
>>> graph = trace(nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.ReLU()), {"input": torch.randn(3, 4)})
>>> graph, result = remove(graph, "_1")
>>> graph.layer_types(), result.changed
({'Linear': 1, 'ReLU': 1}, ['1'])
>>> erase(graph, "_0")
Traceback (most recent call last):
...
fairseq.errors.ConfigError: node '_0' has a user, _2, and cannot be erased; remove(graph, '_0') hands its input on
"""

from collections.abc import Iterable, Mapping
from typing import Any, Union

from torch import fx, nn

from fairseq.errors import ConfigError, unknown
from fairseq.graph import masks
from fairseq.graph.diff import described
from fairseq.graph.inputs import HEAD, KNOWN
from fairseq.graph.leaves import Removed
from fairseq.graph.model_graph import ModelGraph
from fairseq.graph.passes.registry import PASSES
from fairseq.graph.passes.result import Result, changed_in_place
from fairseq.graph.passes.select import SHOWN, expression_of, nearest_of, plain, select, way_of
from fairseq.graph.trainability import FROZEN

CALLS = ("call_function", "call_method")
FIXED = ("placeholder", "get_attr", "output")
Which = Union[str, fx.Node]


def remove(graph: ModelGraph, node: Union[Which, Iterable[Which]]) -> tuple[ModelGraph, Result]:
    """The graph without a node, or several: who used one uses its input instead.

    Args:
        node: nodes of `graph`, or their names.

    Raises:
        ConfigError: no such node; one without exactly one tensor as input, or whose output has another shape or dtype.
    """
    nodes = nodes_of(graph, node)
    inputs = {each: _only_input(each) for each in nodes}
    before = described(graph)
    calls = [str(each.target) for each in graph.graph.nodes if each.op == "call_module"]
    in_model = [each for each in nodes if each.op == "call_module" and str(each.target) and _called_once(each, calls)]
    if len(in_model) == len(nodes):
        old = {str(each.target): graph.model.get_submodule(str(each.target)) for each in nodes}
        for path in old:
            put(graph.model, path, Removed().train(graph.model.training))
        try:
            return changed_in_place(before, graph, graph.model, "remove")
        except ConfigError:  # a forward looks at the module besides calling it
            for path, module in old.items():
                put(graph.model, path, module)
            raise
    copy, places = copied(graph)
    for each, value in inputs.items():
        places[each].replace_all_uses_with(places[value])
        copy.erase_node(places[each])
        places = {old: places[value] if new is places[each] else new for old, new in places.items()}
    return changed_in_place(before, graph, module_of(graph, copy), "remove")


def erase(graph: ModelGraph, node: Union[Which, Iterable[Which]]) -> tuple[ModelGraph, Result]:
    """The graph without a node, or several, whose values nothing uses; those that use each other go together.

    Raises:
        ConfigError: no such node; one that is used (names its users).
    """
    nodes = nodes_of(graph, node)
    for each in nodes:
        users = [user.name for user in each.users if user not in nodes]
        if users:
            has = "a user" if len(users) == 1 else f"{len(users)} users"
            raise ConfigError(
                f"node {each.name!r} has {has}, {', '.join(users)}, and cannot be erased; remove(graph, {each.name!r}) "
                "hands its input on"
            )
    before = described(graph)
    copy, places = copied(graph)
    order = {each: place for place, each in enumerate(graph.graph.nodes)}
    for each in sorted(nodes, key=order.__getitem__, reverse=True):
        copy.erase_node(places[each])
    return changed_in_place(before, graph, module_of(graph, copy), "erase")


@PASSES.register("remove")
def remove_pass(graph: ModelGraph, options: Mapping[str, Any]) -> tuple[ModelGraph, Result]:
    """Take modules or calls of functions away; who used their output uses their input instead.

    Options:
        pattern: which modules (needed).
        by: what `pattern` is: `type`, `name` or `regex` (default "type").
    """
    for key in options:
        if key not in ("pattern", "by"):
            raise ConfigError(unknown("option", str(key), ("pattern", "by"), where="remove"))
    return remove(graph, chosen_nodes(graph, str(options.get("pattern", "")), str(options.get("by", "type"))))


def chosen_nodes(graph: ModelGraph, pattern: str, by: str) -> list[fx.Node]:
    """Nodes that call modules that `pattern` means; where it means none, those of functions: by their type, `relu`, or
    by the name of the node, `relu_1`.

    Raises:
        ConfigError: there are none of either kind; names the nearest.
    """
    way = way_of(by)
    try:
        paths = select(graph.model, pattern, way)
    except ConfigError as error:
        nodes = [node for node in graph.graph.nodes if node.op in CALLS and _is_meant(node, pattern, way)]
        if nodes:
            return nodes
        named = [node.name for node in graph.graph.nodes if node.op in CALLS]
        shown = ", ".join([*named[:SHOWN], *(["..."] if len(named) > SHOWN else [])])
        also = f"; functions are chosen by type or by the name of their node, such as {shown}" if named else ""
        raise ConfigError(f"{error}{also}") from None
    nodes = [node for node in graph.graph.nodes if node.op == "call_module" and node.target in paths]
    if not nodes:
        known = (str(node.target) for node in graph.graph.nodes if node.op == "call_module")
        raise ConfigError(f"no node calls {paths[0] or 'the model'!r}{nearest_of(pattern, known)}")
    return nodes


def _is_meant(node: fx.Node, pattern: str, way: str) -> bool:
    if way == "type":
        return plain(node.meta["info"].type) == plain(pattern)
    return node.name == pattern if way == "name" else expression_of(pattern).fullmatch(node.name) is not None


def nodes_of(graph: ModelGraph, given: Union[Which, Iterable[Which]]) -> list[fx.Node]:
    """Nodes of `graph` by themselves or by name, those of calls only."""
    listed = [given] if isinstance(given, (str, fx.Node)) else list(given)
    found = [graph.node(each if isinstance(each, str) else each.name) for each in listed]
    for node in found:
        if node.op in FIXED:
            raise ConfigError(f"node {node.name!r} is an input, a parameter or the output, and stays")
    return list(dict.fromkeys(found))


def _only_input(node: fx.Node) -> fx.Node:
    """The input that can stand for what `node` gives."""
    info = node.meta["info"]
    inputs = [each for each in node.all_input_nodes if each.meta["info"].shape is not None or info.shape is None]
    if len(inputs) != 1:
        named = ", ".join(each.name for each in inputs) or "none"
        raise ConfigError(
            f"node {node.name!r} takes {len(inputs)} tensors ({named}); remove needs exactly one to hand on"
        )
    mine, theirs = (info.shape, info.dtype), (inputs[0].meta["info"].shape, inputs[0].meta["info"].dtype)
    if mine != theirs:
        raise ConfigError(
            f"node {node.name!r} gives {info.dtype} {info.shape} and takes {theirs[1]} {theirs[0]}; its input cannot "
            "stand for it"
        )
    return inputs[0]


def _called_once(node: fx.Node, calls: list[str]) -> bool:
    return calls.count(str(node.target)) == 1


def put(model: nn.Module, path: str, module: nn.Module) -> None:
    """`module` in the place of the one at `path`."""
    owner, _, name = path.rpartition(".")
    model.get_submodule(owner)._modules[name] = module


def copied(graph: ModelGraph) -> tuple[fx.Graph, dict[fx.Node, fx.Node]]:
    """A copy of the nodes, and where each stands in it."""
    copy = fx.Graph()
    places: dict[fx.Node, fx.Node] = {}
    output = copy.graph_copy(graph.graph, places)
    last = next(node for node in graph.graph.nodes if node.op == "output")
    if output is not None:
        places[last] = copy.output(output)
    return copy, places


def module_of(graph: ModelGraph, edited: fx.Graph) -> fx.GraphModule:
    """The edited graph on the model's own modules."""
    for node in edited.nodes:
        node.meta.setdefault("info", None)
    edited.lint()
    found = ModelGraph(graph.model, edited, graph.inputs, graph.constants, graph.leaves).module
    for name in (FROZEN, HEAD, KNOWN):
        if name in vars(graph.model):
            vars(found)[name] = vars(graph.model)[name]
    masks.keep_all(found)
    return found.train(graph.model.training)


def used_besides(graph: ModelGraph, path: str) -> list[str]:
    """Names of parameters and buffers of the module at `path` that a forward takes without calling that module."""
    return [
        str(node.target)
        for node in graph.graph.nodes
        if node.op == "get_attr" and str(node.target).rpartition(".")[0] == path
    ]
