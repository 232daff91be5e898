"""Multiply-accumulates, FLOPs and BitOPs of each node, at the sizes with which a graph was traced.

    FLOPs = 2 MACs        of matrix products and convolutions; additions, norms and activations are not counted
    BitOPs = MACs * bits of one operand * bits of the other        32 bits where nothing is quantized

Torch's own counter (`torch.utils.flop_counter`) counts what each node runs.

>>> import torch
>>> from fairseq.graph.tracing import trace
>>> graph = trace(nn.Sequential(nn.Linear(16, 8), nn.ReLU()), {"input": torch.randn(4, 16)})
>>> [(row.name, row.macs, row.flops, row.bitops) for row in count(graph) if row.macs]
[('_0', 512, 1024, 524288)]
"""

from dataclasses import dataclass
from typing import Any, Optional

import torch
from torch import fx, nn
from torch.utils.flop_counter import FlopCounterMode

from fairseq.errors import ConfigError
from fairseq.graph.adapters import adapter_of, named_adapters
from fairseq.graph.equality import unchanged
from fairseq.graph.model_graph import ModelGraph
from fairseq.graph.quantized_call import QuantizedCall
from fairseq.graph.tracing import example_inputs
from fairseq.quantization.plan.targets import target_of
from fairseq.quantization.quantized_model import get_quantization
from fairseq.quantization.spec import GRADIENT

FULL_BITS = 32


@dataclass(frozen=True)
class NodeCost:
    """One node's. `bits` are those of both operands; None where products of one node differ in theirs.

    Attributes:
        macs, flops: multiply-accumulates, and two operations for each.
        bitops: at the plan's bits of evaluation; of a node with products of different bits, at the most of them.
    """

    name: str
    type: str
    macs: int
    bits: tuple[int, int]

    @property
    def flops(self) -> int:
        return 2 * self.macs

    @property
    def bitops(self) -> int:
        return self.macs * self.bits[0] * self.bits[1]


def count(graph: ModelGraph) -> list[NodeCost]:
    """The cost of every node, in order.

    Raises:
        ConfigError: a graph without shapes.
    """
    if graph.inputs is None:
        raise ConfigError(
            "operations cannot be counted in a graph without shapes; trace it with inputs, such as "
            f"{example_inputs(graph.model)}"
        )
    counter = _Counter(graph.module)
    with unchanged(graph.model), torch.random.fork_rng(), torch.no_grad():
        counter.run(*graph.inputs.values())
    bits = operand_bits(graph.model)
    bits.update((path, (FULL_BITS, FULL_BITS)) for path, _, _ in named_adapters(graph.model))
    return [
        NodeCost(info.name, info.type, counter.macs[info.name], bits.get(_path(node), (FULL_BITS, FULL_BITS)))
        for node, info in zip(graph.graph.nodes, graph.nodes, strict=True)
    ]


def _path(node: fx.Node) -> str:
    return node.target.module.path if isinstance(node.target, QuantizedCall) else str(node.target)


class _Counter(fx.Interpreter):
    """Runs a graph and counts what each node multiplies."""

    def __init__(self, module: fx.GraphModule):
        super().__init__(module, garbage_collect_values=True)
        self.macs: dict[str, int] = {}

    def run_node(self, n: fx.Node) -> Any:
        with FlopCounterMode(display=False) as counted:
            value = super().run_node(n)
        own = self._own_count(n, value)
        self.macs[n.name] = counted.get_total_flops() // 2 if own is None else own
        return value

    def _own_count(self, n: fx.Node, value: Any) -> Optional[int]:
        """Where torch's counter sees nothing: in integer products, recurrent layers, attention on a CPU."""
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        if n.op == "call_module":
            target = target_of(str(n.target), self.fetch_attr(str(n.target)))
            product = None if target is None else target.unquantized_product((*args, *kwargs.values()), value)
            adapter = adapter_of(self.fetch_attr(str(n.target)))
            return None if product is None else product.macs + (0 if adapter is None else adapter.macs(value))
        if getattr(n.target, "__name__", "") == "scaled_dot_product_attention":
            query, key = (
                args[place] if len(args) > place else kwargs[name] for place, name in ((0, "query"), (1, "key"))
            )
            return query.shape[:-1].numel() * key.shape[-2] * (query.shape[-1] + value.shape[-1])  # QK^T and PV
        return None


def operand_bits(model: nn.Module) -> dict[str, tuple[int, int]]:
    """Path of a module -> bits of its product's operands in evaluation."""
    quantization = get_quantization(model)
    if quantization is None:
        return {}
    operands: dict[str, list[int]] = {}
    for row in quantization.plan.rows:
        if row.role == GRADIENT or row.product is None:
            continue
        bits: Optional[int] = quantization.plan.bits(row.quantizer, quantization.config.eval_bits)
        operands.setdefault(row.product, []).append(bits or FULL_BITS)
    products = {path: (bits[0], bits[1]) for path, bits in operands.items() if len(bits) > 1}
    found: dict[str, tuple[int, int]] = {}
    for path, pair in products.items():
        found[path] = pair
        owner = path.rpartition(".")[0]
        if owner:  # a layer with several products is one node
            other = found.get(owner, (0, 0))
            found[owner] = (max(pair[0], other[0]), max(pair[1], other[1]))
    return found
