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
LEAST_OPSET = 25  # the first with types of 2 bits there


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

    def needs(self, what: str, opset: int = FULL_OPSET) -> None:
        """ConfigError where `what` is not in the opset."""
        if self.opset < opset:
            raise ConfigError(f"{what} is not in ONNX opset {self.opset}; use --opset {opset}")

    @property
    def least_bits(self) -> int:
        """Of a whole number."""
        return 2 if self.opset >= LEAST_OPSET else 4 if self.opset >= FULL_OPSET else 8

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
        return self.raw(name, values.cpu().numpy().astype(kind.numpy), kind.name, kind.bits)

    def raw(self, name: str, array: Any, kind: str, bits: int) -> str:
        """A constant of the type called `kind`, from an array with a number of `bits` bits in the lowest of each."""
        data = array
        if bits < 8:  # several to the byte, the first one lowest
            per_byte = 8 // bits
            flat = array.astype(np.uint8).reshape(-1) & (2**bits - 1)
            flat = np.append(flat, np.zeros(-flat.size % per_byte, np.uint8)).reshape(-1, per_byte)
            data = np.bitwise_or.reduce(flat << (bits * np.arange(per_byte, dtype=np.uint8)), axis=1)
        number = self.onnx.TensorProto.DataType.Value(kind)
        self.constants[name] = self.onnx.helper.make_tensor(name, number, array.shape, data.tobytes(), raw=True)
        return name


class CodeType:
    """An integer type of ONNX: the smallest that holds codes from `low` to `high`.

    >>> CodeType(-7, 7).name, CodeType(0, 255).name, CodeType(-7, 7, least=8).name
    ('INT4', 'UINT8', 'INT8')
    """

    def __init__(self, low: int, high: int, least: int = 4):
        self.signed = low < 0
        needed = (1 + int(max(-low - 1, high)).bit_length()) if self.signed else int(high).bit_length()
        self.bits = next(bits for bits in (2, 4, 8, 16) if bits >= max(needed, least))
        self.low = -(2 ** (self.bits - 1)) if self.signed else 0
        self.high = self.low + 2**self.bits - 1

    @property
    def name(self) -> str:
        """As ONNX calls it."""
        return f"{'INT' if self.signed else 'UINT'}{self.bits}"

    @property
    def numpy(self) -> str:
        """A type of numpy that holds the codes."""
        return f"{'int' if self.signed else 'uint'}{max(self.bits, 8)}"
