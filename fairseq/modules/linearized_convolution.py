"""A causal convolution that decodes step by step: it keeps the inputs under its kernel and multiplies once."""

from typing import Any, Optional

import torch
from torch import Tensor

from fairseq.incremental_decoding_utils import FairseqIncrementalState, IncrementalState
from fairseq.modules.conv_tbc import ConvTBC


class LinearizedConvolution(FairseqIncrementalState, ConvTBC):
    """ConvTBC whose padding, `kernel_size - 1` on the left, is cut off on the right again.

    The same in two forms: `(T, B, C)` at once; with `incremental_state`, `(B, 1, C)` of one step.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: Any, **kwargs: Any):
        super().__init__(in_channels, out_channels, kernel_size, **kwargs)

    def forward(  # type: ignore[override]  # what it keeps comes second, as in fairseq
        self, input: Tensor, incremental_state: Optional[IncrementalState] = None, num_bits: Optional[int] = None
    ) -> Tensor:
        if incremental_state is None:
            output = self.conv_tbc(input, num_bits)
            cut = self.padding[0] if self.kernel_size[0] > 1 else 0
            return output[: output.size(0) - cut]
        window = self._window(input, incremental_state)  # (B, K, C)
        return self.product(window.flatten(1), num_bits).unsqueeze(1)

    def _window(self, input: Tensor, incremental_state: IncrementalState) -> Tensor:
        """The inputs under the kernel, this step's last; kept for the next step."""
        kept = self._get_input_buffer(incremental_state)
        if kept is None:
            kept = input.new_zeros(input.size(0), self.kernel_size[0], self.in_channels)
        window = torch.cat([kept[:, 1:], input[:, -1:]], 1)
        self._set_input_buffer(incremental_state, window)
        return window

    def reorder_incremental_state(self, incremental_state: Optional[IncrementalState], new_order: Tensor) -> None:
        kept = self._get_input_buffer(incremental_state)
        if kept is not None:
            self._set_input_buffer(incremental_state, kept.index_select(0, new_order))

    def _get_input_buffer(self, incremental_state: Optional[IncrementalState]) -> Any:
        state: Any = self.get_incremental_state(incremental_state, "input_buffer")
        return None if state is None else state["inputs"]

    def _set_input_buffer(self, incremental_state: Optional[IncrementalState], new_buffer: Tensor) -> Any:
        return self.set_incremental_state(incremental_state, "input_buffer", {"inputs": new_buffer})
