"""`insert_lora` gives layers low-rank adapters, which train in place of weights; `fuse_lora` adds them to the weights.

    graph, result = insert_lora(model, rank=8, alpha=16, trainable=["classifier.*"], inputs=inputs)
    ...                                                        # train: only adapters and the classifier change
    graph, result = fuse_lora(graph)                           # the model's own modules and keys, as before

What an adapter is and computes: `fairseq/graph/adapters.py`. Layers keep their class, parameters and keys. A saved
state has the adapters, too; `fairseq.graph.restore` makes a new model take it.

>>> import torch
>>> model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
>>> graph, result = insert_lora(model, "0", by="name", rank=2, inputs=torch.randn(3, 8))
>>> print(result.notes[0])
32 of 122 parameters train, before it were 90 of 90
>>> graph, result = fuse_lora(graph)
>>> list(model.state_dict())
['0.weight', '0.bias', '2.weight', '2.bias']
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Optional, Union

import torch
from torch import Tensor, nn

from fairseq.errors import ConfigError, unknown
from fairseq.graph import adapters, masks
from fairseq.graph.diff import described
from fairseq.graph.model_graph import ModelGraph
from fairseq.graph.passes.edit import used_besides
from fairseq.graph.passes.registry import PASSES, graph_of, options_of
from fairseq.graph.passes.result import Result, changed_in_place
from fairseq.graph.passes.select import select, way_of
from fairseq.graph.tracing import Inputs
from fairseq.graph.trainability import parameters_like, thaw, trainable_count

ALIASES = {"lora_alpha": "alpha", "lora_dropout": "dropout", "r": "rank"}  # the words of MASE and peft


def insert_lora(
    model: Union[ModelGraph, nn.Module],
    pattern: Union[str, Iterable[str]] = "linear",
    *,
    by: str = "type",
    rank: int = 8,
    alpha: float = 8.0,
    dropout: float = 0.0,
    trainable: Sequence[str] = (),
    seed: int = 1,
    inputs: Inputs = None,
) -> tuple[ModelGraph, Result]:
    """Give layers of `model` adapters, in place; all other parameters no longer train, but for those that this call, or
    an earlier one for other layers, names as `trainable`.

    Args:
        model: a graph, or a model, which is traced with `inputs`.
        pattern: which layers (`select.py`), or several patterns.
        by: what patterns are: `type`, `name` or `regex`. What a type matches and cannot have an adapter is left out,
            with a note.
        rank: features between both matrices of an adapter.
        alpha: adapters are multiplied by alpha / rank.
        dropout: probability with which elements of an adapter's input are zero in training.
        trainable: globs over names of other parameters that train, such as `*.bias`; `re:` before regular expressions.
        seed: of the adapters' first weights.

    Returns:
        The new graph, and what has changed; its `details` are a row for each adapter.

    Raises:
        ConfigError: a pattern that matches nothing, or no layer that can have an adapter; a layer that has one; a value
            that cannot be used. Nothing is changed then.
    """
    settings = _settings(rank, alpha, dropout, trainable)
    graph = graph_of(model, inputs)
    chosen, notes = _layers(graph.model, [pattern] if isinstance(pattern, str) else list(pattern), by)
    parameters_like(graph.model, settings.trainable)
    before, counts = described(graph), _counts(graph.model)
    generator = torch.Generator().manual_seed(seed)
    added = []
    for path, kind in chosen.items():
        adapter = adapters.attach(graph.model.get_submodule(path), settings, generator, kind)
        size = sum(parameter.numel() for parameter in adapter.parameters())
        added.append({"layer": path, "rank": rank, "alpha": alpha, "parameters": size})
    adapters.freeze_others(graph.model)
    notes = [f"{_counts(graph.model)} parameters train, before it were {counts}", *notes]
    return changed_in_place(before, graph, graph.model, "lora", details=tuple(added), notes=tuple(notes))


def fuse_lora(model: Union[ModelGraph, nn.Module], *, inputs: Inputs = None) -> tuple[ModelGraph, Result]:
    """Add each adapter to its layer's weight, in place, and take it off; parameters train again that did before.

    Outputs are what they were, up to rounding; a quantized layer rounds the sum where it rounded the weight alone.

    Raises:
        ConfigError: a model without adapters; a weight that another module has as well, or that is pruned. Nothing is
            changed then.
    """
    graph = graph_of(model, inputs)
    found = list(adapters.named_adapters(graph.model))
    if not found:
        raise ConfigError(f"{type(graph.model).__name__} has no adapters to fuse; insert_lora makes them")
    for path, layer, _ in found:
        _check_weight(graph, path, layer)
    before, counts = described(graph), _counts(graph.model)
    notes = []
    fused = []
    for path, layer, adapter in found:
        weight: Any = layer.weight
        with torch.no_grad():
            change = adapter.delta()
            size = _norm(change) / max(_norm(weight), torch.finfo(torch.float32).tiny)
            weight.add_(change.to(weight.dtype))
        fused.append({"layer": path, "rank": adapter.settings.rank, "change of the weight": f"{size:.3g}"})
        adapters.detach(layer)
        if getattr(layer, "quantizers", None) is not None:
            notes.append(f"{path} is quantized: it rounds the sum now, so that outputs may differ by its steps")
    thaw(graph.model)
    notes = [f"{_counts(graph.model)} parameters train, before it were {counts}", *notes]
    return changed_in_place(before, graph, graph.model, "fuse_lora", details=tuple(fused), notes=tuple(notes))


@PASSES.register("lora", "insert_lora_adapter", "insert_lora")
@options_of(insert_lora)
def lora_pass(graph: ModelGraph, options: Mapping[str, Any]) -> tuple[ModelGraph, Result]:
    """Give layers low-rank adapters, which train in place of weights.

    The words of MASE and peft, `lora_alpha`, `lora_dropout` and `r`, are understood, too.
    """
    known = ("pattern", "by", "rank", "alpha", "dropout", "trainable", "seed")
    given: dict[str, Any] = {}
    for key, value in options.items():
        name = ALIASES.get(key, key)
        if name not in known:
            raise ConfigError(unknown("option", str(key), [*known, *ALIASES], where="lora"))
        if name in given:
            raise ConfigError(f"lora: {name} is given twice, as {key} as well")
        given[name] = value
    return insert_lora(graph, **given)


@PASSES.register("fuse_lora", "fuse_lora_weights")
def fuse_pass(graph: ModelGraph, options: Mapping[str, Any]) -> tuple[ModelGraph, Result]:
    """Add adapters to the weights, and take them off."""
    if options:
        raise ConfigError(f"fuse_lora: option {next(iter(options))!r}: it has none")
    return fuse_lora(graph)


def _settings(rank: Any, alpha: Any, dropout: Any, trainable: Any) -> adapters.Settings:
    if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
        raise ConfigError(f"rank: must be a whole number from 1 on, got {rank!r}")
    if isinstance(alpha, bool) or not isinstance(alpha, (int, float)) or not 0 < alpha < float("inf"):
        raise ConfigError(f"alpha: must be a number above 0, got {alpha!r}")
    if isinstance(dropout, bool) or not isinstance(dropout, (int, float)) or not 0 <= dropout < 1:
        raise ConfigError(f"dropout: must be a probability below 1, got {dropout!r}")
    patterns = (trainable,) if isinstance(trainable, str) else tuple(map(str, trainable))
    return adapters.Settings(rank, float(alpha), float(dropout), patterns)


def _layers(model: nn.Module, patterns: list[str], by: str) -> tuple[dict[str, type[adapters.Adapter]], list[str]]:
    """Path of each layer -> the class of its adapter, and what is left out."""
    if not patterns:
        raise ConfigError("lora: needs a pattern, such as linear")
    found: dict[str, type[adapters.Adapter]] = {}
    left_out: dict[str, ConfigError] = {}
    for pattern in patterns:
        matched = select(model, pattern, by)
        for path in matched:
            if adapters.adapter_of(model.get_submodule(path)) is not None:
                raise ConfigError(f"{path!r} has an adapter; fuse_lora first")
            try:
                found[path] = _kind(model, path, by)
            except ConfigError as error:
                left_out[path] = error
        if not any(path in found for path in matched):
            raise left_out[matched[0]]
    return found, [str(error) for error in left_out.values()]


def _kind(model: nn.Module, path: str, by: str) -> type[adapters.Adapter]:
    layer = model.get_submodule(path)
    kind = adapters.kind_of(path, layer, model.get_submodule(path.rpartition(".")[0]) if path else None)
    other = _shares_weight(model, layer) if way_of(by) == "type" else None
    if other is not None:
        raise ConfigError(f"{path!r} shares its weight with {other!r}, so that no adapter could be fused; left out")
    return kind


def _shares_weight(model: nn.Module, layer: Any) -> Optional[str]:
    """The path of another module with the weight of `layer`."""
    for path, module in model.named_modules():
        if module is not layer and any(each is layer.weight for each in module._parameters.values()):
            return path
    return None


def _check_weight(graph: ModelGraph, path: str, layer: Any) -> None:
    other = _shares_weight(graph.model, layer)
    name = f"{path}.weight".lstrip(".")
    if name in used_besides(graph, path):
        raise ConfigError(f"{path!r}: the model uses {name} besides, without the adapter, and fusing would change that")
    if other is not None:
        raise ConfigError(
            f"{path!r} shares its weight with {other!r}, which fusing would change, too; give one of them a copy first"
        )
    if any(name == "weight" for name, _ in masks.masks_of(layer)):
        raise ConfigError(
            f"{path!r} is pruned, and its adapter is not: fused, it would be; call prune.remove first, and prune again "
            "afterwards"
        )


def _norm(value: Tensor) -> float:
    return float(value.detach().float().norm())


def _counts(model: nn.Module) -> str:
    return f"{trainable_count(model)} of {sum(parameter.numel() for parameter in model.parameters())}"
