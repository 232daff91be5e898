"""`QuantizedWeight`: the codes of one weight, in the weight's place. See `fairseq.quantization.integer_weights`.

>>> from fairseq.quantization.products.packed_weight import pack_weight
>>> from fairseq.quantization.quantizer import WEIGHT, QuantizerSpec, Quantizer, QuantizationContext
>>> weight = torch.randn(8, 8)
>>> quantizer = Quantizer("w", WEIGHT, QuantizerSpec(), QuantizationContext())
>>> codes = QuantizedWeight(pack_weight(quantizer, weight, num_bits=4))
>>> codes.values().shape, codes.data.numel()
(torch.Size([8, 8]), 32)
"""

from collections.abc import Callable
from typing import Any, Optional

import torch
from torch import Tensor

from fairseq.errors import ConfigError, TrainingError
from fairseq.quantization.kernels.prepared_weight import PreparedWeight
from fairseq.quantization.metadata_state import MetadataState
from fairseq.quantization.products.packed_weight import PackedWeight


class QuantizedWeight(MetadataState):
    """The codes of one weight.

    Attributes:
        data: packed codes; after the first integer product int8, as the GEMM takes them.
        num_bits: of the codes.
        dtype: of the weight whose place they take.
    """

    data: Tensor

    def __init__(self, packed: PackedWeight, dtype: torch.dtype = torch.float32):
        super().__init__()
        self.num_bits, self.dtype = packed.num_bits, dtype
        self._packed = packed._replace(data=packed.data[:0], scales=(), zero_points=None)  # all but the tensors
        self._has_zeros = packed.zero_points is not None
        self._product: Optional[PreparedWeight] = None
        self.register_buffer("data", packed.data, persistent=False)
        for index, scale in enumerate(packed.scales):
            self.register_buffer(f"scale_{index}", scale, persistent=False)
        for index, zero in enumerate(packed.zero_points or ()):
            self.register_buffer(f"zero_point_{index}", zero, persistent=False)

    def packed(self) -> PackedWeight:
        """Codes, scales and zero points in their packed form."""
        scales, zeros = (
            tuple(tensor for name, tensor in self._buffers.items() if name.startswith(kind) and tensor is not None)
            for kind in ("scale_", "zero_point_")
        )
        packed = self._packed._replace(data=self.data, scales=scales, zero_points=zeros if self._has_zeros else None)
        if self._product is None:
            return packed
        codes = (self._product.data.to(torch.int16) + 2 ** (self.num_bits - 1)).to(torch.uint8)
        return packed.with_codes(codes)

    def values(self) -> Tensor:
        """The weight as a matrix, fp32; in memory it lies as that of the float weight: sums depend on it."""
        packed = self.packed()
        return packed.values() if packed.layout is None else packed.layout.matrix(packed.weight())

    def weight(self) -> Tensor:
        """The weight as the layer has it, fp32."""
        return self.packed().weight()

    def product(self) -> PreparedWeight:
        """For integer products."""
        if self._product is None:
            self._product = PreparedWeight(self.packed().codes())
            self.data = self._product.keep_one_copy()
        return self._product

    def check(self, path: str, num_bits: Optional[int], training: bool) -> None:
        """Raise where a call asks for what only the weight itself could give."""
        if training:
            raise TrainingError(
                f"{path}: integer weights cannot be trained; fairseq.quantization.restore_float_weights(model) makes "
                "parameters of them again"
            )
        if num_bits != self.num_bits:
            raise ConfigError(
                f"{path}: its weight is kept in {self.num_bits} bits, and the call asks for "
                f"{num_bits or 'full precision'}; load the checkpoint that was trained, without integer_weights"
            )

    def _fold(self) -> None:
        """Go back to packed codes, which can be moved, copied and pickled."""
        if self._product is not None:
            packed = self.packed()
            self._product, self.data = None, packed.data

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        self._fold()
        self.dtype = fn(torch.empty(0, dtype=self.dtype)).dtype
        return super()._apply(fn, recurse)

    def __getstate__(self) -> dict[str, Any]:
        self._fold()
        return self.__dict__.copy()

    def extra_repr(self) -> str:
        rows, columns = self.packed().shape
        return f"{rows}x{columns}, {self.num_bits} bits"
