"""Lightweight convolution (Wu et al., arXiv:1901.10430): each head has one kernel over time, shared by its channels.

    y[t, c] = sum_k w[head(c), k] x[t + k - padding_l, c]

>>> conv = LightweightConv(4, kernel_size=3, padding_l=2, num_heads=2, weight_softmax=True)
>>> conv(torch.zeros(5, 2, 4)).shape
torch.Size([5, 2, 4])
"""

from typing import Any, Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fairseq.incremental_decoding_utils import FairseqIncrementalState, IncrementalState
from fairseq.modules.fairseq_dropout import FairseqDropout
from fairseq.modules.matmul import MatMul
from fairseq.modules.unfold import unfold1d
from fairseq.quantization.bits import bits_for


def LightweightConv(
    input_size: int,
    kernel_size: int = 1,
    padding_l: Optional[int] = None,
    num_heads: int = 1,
    weight_dropout: float = 0.0,
    weight_softmax: bool = False,
    bias: bool = False,
) -> "LightweightConv1dTBC":
    return LightweightConv1dTBC(input_size, kernel_size, padding_l, num_heads, weight_dropout, weight_softmax, bias)


class WindowedConv(FairseqIncrementalState, nn.Module):
    """A convolution over (T, B, C) that keeps its last inputs in incremental decoding."""

    kernel_size: int
    padding_l: Optional[int]
    num_heads: int
    weight_dropout_module: FairseqDropout
    product: MatMul  # of windows and kernels

    def _convolve(self, windows: Tensor, kernels: Tensor, num_bits: Optional[int]) -> Tensor:
        """Windows (T, B, H, C/H, K) and kernels (T, B, H, K), or (H, K) for all steps -> (T, B, C)."""
        bits = bits_for(self.product, num_bits)
        if kernels.dim() == 4:
            return self.product(windows, kernels.unsqueeze(-1), **bits).flatten(2)  # (T, B, H, C/H, 1)
        by_head = windows.movedim(2, 0)  # (H, T, B, C/H, K)
        output = self.product(by_head.flatten(1, 3), kernels.unsqueeze(-1), **bits)  # (H, T*B*C/H, 1)
        return output.view(by_head.shape[:-1]).movedim(0, 2).flatten(2)

    def _windows(self, x: Tensor, incremental_state: Optional[IncrementalState]) -> Tensor:
        """(T, B, C) -> (T, B, H, C/H, K)."""
        if incremental_state is None:
            windows = unfold1d(x, self.kernel_size, self.padding_l or 0)
        else:
            kept = self._get_input_buffer(incremental_state)
            seen = x if kept is None else torch.cat([kept.to(x), x])
            if self.kernel_size > 1:
                self._set_input_buffer(incremental_state, seen[-self.kernel_size + 1 :])
            windows = F.pad(seen, (0, 0, 0, 0, max(0, self.kernel_size - seen.size(0)), 0))[-self.kernel_size :]
            windows = windows.permute(1, 2, 0).unsqueeze(0)  # (K, B, C) -> (1, B, C, K)
        return windows.unflatten(2, (self.num_heads, -1))

    def reorder_incremental_state(self, incremental_state: Optional[IncrementalState], new_order: Tensor) -> None:
        kept = self._get_input_buffer(incremental_state)
        if kept is not None:
            self._set_input_buffer(incremental_state, kept.index_select(1, new_order))

    def _get_input_buffer(self, incremental_state: Optional[IncrementalState]) -> Any:
        state: Any = self.get_incremental_state(incremental_state, "input_buffer")
        return None if state is None else state["inputs"]

    def _set_input_buffer(self, incremental_state: Optional[IncrementalState], new_buffer: Tensor) -> Any:
        return self.set_incremental_state(incremental_state, "input_buffer", {"inputs": new_buffer})


class LightweightConv1dTBC(WindowedConv):
    """(T, B, C) to the same shape; with `incremental_state` one step (1, B, C), and `padding_l` is `kernel_size - 1`.

    Args:
        padding_l: steps before the first that the kernel begins at.
        weight_softmax: the kernel's weights are a softmax.
    """

    def __init__(
        self,
        input_size: int,
        kernel_size: int = 1,
        padding_l: Optional[int] = None,
        num_heads: int = 1,
        weight_dropout: float = 0.0,
        weight_softmax: bool = False,
        bias: bool = False,
    ):
        super().__init__()
        self.input_size, self.kernel_size, self.padding_l = input_size, kernel_size, padding_l
        self.num_heads, self.weight_softmax = num_heads, weight_softmax
        self.weight_dropout_module = FairseqDropout(weight_dropout, module_name=type(self).__name__)
        self.weight = nn.Parameter(torch.empty(num_heads, 1, kernel_size))
        self.bias = nn.Parameter(torch.empty(input_size)) if bias else None
        self.product = MatMul("input", "kernel")
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.xavier_uniform_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(
        self,
        x: Tensor,
        incremental_state: Optional[IncrementalState] = None,
        unfold: bool = False,
        num_bits: Optional[int] = None,
    ) -> Tensor:
        """`unfold` is fairseq's choice between two forms of the same computation; there is one here."""
        weight = self.weight.view(self.num_heads, self.kernel_size)
        if self.weight_softmax:
            weight = weight.softmax(-1, dtype=torch.float32).type_as(weight)
        weight = self.weight_dropout_module(weight)
        output = self._convolve(self._windows(x, incremental_state), weight, num_bits)
        return output if self.bias is None else output + self.bias

    def extra_repr(self) -> str:
        return (
            f"{self.input_size}, kernel_size={self.kernel_size}, padding_l={self.padding_l}, "
            f"num_heads={self.num_heads}, weight_softmax={self.weight_softmax}, bias={self.bias is not None}"
        )


class LightweightConv1d(nn.Module):
    """The same over (B, C, T), with `padding` on both sides."""

    def __init__(
        self,
        input_size: int,
        kernel_size: int = 1,
        padding: int = 0,
        num_heads: int = 1,
        weight_softmax: bool = False,
        bias: bool = False,
        weight_dropout: float = 0.0,
    ):
        super().__init__()
        self.input_size, self.kernel_size, self.padding = input_size, kernel_size, padding
        self.num_heads, self.weight_softmax = num_heads, weight_softmax
        self.weight = nn.Parameter(torch.empty(num_heads, 1, kernel_size))
        self.bias = nn.Parameter(torch.empty(input_size)) if bias else None
        self.weight_dropout_module = FairseqDropout(weight_dropout, module_name=type(self).__name__)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.xavier_uniform_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        weight = self.weight.softmax(-1) if self.weight_softmax else self.weight
        # neighbouring channels have different heads here, unlike in the class above: checkpoints depend on it
        weight = self.weight_dropout_module(weight).repeat(self.input_size // self.num_heads, 1, 1)
        output = F.conv1d(input, weight, padding=self.padding, groups=self.input_size)
        return output if self.bias is None else output + self.bias.view(1, -1, 1)
