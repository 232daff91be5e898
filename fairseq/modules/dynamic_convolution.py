"""Dynamic convolution (Wu et al., arXiv:1901.10430): a lightweight convolution whose kernels each step computes.

    w[t] = W x[t] (softmax over the kernel),   y[t, c] = sum_k w[t, head(c), k] x[t + k - padding_l, c]

>>> conv = DynamicConv(4, kernel_size=3, padding_l=2, num_heads=2, weight_softmax=True)
>>> conv(torch.zeros(5, 2, 4)).shape
torch.Size([5, 2, 4])
"""

from typing import Any, Optional

import torch
from torch import Tensor, nn

from fairseq.incremental_decoding_utils import IncrementalState
from fairseq.modules.fairseq_dropout import FairseqDropout
from fairseq.modules.lightweight_convolution import WindowedConv
from fairseq.modules.matmul import MatMul
from fairseq.modules.unfold import unfold1d
from fairseq.quantization.bits import bits_for


def DynamicConv(input_size: int, *args: Any, **kwargs: Any) -> "DynamicConv1dTBC":
    """See `DynamicConv1dTBC`, whose arguments it takes."""
    return DynamicConv1dTBC(input_size, *args, **kwargs)


def Linear(in_features: int, out_features: int, bias: bool = True) -> nn.Linear:
    layer = nn.Linear(in_features, out_features, bias)
    nn.init.xavier_uniform_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


class DynamicConv1dTBC(WindowedConv):
    """(T, B, C) to the same shape; with `incremental_state` one step (1, B, C), and `padding_l` is `kernel_size - 1`.

    Args:
        padding_l: steps before the first that the kernel begins at.
        renorm_padding: padding gets no share of the softmax.
        bias: of the layer that computes kernels; `conv_bias` is added to the result.
        query_size: width of what kernels are computed from; default: the input.
        in_proj: the input is projected by the same layer.
    """

    def __init__(
        self,
        input_size: int,
        kernel_size: int = 1,
        padding_l: Optional[int] = None,
        num_heads: int = 1,
        weight_dropout: float = 0.0,
        weight_softmax: bool = False,
        renorm_padding: bool = False,
        bias: bool = False,
        conv_bias: bool = False,
        query_size: Optional[int] = None,
        in_proj: bool = False,
    ):
        super().__init__()
        self.input_size, self.kernel_size, self.padding_l, self.num_heads = (
            input_size,
            kernel_size,
            padding_l,
            num_heads,
        )
        self.query_size = input_size if query_size is None else query_size
        self.weight_softmax, self.renorm_padding = weight_softmax, renorm_padding
        self.weight_dropout_module = FairseqDropout(weight_dropout, module_name=type(self).__name__)
        kernels = num_heads * kernel_size
        self.weight_linear = Linear(self.query_size, kernels + (input_size if in_proj else 0), bias=bias or in_proj)
        self.adds_bias = conv_bias
        self.conv_bias = self._bias(input_size, conv_bias)
        self.product = MatMul("input", "kernel")
        self.reset_parameters()

    @staticmethod
    def _bias(input_size: int, conv_bias: bool) -> Optional[nn.Parameter]:
        return nn.Parameter(torch.empty(input_size)) if conv_bias else None

    @property
    def in_proj(self) -> bool:
        return self.weight_linear.out_features == self.input_size + self.num_heads * self.kernel_size

    def reset_parameters(self) -> None:
        self.weight_linear.reset_parameters()
        if self.conv_bias is not None:
            nn.init.zeros_(self.conv_bias)

    def forward(
        self,
        x: Tensor,
        incremental_state: Optional[IncrementalState] = None,
        query: Optional[Tensor] = None,
        unfold: Optional[bool] = None,
        num_bits: Optional[int] = None,
    ) -> Tensor:
        """`unfold` is fairseq's choice between two forms of the same computation; there is one here."""
        kernels = self.weight_linear(x if query is None else query, **bits_for(self.weight_linear, num_bits))
        if self.in_proj:
            x, kernels = kernels.split([self.input_size, self.num_heads * self.kernel_size], -1)
        kernels = kernels.unflatten(2, (self.num_heads, -1))  # (T, B, H, K)
        windows = self._windows(x, incremental_state)
        if self.weight_softmax and self.renorm_padding:
            kernels = kernels + self._before_the_first(kernels, windows, incremental_state)
        if self.weight_softmax:
            kernels = kernels.softmax(-1, dtype=torch.float32).type_as(kernels)
        kernels = self.weight_dropout_module(kernels)
        output = self._convolve(windows, kernels, num_bits)
        return output + self.conv_bias if self.adds_bias and self.conv_bias is not None else output

    def _before_the_first(self, kernels: Tensor, windows: Tensor, incremental_state: Any) -> Tensor:
        """-inf at the places of windows that are padding, 0 elsewhere."""
        if incremental_state is None:
            there = unfold1d(kernels.new_ones(kernels.size(0), 1, 1), self.kernel_size, self.padding_l or 0)
        else:
            kept = self._get_input_buffer(incremental_state)
            number = 1 if kept is None else min(self.kernel_size, self._seen(incremental_state))
            there = (torch.arange(self.kernel_size, device=kernels.device) >= self.kernel_size - number).view(
                1, 1, 1, -1
            )
        return torch.zeros_like(there, dtype=kernels.dtype).masked_fill(there == 0, float("-inf"))

    def _windows(self, x: Tensor, incremental_state: Optional[IncrementalState]) -> Tensor:
        if incremental_state is not None:
            steps = x.new_tensor([self._seen(incremental_state) + 1])
            self.set_incremental_state(incremental_state, "steps", {"seen": steps})
        return super()._windows(x, incremental_state)

    def _seen(self, incremental_state: IncrementalState) -> int:
        state: Any = self.get_incremental_state(incremental_state, "steps")
        return 0 if state is None else int(state["seen"])

    def extra_repr(self) -> str:
        return (
            f"{self.input_size}, kernel_size={self.kernel_size}, padding_l={self.padding_l}, "
            f"num_heads={self.num_heads}, weight_softmax={self.weight_softmax}, "
            f"conv_bias={self.conv_bias is not None}, renorm_padding={self.renorm_padding}, in_proj={self.in_proj}"
        )


class DynamicConv_scripatable(DynamicConv1dTBC):
    """The same, as models have it, under fairseq's name: a bias (1, 1, C) is always there, also where none is added,
    since it is a key of checkpoints."""

    @staticmethod
    def _bias(input_size: int, conv_bias: bool) -> Optional[nn.Parameter]:
        return nn.Parameter(torch.empty(1, 1, input_size))
