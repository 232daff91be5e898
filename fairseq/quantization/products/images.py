"""How quantizers see the input and the output of a convolution: as they are, or as vectors of channels.

One range for the tensor needs no order. Ranges per token, group or channel, and blocks, lie along the channels of each
position, as in a linear layer that is applied to every position. For the gradient of the weight, which sums over
positions, blocks lie along these, within one example.

Shapes: N examples, C channels, S the axes of space, L positions.

>>> import torch
>>> x = torch.arange(12.0).view(1, 3, 2, 2)
>>> vectors(x).shape, vectors(x)[0, 1].tolist(), torch.equal(images(vectors(x), x.shape[2:]), x)
(torch.Size([1, 4, 3]), [1.0, 5.0, 9.0], True)
"""

from typing import Optional

from torch import Tensor

from fairseq.quantization.call_state import CallState
from fairseq.quantization.quantizer import Quantized, Quantizer


def vectors(x: Tensor) -> Tensor:
    """(N, C, *S) -> (N, L, C)."""
    return x.flatten(2).mT


def images(x: Tensor, space: tuple[int, ...]) -> Tensor:
    """(N, L, C) -> (N, C, *S)."""
    return x.mT.unflatten(2, space)


def takes_vectors(quantizer: Optional[Quantizer]) -> bool:
    """Whether `quantizer` sees vectors of channels."""
    return quantizer is not None and quantizer.granularity.kind != "tensor"


def seen(quantizer: Optional[Quantizer], x: Tensor) -> Tensor:
    """Images as `quantizer` sees them."""
    return vectors(x) if takes_vectors(quantizer) else x


def unseen(quantizer: Optional[Quantizer], x: Tensor, space: tuple[int, ...]) -> Tensor:
    """Undo `seen`."""
    return images(x, space) if takes_vectors(quantizer) else x


def round_images(quantizer: Quantizer, x: Tensor, num_bits: Optional[int], state: Optional[CallState]) -> Quantized:
    """`x` (N, C, *S) behind its quantizer."""
    if num_bits is None or not takes_vectors(quantizer):
        return quantizer(x, num_bits, state)  # type: ignore[no-any-return]
    y = vectors(x)
    quantized: Quantized = quantizer(y, num_bits, state)
    target = x if quantized.grad_target is y else images(quantized.grad_target, x.shape[2:])
    return Quantized(target, x if quantized.value is y else images(quantized.value, x.shape[2:]))
