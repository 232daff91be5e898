"""One number for what a model is: equal numbers mean equal weights, nodes, formats and ranges, bit for bit.

>>> import torch
>>> from torch import nn
>>> from fairseq.graph.tracing import trace
>>> model = nn.Linear(2, 2)
>>> first = fingerprint(trace(model))
>>> first == fingerprint(trace(model)), model.weight.data.mul_(2) is None, first == fingerprint(trace(model))
(True, False, False)
"""

import hashlib
import json
from typing import Any

from torch import Tensor, uint8

from fairseq.graph.diff import described
from fairseq.graph.model_graph import ModelGraph
from fairseq.graph.weights import weights_of
from fairseq.quantization.metadata_state import quantizer_state
from fairseq.quantization.quantized_model import get_quantization


def fingerprint(graph: ModelGraph) -> str:
    """64 hexadecimal digits."""
    found = hashlib.sha256()
    quantization = get_quantization(graph.model)
    plan = [] if quantization is None else quantization.plan.as_dicts()
    found.update(json.dumps([described(graph), plan], sort_keys=True, default=str).encode())
    tensors = {**weights_of(graph.model), **({} if quantization is None else quantizer_state(graph.model))}
    for key in sorted(tensors):
        value: Any = tensors[key]
        if isinstance(value, Tensor):
            plain = value.detach().cpu().contiguous().reshape(-1)
            found.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
            found.update(plain.view(uint8).numpy().tobytes())
    return found.hexdigest()
