"""Passes by name: those of this folder, and one's own.

    @register_pass("count_dropout")
    def count_dropout(graph, options):
        return graph, {"dropout": graph.layer_types().get("Dropout", 0)}

    graph, result = run_pass(graph, "count_dropout")

A pass takes a `ModelGraph` and its options, a mapping that it does not change, and gives a graph, which may be the
same, and a result of any kind.
"""

from collections.abc import Callable, Mapping
from typing import Any, Optional, Union

from torch import nn

from fairseq.errors import ConfigError
from fairseq.graph.model_graph import ModelGraph
from fairseq.graph.tracing import Inputs, trace
from fairseq.quantization.registry import Registry

Pass = Callable[[ModelGraph, Mapping[str, Any]], tuple[ModelGraph, Any]]
OPTIONS_OF = "options_of"  # attribute of a pass
PASSES: Registry[Pass] = Registry("pass", "fairseq.graph.passes")


def register_pass(name: str) -> Callable[[Pass], Pass]:
    """Decorator: enter a pass under `name`.

    Raises:
        ConfigError: there is a pass of that name.
    """
    if name in PASSES:
        raise ConfigError(f"there is a pass {name!r} already; give it another name")
    return PASSES.register(name)


def options_of(function: Callable[..., Any]) -> Callable[[Pass], Pass]:
    """Decorator of a pass: its options are arguments of `function`, whose docstring says what they mean."""

    def decorate(entry: Pass) -> Pass:
        vars(entry)[OPTIONS_OF] = function
        return entry

    return decorate


def run_pass(
    graph: Union[ModelGraph, nn.Module], name: str, options: Optional[Mapping[str, Any]] = None
) -> tuple[ModelGraph, Any]:
    """Run the pass called `name`.

    Raises:
        ConfigError: there is none of that name (names the nearest), or it gives no graph and result.
    """
    given = graph_of(graph)
    result = PASSES.lookup(name)(given, dict(options or {}))
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[0], ModelGraph)):
        raise ConfigError(f"pass {name!r} gives {type(result).__name__}; a pass returns (graph, result)")
    return result


def graph_of(model: Union[ModelGraph, nn.Module], inputs: Inputs = None) -> ModelGraph:
    """A graph as it is; of a model, its graph for `inputs`."""
    return model if isinstance(model, ModelGraph) else trace(model, inputs)
