"""Graphs of models: `trace` gives a view of any nn.Module as nodes, with shapes; passes report and transform.

from fairseq.graph import trace
graph = trace(model, {"src_tokens": tokens})
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fairseq.graph.model_graph import ModelGraph as ModelGraph
    from fairseq.graph.node_info import NodeInfo as NodeInfo
    from fairseq.graph.passes.edit import remove as remove
    from fairseq.graph.passes.fusion import fuse_conv_bn as fuse_conv_bn
    from fairseq.graph.passes.lora import fuse_lora as fuse_lora
    from fairseq.graph.passes.lora import insert_lora as insert_lora
    from fairseq.graph.passes.prune import prune as prune
    from fairseq.graph.passes.prune_activations import prune_activations as prune_activations
    from fairseq.graph.passes.quantize import quantize as quantize
    from fairseq.graph.passes.registry import register_pass as register_pass
    from fairseq.graph.passes.registry import run_pass as run_pass
    from fairseq.graph.passes.replace import replace as replace
    from fairseq.graph.restoring import restore as restore
    from fairseq.graph.tracing import trace as trace
    from fairseq.graph.transforming import load as load
    from fairseq.graph.transforming import transform as transform
    from fairseq.graph.verification.verify import verify as verify

_HOMES = {
    "trace": "tracing",
    "ModelGraph": "model_graph",
    "NodeInfo": "node_info",
    "quantize": "passes.quantize",
    "prune": "passes.prune",
    "prune_activations": "passes.prune_activations",
    "remove": "passes.edit",
    "replace": "passes.replace",
    "insert_lora": "passes.lora",
    "fuse_lora": "passes.lora",
    "fuse_conv_bn": "passes.fusion",
    "restore": "restoring",
    "register_pass": "passes.registry",
    "run_pass": "passes.registry",
    "transform": "transforming",
    "load": "transforming",
    "verify": "verification.verify",
}
__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
