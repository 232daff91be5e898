"""`prune_activations`: make the least important elements of layers' inputs zero, in every call.

    graph, result = prune_activations(model, 0.5, inputs=inputs)                  # of each Linear and convolution
    graph, result = prune_activations(graph, granularity="2:4", pattern="encoder.fc1", by="name")
    remove(model)                                                                 # inputs as they are again

What is pruned, and how it is saved: `fairseq/graph/input_pruning.py`. Weights are pruned by `prune`.

>>> import torch
>>> model = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
>>> graph, result = prune_activations(model, 0.5, "2", by="name", inputs=torch.randn(3, 8))
>>> result.changed, result.rows[2].after
(['2'], 'Linear (input: magnitude 0.5 pruned)')
"""

from collections.abc import Mapping
from typing import Any, Optional, Union

from torch import nn

from fairseq.errors import ConfigError, unknown
from fairseq.graph import input_pruning
from fairseq.graph.diff import described
from fairseq.graph.model_graph import ModelGraph
from fairseq.graph.passes.prune import USUAL, n_of_m, share_of
from fairseq.graph.passes.registry import PASSES, graph_of, options_of
from fairseq.graph.passes.result import Result, changed_in_place
from fairseq.graph.passes.select import is_of_type, select
from fairseq.graph.tracing import Inputs
from fairseq.quantization.plan.targets import ConvolutionTarget, LinearTarget, TransposedLinearTarget, target_of

METHODS = ("magnitude", "random")
ALIASES = {"l1": "magnitude", "l1-norm": "magnitude", "elementwise": "element"}  # MASE's words and those of `prune`
OPTIONS = ("sparsity", "pattern", "by", "method", "granularity", "seed")
LAYERS = (LinearTarget, TransposedLinearTarget, ConvolutionTarget)


def prune_activations(
    model: Union[ModelGraph, nn.Module],
    sparsity: Optional[float] = None,
    pattern: Optional[str] = None,
    *,
    by: str = "type",
    method: str = "magnitude",
    granularity: str = "element",
    seed: int = 1,
    inputs: Inputs = None,
) -> tuple[ModelGraph, Result]:
    """Prune inputs of layers of `model`, in place.

    Args:
        model: a graph, or a model, which is traced with `inputs`.
        sparsity: the share of an example's elements that become zero, 0 to 1; None with n:m.
        pattern: which layers (`select.py`); Linear layers and convolutions if None.
        by: what `pattern` is: `type`, `name` or `regex`.
        method: `magnitude` or `random`.
        granularity: `element`, or `n:m`: of m neighbouring features n stay.
        seed: of `random`.

    Raises:
        ConfigError: a value that cannot be used, a pattern that matches no such layer.
    """
    graph = graph_of(model, inputs)
    granularity, method = ALIASES.get(granularity, granularity), ALIASES.get(method, method)
    if method not in METHODS:
        raise ConfigError(unknown("method", str(method), METHODS, where="prune_activations"))
    if granularity in ("row", "head"):
        raise ConfigError(f"prune_activations: granularity {granularity!r} is for weights; use element or n:m")
    neighbours = n_of_m(granularity)
    if neighbours is not None and sparsity is not None:
        raise ConfigError(f"granularity {granularity} decides the sparsity; leave sparsity away")
    n, m = neighbours or (0, 0)
    settings = input_pruning.Settings(method, 1 - n / m if neighbours else share_of(sparsity), n, m, seed)
    paths = _layers(graph.model, pattern, by, m)
    before = described(graph)
    for path in paths:
        input_pruning.attach(graph.model.get_submodule(path), settings)
    details = tuple({"layer": path, "method": method, "sparsity": settings.sparsity} for path in paths)
    return changed_in_place(before, graph, graph.model, "prune_activations", details=details)


@PASSES.register("prune_activations")
@options_of(prune_activations)
def prune_activations_pass(graph: ModelGraph, options: Mapping[str, Any]) -> tuple[ModelGraph, Result]:
    """Make the least important elements of layers' inputs zero, in every call."""
    for key in options:
        if key not in OPTIONS:
            raise ConfigError(unknown("option", str(key), OPTIONS, where="prune_activations"))
    return prune_activations(graph, **options)


def remove(model: Union[ModelGraph, nn.Module]) -> list[str]:
    """Take inputs as they are again. Paths of the layers."""
    layers = list(input_pruning.pruned_layers(model.model if isinstance(model, ModelGraph) else model))
    for _, layer in layers:
        input_pruning.detach(layer)
    return [path for path, _ in layers]


def _layers(model: nn.Module, pattern: Optional[str], by: str, m: int) -> list[str]:
    paths = (
        [path for path, module in model.named_modules() if any(is_of_type(module, word) for word in USUAL)]
        if pattern is None
        else select(model, pattern, by)
    )
    found = []
    for path in paths:
        layer: Any = model.get_submodule(path)
        parent = model.get_submodule(path.rpartition(".")[0]) if path else None
        # attention of torch uses the weight of its last layer without calling it
        if type(target_of(path, layer)) in LAYERS and not isinstance(parent, nn.MultiheadAttention):
            found.append(path)
            features = getattr(layer, "in_features", getattr(layer, "in_channels", len(layer.weight)))
            if m and features % m:
                raise ConfigError(f"granularity of {m}: {path!r} has {features} inputs, no multiple of {m}")
    if not found:
        raise ConfigError(
            "prune_activations: none of the chosen modules is a Linear layer or convolution that is called"
        )
    return found
