"""How many matrix products and convolutions a graph of ours has, and one of torch.export."""

from collections import Counter
from typing import Any

import torch
from torch import nn

from fairseq.graph.model_graph import ModelGraph

PRODUCTS = ("linear", "matmul", "mm", "bmm", "addmm", "baddbmm", "conv2d", "convolution",
            "scaled_dot_product_attention", "lstm")  # fmt: skip
INSIDE = {"Linear": 1, "QLinear": 1, "Projection": 1, "Conv1D": 1, "Conv2d": 1, "MultiheadAttention": 3, "LSTM": 1,
          "QMatmul": 1, "MatMul": 1}  # fmt: skip


def products(graph: ModelGraph) -> int:
    modules = sum(INSIDE.get(info.type, 0) for info in graph.nodes if info.kind == "call_module")
    functions = [info.type.strip("_") for info in graph.nodes if info.kind in ("call_function", "call_method")]
    return modules + sum(name in PRODUCTS for name in functions)


def exported_products(model: nn.Module, inputs: dict[str, Any]) -> int:
    exported = torch.export.export(model, (), kwargs=inputs, strict=False)
    names = Counter(getattr(node.target, "__name__", "").partition(".")[0] for node in exported.graph.nodes)
    return sum(names[name] for name in PRODUCTS)
