"""What differs between two graphs: nodes matched by name, and how many of each type have changed.

A module's name is its path, so that a node keeps it when others come or go; a function's is that of its node. A module
is changed where its class differs, the formats and bits of its quantizers, how many of its weights are pruned, or its
adapter. Values of weights do not count as a change; `other_weights` names the modules that differ in them.

>>> import torch
>>> from fairseq.graph.tracing import trace
>>> from fairseq.quantization import quantize_model
>>> def build():
...     return nn.Sequential(nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 5), nn.ReLU()).eval()
>>> rows = diff(trace(build()), trace(quantize_model(build(), "w8")))
>>> [(row.name, row.before, row.after) for row in rows if row.changed]
[('2', 'Linear', 'QLinear (weight: 8 bits symmetric)')]
>>> [(line["type"], line["total"], line["changed"]) for line in histogram(rows)]
[('BatchNorm1d', 1, 0), ('Linear', 1, 1), ('ReLU', 2, 0)]
"""

import itertools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Optional

import torch
from torch import Tensor, fx, nn

from fairseq.graph.adapters import adapter_parts
from fairseq.graph.input_pruning import pruning_parts
from fairseq.graph.masks import pruned_parts
from fairseq.graph.model_graph import ModelGraph
from fairseq.graph.quantized_call import QuantizedCall
from fairseq.quantization.plan.targets import target_of
from fairseq.quantization.quantized_model import Quantization, get_quantization

INPUTS_AND_OUTPUT = ("placeholder", "get_attr", "output")


@dataclass(frozen=True)
class DiffRow:
    """One node of either graph.

    Attributes:
        name: path of a module, or name of the node.
        op: its kind.
        before, after: its type, with what is quantized; None where a graph has no such node.
    """

    name: str
    op: str
    before: Optional[str]
    after: Optional[str]

    @property
    def changed(self) -> bool:
        return self.before != self.after


Described = dict[str, tuple[str, str]]  # name -> kind, and type with what is quantized or pruned


def diff(before: ModelGraph, after: ModelGraph) -> list[DiffRow]:
    """Rows for all nodes of both graphs but inputs and outputs: those of `before` in order, then what is new."""
    return rows_between(described(before), described(after))


def other_weights(before: ModelGraph, after: ModelGraph) -> tuple[list[str], int]:
    """Modules that both graphs call and whose parameters or buffers of one name differ in shape or values; and how
    many modules have any to compare.
    """
    own = {str(node.target) for node in after.graph.nodes if node.op == "call_module"}
    differing, compared = [], 0
    for path in dict.fromkeys(str(node.target) for node in before.graph.nodes if node.op == "call_module"):
        if path not in own:
            continue
        old, new = _values(before.model.get_submodule(path)), _values(after.model.get_submodule(path))
        pairs = [(old[name].cpu(), new[name].cpu()) for name in old if name in new]
        compared += bool(pairs)
        if not all(torch.equal(one, other) for one, other in pairs):
            differing.append(path)
    return differing, compared


def _values(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in itertools.chain(module.named_parameters(), module.named_buffers())}


def rows_between(old: Described, new: Described) -> list[DiffRow]:
    """The rows of `diff`, for a model that has been changed in place since `old` was written down."""
    rows = []
    for name, (op, kind) in old.items():
        rows.append(DiffRow(name, op, kind, new[name][1] if name in new else None))
    rows += [DiffRow(name, op, None, kind) for name, (op, kind) in new.items() if name not in old]
    return rows


def histogram(rows: list[DiffRow]) -> list[dict[str, Any]]:
    """By the type before (of new nodes: the type): how many nodes there are, changed and unchanged ones."""
    total, changed = Counter[str](), Counter[str]()
    for row in rows:
        kind = _class(row.before if row.before is not None else row.after or "")
        total[kind] += 1
        changed[kind] += row.changed
    return [
        {"type": kind, "total": total[kind], "changed": changed[kind], "unchanged": total[kind] - changed[kind]}
        for kind in sorted(total)
    ]


def _class(text: str) -> str:
    return text.partition(" ")[0]


def described(graph: ModelGraph) -> Described:
    """What nodes are now. A module that is called again is `path#2`."""
    found: Described = {}
    calls = Counter[str]()
    for node in graph.graph.nodes:
        if node.op in INPUTS_AND_OUTPUT:
            continue
        name = node.name
        if node.op == "call_module":
            name = str(node.target)
            calls[name] += 1
            name = f"{name}#{calls[name]}" if calls[name] > 1 else name
        found[name] = node.op, _described(graph.model, node)
    return found


def _described(model: nn.Module, node: fx.Node) -> str:
    kind: str = node.meta["info"].type
    if isinstance(node.target, QuantizedCall):
        parts = function_parts(get_quantization(model), node.target.module.path)
        return f"{kind} ({', '.join(parts)})" if parts else kind
    if node.op != "call_module":
        return kind
    path = str(node.target)
    module = model.get_submodule(path)
    quantized = quantized_parts(get_quantization(model), path, module)
    parts = [*quantized, *pruned_parts(module), *adapter_parts(module), *pruning_parts(module)]
    return f"{kind} ({', '.join(parts)})" if parts else kind


def quantized_parts(quantization: Optional[Quantization], path: str, module: nn.Module) -> list[str]:
    """Bits and formats of a module's quantizers, in words."""
    target = None if quantization is None else target_of(path, module)
    if quantization is None or target is None:
        return []
    return _parts(quantization, target.roles)


def function_parts(quantization: Optional[Quantization], path: str) -> list[str]:
    """The same of a call of a function."""
    if quantization is None:
        return []
    rows = (row.quantizer for row in quantization.plan.rows)
    return _parts(quantization, [quantizer for quantizer in rows if quantizer.rpartition(".")[0] == path])


def _parts(quantization: Quantization, quantizers: Iterable[str]) -> list[str]:
    parts = []
    for quantizer in quantizers:
        if quantizer in quantization.plan and quantization.plan[quantizer].active:
            bits = quantization.plan.bits(quantizer, quantization.config.eval_bits)
            number_format = quantization.plan[quantizer].spec.describe()["format"]
            parts.append(f"{quantizer.rpartition('.')[2]}: {bits} bits {number_format}")
    return parts
