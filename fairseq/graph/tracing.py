"""`trace`: the graph of a model's forward, and the proof that it computes what the model does.

>>> import torch
>>> model = nn.Sequential(nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 5), nn.ReLU()).eval()
>>> graph = trace(model, {"input": torch.randn(8, 16)})
>>> graph.counts()["call_module"], graph["_2"].shape, graph["_2"].parameters
(4, ('s0', 5), 85)
"""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Optional, Union

from torch import Tensor, fx, nn

from fairseq.errors import ConfigError, unknown
from fairseq.graph.equality import check_against
from fairseq.graph.leaves import Leaves
from fairseq.graph.model_graph import ModelGraph
from fairseq.graph.node_info import describe
from fairseq.graph.recorder import record

Inputs = Union[Mapping[str, Any], Sequence[Any], Tensor, None]


def trace(model: nn.Module, inputs: Inputs = None, leaves: Iterable[str] = (), check: bool = True) -> ModelGraph:
    """The graph of `model` as it runs now: in training or in evaluation, with these inputs given and no others.

    torch's transformer layers are traced, and compared, without their fast path of evaluation, which gives zeros in
    padded positions, and hides all but 0 of a mask of numbers.

    Args:
        model: any module. Its parameters and modes are not changed.
        inputs: by name of forward's parameter, or in its order. Sizes of 2 and more stand for any size; give sizes that
            differ. None: a graph without shapes, for models whose forward takes no turns.
        leaves: paths of modules that become one node, for parts that cannot be traced.
        check: run graph and model on these inputs and on others of another size, and compare bit for bit.

    Raises:
        ConfigError: an unknown input or leaf; a model that cannot be traced, with the statement that is the reason; a
            graph that computes something else than the model.
    """
    known, leaves = dict(model.named_modules()), tuple(leaves)
    for path in leaves:
        if path not in known:
            raise ConfigError(unknown("module", path, known, where="the leaves"))
    own = Leaves(leaves)
    if inputs is None:
        return _without_shapes(model, own, leaves)
    given = _by_name(model, inputs)
    missing = [name for name in _needed(model) if name not in given]
    if missing:
        raise ConfigError(
            f"{type(model).__name__}.forward needs {', '.join(map(repr, missing))}, too; give its inputs, such as "
            f"{example_inputs(model)}"
        )
    recording = record(model, given, own)
    describe(recording.graph, model)
    graph = ModelGraph(model, recording.graph, given, recording.constants, leaves)
    if check:
        check_against(model, graph.module.forward, given)  # called as a module, fx prints its code where it fails
    return graph


def parameters_of(model: nn.Module) -> dict[str, inspect.Parameter]:
    """The parameters of `model`'s forward, by name."""
    return dict(inspect.signature(model.forward).parameters)


def example_inputs(model: nn.Module) -> str:
    """Flags of fairseq-graph that give what `model`'s forward needs, with sizes of its first layer where that is known.

    >>> example_inputs(nn.Sequential(nn.BatchNorm1d(16), nn.Linear(16, 5)))
    "--input 'input:float32[2,16]'"
    """
    needed = _needed(model) or list(_named(model))[:1] or ["input"]
    first = _first_sizes(model)
    return " ".join(f"--input '{name}:{_kind(name) or first}'" for name in needed)


def _named(model: nn.Module) -> dict[str, inspect.Parameter]:
    fixed = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {name: each for name, each in parameters_of(model).items() if each.kind not in fixed}


def _needed(model: nn.Module) -> list[str]:
    """Inputs without which forward cannot be called."""
    return [name for name, each in _named(model).items() if each.default is each.empty]


def _kind(name: str) -> Optional[str]:
    words = {"ids": "int64[2,11]", "token": "int64[2,11]", "mask": "bool[2,11]", "length": "int64[2]"}
    return next((kind for word, kind in words.items() if word in name), None)


def _first_sizes(model: nn.Module) -> str:
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            return "int64[2,11]"
        if isinstance(module, (nn.Linear, nn.BatchNorm1d)):
            return f"float32[2,{module.in_features if isinstance(module, nn.Linear) else module.num_features}]"
        if isinstance(module, nn.Conv2d):
            return f"float32[2,{module.in_channels},32,32]"
    return "float32[2,3]"


def _by_name(model: nn.Module, inputs: Inputs) -> dict[str, Any]:
    parameters = parameters_of(model)
    kinds = {parameter.kind for parameter in parameters.values()}
    if isinstance(inputs, Mapping):
        for name in inputs:
            if name not in parameters and inspect.Parameter.VAR_KEYWORD not in kinds:
                raise ConfigError(unknown("input", str(name), parameters, where=f"{type(model).__name__}.forward"))
        return dict(inputs)
    values = [inputs] if isinstance(inputs, Tensor) else list(inputs or ())
    positional = [
        name
        for name, parameter in parameters.items()
        if parameter.kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    ]
    if len(values) > len(positional):
        raise ConfigError(f"{type(model).__name__}.forward takes {len(positional)} inputs, got {len(values)}")
    return dict(zip(positional, values, strict=False))


class _Tracer(fx.Tracer):
    def __init__(self, model: nn.Module, leaves: Leaves):
        super().__init__()  # type: ignore[no-untyped-call]
        # decided beforehand: while fx traces, a look at a parameter is a node
        self.leaves = {path for path, module in model.named_modules() if leaves.has(path, module)}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name in self.leaves


def _without_shapes(model: nn.Module, leaves: Leaves, named: tuple[str, ...]) -> ModelGraph:
    try:
        graph = _Tracer(model, leaves).trace(model)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0][:200]
        raise ConfigError(
            f"{type(model).__name__} cannot be traced without inputs ({reason}); give its inputs, such as "
            f"{example_inputs(model)}"
        ) from error
    describe(graph, model)
    return ModelGraph(model, graph, None, {}, named)
