"""`fuse_conv_bn`: batch norms in evaluation become part of the convolution or Linear layer before them.

    W' = s W,    b' = s (b - mean) + beta,    s = gamma / sqrt(variance + eps)        by output channel

A pair is fused where nothing else uses the layer's output. The layer keeps its class, its weight stays the same
parameter, a bias is made where it had none; the batch norm and its keys go. A mask of the weight still holds.

>>> import torch
>>> model = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU()).eval()
>>> graph, result = fuse_conv_bn(model, inputs=torch.randn(2, 3, 8, 8))
>>> graph.layer_types(), list(model.state_dict()), result.details
({'Conv2d': 1, 'ReLU': 1}, ['0.weight', '0.bias'], ({'layer': '0', 'batch norm': '1'},))
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Optional, Union

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from fairseq.errors import ConfigError, unknown
from fairseq.graph import adapters
from fairseq.graph.diff import described
from fairseq.graph.leaves import Removed
from fairseq.graph.masks import KeepMasks
from fairseq.graph.model_graph import ModelGraph
from fairseq.graph.passes.edit import put, used_besides
from fairseq.graph.passes.registry import PASSES, graph_of, options_of
from fairseq.graph.passes.result import Result, changed_in_place
from fairseq.graph.passes.select import select
from fairseq.graph.tracing import Inputs, example_inputs

OPTIONS = ("pattern", "by")


def fuse_conv_bn(
    model: Union[ModelGraph, nn.Module], pattern: Optional[str] = None, *, by: str = "type", inputs: Inputs = None
) -> tuple[ModelGraph, Result]:
    """Fuse batch norms of `model` with the layers before them, in place.

    Args:
        model: a graph, or a model, which is traced with `inputs`; in evaluation mode.
        pattern: which layers or batch norms (`select.py`); all if None.
        by: what `pattern` is: `type`, `name` or `regex`.

    Returns:
        The new graph, and what has changed. Pairs that are left out have a note that says why.

    Raises:
        ConfigError: a model in training mode; no pair that can be fused. Nothing is changed then.
    """
    graph = graph_of(model, inputs)
    chosen = None if pattern is None else set(select(graph.model, pattern, by))
    pairs, notes = [], []
    calls = Counter(str(node.target) for node in graph.graph.nodes if node.op == "call_module")
    for node in graph.graph.nodes:
        before = _before(graph, node)
        if before is None or (chosen is not None and not chosen & {str(node.target), str(before.target)}):
            continue
        obstacle = _obstacle(graph, before, node, calls)
        if obstacle is None:
            pairs.append((str(before.target), str(node.target)))
        else:
            notes.append(f"{node.target} is not fused with {before.target}: {obstacle}")
    if not pairs:
        why = notes[0] if notes else "no batch norm that is chosen follows a convolution or Linear layer"
        raise ConfigError(f"fuse_conv_bn: {why}")
    known = described(graph)
    for layer, norm in pairs:
        _fuse(graph.model.get_submodule(layer), graph.model.get_submodule(norm))
        put(graph.model, norm, Removed().train(graph.model.training))
    details = tuple({"layer": layer, "batch norm": norm} for layer, norm in pairs)
    return changed_in_place(known, graph, graph.model, "fuse_conv_bn", details=details, notes=tuple(notes))


@PASSES.register("fuse_conv_bn", "conv_bn_fusion")
@options_of(fuse_conv_bn)
def fuse_pass(graph: ModelGraph, options: Mapping[str, Any]) -> tuple[ModelGraph, Result]:
    """Make batch norms part of the convolution or Linear layer before them."""
    for key in options:
        if key not in OPTIONS:
            raise ConfigError(unknown("option", str(key), OPTIONS, where="fuse_conv_bn"))
    return fuse_conv_bn(graph, **options)


def _before(graph: ModelGraph, node: fx.Node) -> Optional[fx.Node]:
    """The node of the layer whose output `node`, a batch norm, takes."""
    if not isinstance(_module(graph, node), _BatchNorm):
        return None
    first = next(iter(node.all_input_nodes), None)
    return first if isinstance(_module(graph, first), (_ConvNd, nn.Linear)) else None


def _module(graph: ModelGraph, node: Optional[fx.Node]) -> Any:
    return None if node is None or node.op != "call_module" else graph.model.get_submodule(str(node.target))


def _obstacle(graph: ModelGraph, before: fx.Node, node: fx.Node, calls: Mapping[str, int]) -> Optional[str]:
    """Why a pair cannot be fused, in words."""
    layer, norm = _module(graph, before), _module(graph, node)
    shape = before.meta["info"].shape
    others = [user.name for user in before.users if user is not node]
    users = (module for module in graph.model.modules() if module is not layer)
    if norm.training:
        return "it is in training mode, in which it takes the statistics of each batch; call model.eval() first"
    if norm.running_mean is None:
        return "it keeps no running statistics"
    if others:
        return f"{', '.join(others)} {'uses' if len(others) == 1 else 'use'} the output of {before.target} as well"
    if calls[str(before.target)] > 1 or calls[str(node.target)] > 1:
        return f"{before.target if calls[str(before.target)] > 1 else node.target} is called several times"
    for module, path in ((layer, before.target), (norm, node.target)):
        if getattr(module, "quantizers", None) is not None:
            return f"{path} is quantized; fuse first, and quantize afterwards"
    if adapters.adapter_of(layer) is not None:
        return f"{before.target} has an adapter; fuse_lora first"
    if norm._forward_hooks or norm._forward_pre_hooks or _has_hooks(layer):
        return "one of them has hooks, which would see other values"
    if not isinstance(layer._parameters.get("weight"), nn.Parameter):
        return f"the weight of {before.target} is no parameter"
    if any(own is layer.weight for module in users for own in module._parameters.values()):
        return f"another module shares the weight of {before.target}"
    besides = [*used_besides(graph, str(before.target)), *used_besides(graph, str(node.target))]
    if besides:
        return f"the model uses {besides[0]} besides"
    if shape is None:
        return f"the graph has no shapes; trace it with inputs, such as {example_inputs(graph.model)}"
    if len(shape) != layer.weight.dim():  # without a batch, or with features that are not the second axis
        return f"the channels of {before.target}, which gives {list(shape)}, are not what it normalizes"
    return None


def _has_hooks(layer: nn.Module) -> bool:
    hooks = [*layer._forward_hooks.values(), *layer._forward_pre_hooks.values()]
    return any(not isinstance(hook, KeepMasks) for hook in hooks)


@torch.no_grad()
def _fuse(layer: Any, norm: Any) -> None:
    wide = torch.promote_types(layer.weight.dtype, torch.float32)
    scale = (norm.running_var.to(wide) + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.to(wide)
    shift = -norm.running_mean.to(wide) if layer.bias is None else layer.bias.to(wide) - norm.running_mean.to(wide)
    shift = shift * scale if norm.bias is None else shift * scale + norm.bias.to(wide)
    layer.weight.copy_(_by_channel(layer, scale) * layer.weight.to(wide))
    if layer.bias is None:
        layer.bias = nn.Parameter(shift.to(layer.weight.dtype), requires_grad=layer.weight.requires_grad)
    else:
        layer.bias.copy_(shift)


def _by_channel(layer: Any, scale: Tensor) -> Tensor:
    """`scale` (out,) in the shape of the layer's weight: (out, in, *K), transposed (in, out / groups, *K)."""
    ones = [1] * (layer.weight.dim() - 2)
    if not isinstance(layer, _ConvTransposeNd):
        return scale.view(-1, 1, *ones)
    by_group = scale.view(layer.groups, 1, -1).expand(-1, layer.in_channels // layer.groups, -1)
    return by_group.reshape(layer.in_channels, -1, *ones)
