"""Convolutions that take `num_bits`: nn.Conv1d/2d/3d and nn.ConvTranspose1d/2d/3d behind quantizers.

Parameters, state-dict keys and arguments are those of torch's modules. `quantize_model` makes them from these; one that
is made directly has no quantizers and is a module of torch's.

>>> import torch
>>> layer = QConv2d(3, 8, kernel_size=3, padding="same")
>>> layer(torch.randn(1, 3, 5, 5), num_bits=4).shape, list(layer.state_dict())
(torch.Size([1, 8, 5, 5]), ['weight', 'bias'])
"""

from typing import Any, Optional

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from fairseq.quantization.products.convolution import ConvolutionQuantizers, Geometry


class _QConvolution(_ConvNd):
    quantizers: Optional[ConvolutionQuantizers]

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.quantizers = None

    def forward(self, input: Tensor, num_bits: Optional[int] = None) -> Tensor:
        """`input` (N, in_channels, *S) or (in_channels, *S) -> the same with out_channels."""
        if self.quantizers is None:
            return super().forward(input)  # type: ignore[misc, no-any-return]
        space = len(self.kernel_size)
        pad: Optional[tuple[list[int], str]] = None
        padding = (0,) * space
        sides: list[int] = self._reversed_padding_repeated_twice  # from the last axis on
        if self.padding_mode != "zeros":
            pad = (sides, self.padding_mode)
        elif self.padding == "same" and sides[::2] != sides[1::2]:
            pad = (sides, "constant")
        elif self.padding != "valid":
            padding = tuple(sides[::-2])
        geometry = Geometry(self.stride, padding, self.dilation, False, (0,) * space, self.groups)
        return _batched(self, input, geometry, pad, num_bits)


class _QTransposed(_ConvTransposeNd):
    quantizers: Optional[ConvolutionQuantizers]

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.quantizers = None

    def forward(self, input: Tensor, output_size: Optional[list[int]] = None, num_bits: Optional[int] = None) -> Tensor:
        """`input` (N, in_channels, *S) or (in_channels, *S) -> the same with out_channels; `output_size` as torch's."""
        if self.quantizers is None:
            return super().forward(input, output_size)  # type: ignore[misc, no-any-return]
        space = len(self.kernel_size)
        own: Any = self  # whose sizes are tuples, where torch's annotations say lists
        sizes = own.stride, own.padding, own.kernel_size
        output_padding = own._output_padding(input, output_size, *sizes, space, own.dilation)
        geometry = Geometry(self.stride, self.padding, self.dilation, True, tuple(output_padding), self.groups)  # type: ignore[arg-type]
        return _batched(self, input, geometry, None, num_bits)


def _batched(
    layer: Any, x: Tensor, geometry: Geometry, pad: Optional[tuple[list[int], str]], num_bits: Optional[int]
) -> Tensor:
    """Make a batch of one example without one."""
    alone = x.dim() == len(layer.kernel_size) + 1
    y: Tensor = layer.quantizers(x.unsqueeze(0) if alone else x, layer.weight, layer.bias, geometry, pad, num_bits)
    return y.squeeze(0) if alone else y


class QConv1d(_QConvolution, nn.Conv1d):
    """nn.Conv1d that takes `num_bits`."""


class QConv2d(_QConvolution, nn.Conv2d):
    """nn.Conv2d that takes `num_bits`."""


class QConv3d(_QConvolution, nn.Conv3d):
    """nn.Conv3d that takes `num_bits`."""


class QConvTranspose1d(_QTransposed, nn.ConvTranspose1d):
    """nn.ConvTranspose1d that takes `num_bits`."""


class QConvTranspose2d(_QTransposed, nn.ConvTranspose2d):
    """nn.ConvTranspose2d that takes `num_bits`."""


class QConvTranspose3d(_QTransposed, nn.ConvTranspose3d):
    """nn.ConvTranspose3d that takes `num_bits`."""


QUANTIZED = {
    nn.Conv1d: QConv1d,
    nn.Conv2d: QConv2d,
    nn.Conv3d: QConv3d,
    nn.ConvTranspose1d: QConvTranspose1d,
    nn.ConvTranspose2d: QConvTranspose2d,
    nn.ConvTranspose3d: QConvTranspose3d,
}
