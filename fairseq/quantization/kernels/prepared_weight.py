"""A weight's codes in the layouts in which the products of a linear layer read them.

    y = x w^T        reads w by rows of N: `weight_for_forward` (gemm.cpp) or `forward_operand` (oneDNN)
    dL/dx = g w      reads w by columns: `weight_for_grad_input` or `backward_operand`

Shapes: K input channels, N output channels; scale, zero point and offset (N, 1) or (1, 1).
"""

from typing import Optional

import torch
from torch import Tensor

from fairseq.native.compiled import is_tracing
from fairseq.quantization.kernels import gemm
from fairseq.quantization.kernels.codes import QuantizedMatrix, decode, row_sums, signed, transposed_copy
from fairseq.quantization.kernels.gemm import CodeQParams, OperandQParams, PackedOperand
from fairseq.quantization.kernels.torch_gemm import fuses, onednn_operand

MIN_PACKED_ELEMENTS = 2**14  # of a weight; padding would outweigh smaller ones


class PreparedWeight:
    """A weight's codes (N, K) in int8, and the layouts that its products need, each made at its first use.

    Args:
        codes: scale, zero point and offset are (N, 1) or (1, 1).
    """

    def __init__(self, codes: QuantizedMatrix):
        self._data: Optional[Tensor]
        self._data, self.zero_point = signed(codes)
        self.scale, self.offset, self.num_bits = codes.scale, codes.offset, codes.num_bits
        self.shape: tuple[int, int] = (codes.data.shape[0], codes.data.shape[1])
        self._centred: Optional[bool] = None
        self._forward: Optional[Tensor] = None  # as oneDNN takes it
        self._weight_for_forward: Optional[PackedOperand] = None  # as gemm.cpp takes it
        self._weight_for_grad_input: Optional[PackedOperand] = None
        self._operand_qparams: Optional[OperandQParams] = None
        self._sums: Optional[Tensor] = None

    @classmethod
    def of_rows(cls, data: Tensor, transposed: Tensor, scale: Tensor, num_bits: int) -> "PreparedWeight":
        """What `weights.encode_rows` returns, with its copy for the forward product."""
        made = cls._symmetric(scale, (data.shape[0], data.shape[1]), num_bits)
        made._data = data
        if made.fused:
            made._forward = onednn_operand(transposed)
        return made

    @classmethod
    def of_packed(
        cls, forward: PackedOperand, grad_input: PackedOperand, scale: Tensor, num_bits: int
    ) -> "PreparedWeight":
        """What `weights.encode_packed` returns."""
        made = cls._symmetric(scale, forward.shape, num_bits)
        made._weight_for_forward, made._weight_for_grad_input = forward, grad_input
        return made

    @classmethod
    def _symmetric(cls, scale: Tensor, shape: tuple[int, int], num_bits: int) -> "PreparedWeight":
        made = cls.__new__(cls)
        made.scale, made.offset, made.shape, made.num_bits = scale, None, shape, num_bits
        made.zero_point = torch.zeros_like(scale, dtype=torch.int32)
        made._centred = True
        made._data = made._forward = made._sums = None
        made._weight_for_forward = made._weight_for_grad_input = made._operand_qparams = None
        return made

    @property
    def data(self) -> Tensor:
        """int8 (N, K)."""
        if self._data is not None:
            return self._data
        if self._weight_for_forward is not None:
            return self._weight_for_forward.codes()
        assert self._forward is not None
        return self._forward.to_dense().t()

    def keep_one_copy(self) -> Tensor:
        """For weights that stay: drop (N, K) if forward products take another copy; returns the one that is left."""
        if self.shape[0] * self.shape[1] >= MIN_PACKED_ELEMENTS and gemm.is_preferred(self.scale.device):
            operand, self._data, self._weight_for_grad_input = self.weight_for_forward().data, None, None
        elif self.fused:
            operand, self._data = self.forward_operand(), None
        else:
            operand = self.data
        return operand

    @property
    def fused(self) -> bool:
        """Whether oneDNN's GEMM can rescale."""
        # tracing sees the codes themselves, not an opaque copy in oneDNN's layout
        return fuses(self.scale.device.type) and self.is_centred() and not is_tracing()

    def is_centred(self) -> bool:
        """Whether code 0 stands for the value 0."""
        if self._centred is None:
            self._centred = self.offset is None and not bool(self.zero_point.any())
        return self._centred

    def weight_for_forward(self) -> PackedOperand:
        """For `gemm.product` of x w^T."""
        if self._weight_for_forward is None:
            self._weight_for_forward = PackedOperand.of(self.data)
        return self._weight_for_forward

    def operand_qparams(self) -> OperandQParams:
        """Scales, zero points and sums of `weight_for_forward`."""
        if self._operand_qparams is None:
            self._operand_qparams = OperandQParams.of(
                CodeQParams(self.scale, self.zero_point, self.offset), self.weight_for_forward().sums
            )
        return self._operand_qparams

    def weight_for_grad_input(self) -> PackedOperand:
        """For `gemm.product` of g w."""
        if self._weight_for_grad_input is None:
            self._weight_for_grad_input = PackedOperand.of(self.data.t())
        return self._weight_for_grad_input

    def forward_operand(self) -> Tensor:
        """(K, N) for `scaled_product`."""
        if self._forward is None:
            self._forward = onednn_operand(transposed_copy(self.data))
        return self._forward

    def backward_operand(self) -> Tensor:
        """(N, K) for `scaled_product`; made at each call: that is faster than the memory is worth."""
        return onednn_operand(self.data)

    def sums(self) -> Tensor:
        """Sums over the input channels, int32 (N, 1)."""
        if self._sums is None:
            self._sums = row_sums(self.data)
        return self._sums

    def piece(self, columns: slice) -> "PreparedWeight":
        """Some input channels."""
        half = 2 ** (self.num_bits - 1)
        data = (self.data[:, columns].to(torch.int16) + half).to(torch.uint8)
        return PreparedWeight(QuantizedMatrix(data, self.scale, self.zero_point + half, self.offset, self.num_bits))

    def values(self) -> Tensor:
        """The values, fp32 (N, K)."""
        return decode(QuantizedMatrix(self.data, self.scale, self.zero_point, self.offset, self.num_bits))
