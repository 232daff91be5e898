"""`ModelGraph`: a view of a model, as nodes. The model's modules stay the model's own; so do its keys.

graph = trace(model, inputs)
graph.nodes, graph["fc1"], graph.counts(), graph.layer_types()
graph(**inputs)                 # runs the graph on the model's own modules
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Optional

from torch import Tensor, fx, nn

from fairseq.errors import ConfigError, unknown
from fairseq.graph.node_info import KINDS, NodeInfo


class ModelGraph:
    """Nodes of a model's forward, in the order in which they run.

    Attributes:
        model: the model.
        graph: `torch.fx.Graph`; each node's `meta["info"]` is its `NodeInfo`.
        module: `torch.fx.GraphModule` on the model's own modules; its state-dict keys are the model's.
        inputs: what it was traced with, by name; None for a graph without shapes.
        constants: attribute name -> tensor, for tensors that are neither an input nor the model's.
        leaves: paths of modules that were named as one node.
        statistics: rows that a profile has found, for reports.
    """

    def __init__(
        self,
        model: nn.Module,
        graph: fx.Graph,
        inputs: Optional[Mapping[str, Any]],
        constants: Mapping[str, Tensor],
        leaves: Iterable[str] = (),
    ):
        self.model, self.graph = model, graph
        self.inputs = None if inputs is None else dict(inputs)
        self.constants = dict(constants)
        self.leaves = tuple(leaves)
        self.statistics: list[Any] = []
        self.module = _graph_module(model, graph, constants)

    @property
    def nodes(self) -> list[NodeInfo]:
        """What is known of each node."""
        return [node.meta["info"] for node in self.graph.nodes]

    def __getitem__(self, name: str) -> NodeInfo:
        return self.node(name).meta["info"]  # type: ignore[no-any-return]

    def node(self, name: str) -> fx.Node:
        """The node of that name."""
        found = {node.name: node for node in self.graph.nodes}
        if name not in found:
            raise ConfigError(unknown("node", name, found, where=f"the graph of {type(self.model).__name__}"))
        return found[name]

    def counts(self) -> dict[str, int]:
        """Nodes of each of the six kinds."""
        found = Counter(node.op for node in self.graph.nodes)
        return {kind: found[kind] for kind in KINDS}

    def layer_types(self) -> dict[str, int]:
        """Modules that are called, by class: how many nodes."""
        return dict(Counter(info.type for info in self.nodes if info.kind == "call_module"))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    def __repr__(self) -> str:
        counts = ", ".join(f"{number} {kind}" for kind, number in self.counts().items() if number)
        return f"ModelGraph({type(self.model).__name__}: {counts})"


def _graph_module(model: nn.Module, graph: fx.Graph, constants: Mapping[str, Tensor]) -> fx.GraphModule:
    root = nn.Module()
    for store in ("_modules", "_parameters", "_buffers"):
        root.__dict__[store] = dict(getattr(model, store))
    for name, value in constants.items():
        setattr(root, name, value)
    root.training = model.training
    module = fx.GraphModule(root, graph, class_name=f"{type(model).__name__}Graph")
    # modules that no node calls belong to the model, too: with them its keys are the model's, in the same order
    for store in ("_modules", "_parameters", "_buffers", "_non_persistent_buffers_set"):
        module.__dict__[store] = type(getattr(model, store))(getattr(model, store))
    for name in itertools.chain(constants):
        setattr(module, name, constants[name])
    return module
