"""An ONNX graph that is built node by node.

    graph = Graph(opset=21)
    y = graph.add("MatMul", x, graph.constant("fc1.weight", weight))

Values are known by name. Names of constants are those of the parameters; a small constant that is asked for twice is
stored once.

>>> import pytest
>>> _ = pytest.importorskip("onnx")
>>> graph = Graph(opset=21)
>>> graph.add("Add", "x", graph.number(1.0)), graph.add("Mul", "x", graph.number(1.0), name="y")
('Add_1', 'y')
>>> [node.op_type for node in graph.nodes], list(graph.constants)
(['Add', 'Mul'], ['float32_1.0'])
"""

from collections import Counter
from typing import Any, Optional

import numpy as np
import torch
from torch import Tensor

from fairseq.errors import ConfigError

MIN_OPSET = 17  # the first with LayerNormalization
FULL_OPSET = 21  # the first with types of 4 and 16 bits, and with blocks, in QuantizeLinear and DequantizeLinear


class Graph:
    """Nodes and constants of a model under way.

    Args:
        opset: version of ONNX's operators.

    Raises:
        ConfigError: the onnx package is missing or does not know the version, or the version is too old.
    """

    def __init__(self, opset: int):
        try:
            import onnx
        except ImportError:
            raise ConfigError("ONNX files need the package onnx: pip install onnx onnxruntime") from None
        newest = onnx.defs.onnx_opset_version()
        if not MIN_OPSET <= opset <= newest:
            raise ConfigError(f"--opset {opset}: versions {MIN_OPSET} to {newest} can be written")
        self.onnx, self.opset = onnx, opset
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        self._count: Counter[str] = Counter()

    def needs(self, what: str) -> None:
        """ConfigError where `what` is not in the opset."""
        if self.opset < FULL_OPSET:
            raise ConfigError(f"{what} is not in ONNX opset {self.opset}; use --opset {FULL_OPSET}")

    def add(self, kind: str, *inputs: str, name: Optional[str] = None, **attributes: Any) -> str:
        """A node with one result, whose name is returned: `name`, or one made up."""
        self._count[kind] += 1
        name = name or f"{kind}_{self._count[kind]}"
        self.nodes.append(self.onnx.helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, name: str, value: Tensor) -> str:
        """A constant called `name`."""
        array = value.detach().cpu().contiguous().numpy()
        self.constants[name] = self.onnx.numpy_helper.from_array(array, name)
        return name

    def number(self, value: float, dtype: torch.dtype = torch.float32) -> str:
        """A scalar constant."""
        name = f"{str(dtype).removeprefix('torch.')}_{value!r}"
        return name if name in self.constants else self.constant(name, torch.tensor(value, dtype=dtype))

    def integers(self, *values: int) -> str:
        """A vector of int64: shapes and axes."""
        name = "integers_" + "_".join(map(str, values))
        return name if name in self.constants else self.constant(name, torch.tensor(values, dtype=torch.int64))

    def codes(self, name: str, values: Tensor, kind: "CodeType") -> str:
        """A constant of whole numbers, stored as `kind`."""
        array = values.cpu().numpy()
        if kind.bits == 4:  # two codes per byte, the first in the lower 4 bits
            flat = array.astype(np.uint8).reshape(-1) & 15
            flat = np.append(flat, np.zeros(flat.size % 2, np.uint8))
            data = flat[::2] | flat[1::2] << 4
        else:
            data = array.astype(f"{'int' if kind.signed else 'uint'}{kind.bits}")
        self.constants[name] = self.onnx.helper.make_tensor(
            name, self._number_of(kind), tuple(values.shape), data.tobytes(), raw=True
        )
        return name

    def _number_of(self, kind: "CodeType") -> int:
        number: int = self.onnx.TensorProto.DataType.Value(kind.name)
        return number


class CodeType:
    """An integer type of ONNX: the smallest that holds codes from `low` to `high`.

    >>> CodeType(-7, 7).name, CodeType(0, 255).name, CodeType(-7, 7, least=8).name
    ('INT4', 'UINT8', 'INT8')
    """

    def __init__(self, low: int, high: int, least: int = 4):
        self.signed = low < 0
        needed = (1 + int(max(-low - 1, high)).bit_length()) if self.signed else int(high).bit_length()
        self.bits = next(bits for bits in (4, 8, 16) if bits >= max(needed, least))
        self.low = -(2 ** (self.bits - 1)) if self.signed else 0
        self.high = self.low + 2**self.bits - 1

    @property
    def name(self) -> str:
        """As ONNX calls it."""
        return f"{'INT' if self.signed else 'UINT'}{self.bits}"
