"""Layers that can be quantized, each with a small example, and number formats with the settings to try them with.

`test_every_layer.py` runs every layer with every registered format. A new layer is one entry of a table: `LAYERS` here
holds the modules with weights, `layers_without_weights.py` the others.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Optional

import torch
from torch import Tensor, nn

from fairseq.quantization import build_format, quantize_model
from fairseq.quantization.formats import FORMATS, NumberFormat
from fairseq.quantization.layers.transposed_linear import QConv1D

Shapes = tuple[tuple[int, ...], ...]  # of the tensors of one call


def _first(module: nn.Module, *tensors: Tensor) -> Tensor:
    y = module(*tensors)
    return y[0] if isinstance(y, tuple) else y


@dataclass(frozen=True)
class Layer:
    """A kind of layer.

    Attributes:
        make: the module, in full precision.
        shapes: of the floating-point tensors of a call; the first entry is the usual one, others are small or odd.
        call: gives the layer's first output from the module and those tensors.
        words: of the quantizers that it can have at its own path or below.
        rules: that switch it on, where presets do not; the layer's path is `layer`.
        has_gradient: the tensors get a gradient.
        by_example: functions that its forward calls have the quantizers, and are found by a call.
    """

    make: Callable[[], nn.Module]
    shapes: tuple[Shapes, ...]
    call: Callable[..., Tensor] = _first
    words: tuple[str, ...] = ("input", "weight", "bias", "output", "grad_output")
    rules: tuple[dict[str, Any], ...] = ()
    has_gradient: bool = True
    by_example: bool = False


class Holder(nn.Module):
    """A model of one layer, whose path is `layer`."""

    def __init__(self, layer: nn.Module, call: Callable[..., Tensor]):
        super().__init__()
        self.layer, self.call = layer, call

    def forward(self, *tensors: Tensor) -> Tensor:
        return self.call(self.layer, *tensors)


class RareCell(nn.RNNCellBase):
    """A layer on a base class of torch's, of a type that cannot be quantized."""

    def __init__(self, features: int):
        super().__init__(features, features, bias=False, num_chunks=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x * self.weight_ih.sum(1) + x * self.weight_hh.sum(1))


LAYERS: dict[str, Layer] = {}


def add(name: str, layer: Layer) -> None:
    """Enter a layer."""
    assert name not in LAYERS, name
    LAYERS[name] = layer


def _of_rows(module: nn.Module, x: Tensor) -> Tensor:
    return module(torch.arange(x.shape[0]) % 5)


def _of_weighted_bags(module: nn.Module, weights: Tensor) -> Tensor:
    indices = torch.arange(weights.shape[0]) % 5
    return module(indices, indices[::2].clone(), weights)


add("Linear", Layer(lambda: nn.Linear(6, 5), (((2, 3, 6),), ((1, 6),), ((6,),))))
add("Linear of one value", Layer(lambda: nn.Linear(1, 1), (((1, 1),), ((1,),))))
add(
    "Embedding",
    Layer(
        lambda: nn.Embedding(5, 6),
        (((4,),), ((1,),)),
        _of_rows,
        words=("weight", "output"),
        rules=({"match": "layer.weight", "bits": "follow"},),
        has_gradient=False,
    ),
)
add(
    "EmbeddingBag",
    Layer(
        lambda: nn.EmbeddingBag(5, 6, mode="sum", padding_idx=1),
        (((3,),), ((1,),)),
        _of_weighted_bags,
        words=("weight", "output"),
        rules=({"match": "layer.weight", "bits": "follow"},),
    ),
)
add("Conv1D of transformers", Layer(lambda: QConv1D(5, 6), (((2, 3, 6),), ((1, 6),))))

CONVOLUTIONS = {
    "Conv1d": (lambda: nn.Conv1d(4, 6, 3, padding=1), (2, 4, 5)),
    "Conv2d depthwise": (lambda: nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=4), (2, 4, 5, 6)),
    "Conv3d": (lambda: nn.Conv3d(2, 3, 2, padding="same", dilation=2), (1, 2, 3, 2, 3)),
    "ConvTranspose1d": (lambda: nn.ConvTranspose1d(4, 6, 3, stride=2), (2, 4, 3)),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(4, 6, 3, groups=2, output_padding=1, stride=2), (2, 4, 3, 3)),
    "ConvTranspose3d": (lambda: nn.ConvTranspose3d(2, 2, 2), (1, 2, 2, 2, 2)),
}
for _kind, (_make, _shape) in CONVOLUTIONS.items():
    add(_kind, Layer(_make, ((_shape,), ((1, *_shape[1:2], *(3 for _ in _shape[2:])),), (_shape[1:],))))
RECURRENT = {
    "LSTM": lambda: nn.LSTM(3, 4, num_layers=2, bidirectional=True, proj_size=2),
    "GRU": lambda: nn.GRU(3, 4, batch_first=True),
    "RNN": lambda: nn.RNN(3, 4, nonlinearity="relu", bias=True),
}
for _kind, _module in RECURRENT.items():
    add(_kind, Layer(_module, (((2, 3, 3),), ((1, 1, 3),), ((2, 3),))))
add("LSTMCell", Layer(lambda: nn.LSTMCell(3, 4), (((2, 3),), ((3,),))))
add(
    "Bilinear",
    Layer(
        lambda: nn.Bilinear(3, 4, 5),
        (((2, 6, 3), (2, 6, 4)), ((1, 3), (1, 4)), ((3,), (4,))),
        words=("left", "right", "weight", "bias", "output", "grad_output"),
    ),
)
add("GRUCell", Layer(lambda: nn.GRUCell(3, 4), (((2, 3),), ((3,),))))
add("RNNCell", Layer(lambda: nn.RNNCell(3, 4), (((2, 3),), ((3,),))))


# --- number formats ---------------------------------------------------------------------------------------------------


def formats() -> Iterator[tuple[str, NumberFormat, int]]:
    """Every registered format at the bits to try it with."""
    for name in FORMATS:
        number_format = build_format(name)
        yield name, number_format, number_format.fixed_bits or min(8, number_format.max_bits)


def quantized(name: str, layer: Layer, number_format: NumberFormat, num_bits: int) -> nn.Module:
    """A model with the layer, in which every quantizer that it can have rounds to the format (gradients to `symmetric`
    where the format cannot hold them, or has 1 bit).
    """
    rules: list[dict[str, Any]] = [
        *layer.rules,
        {"match": "re:(.*\\.)?(bias|output)", "bits": "follow", "optional": True},
        {"match": "*", "format": number_format.spec(), "range": number_format.range_source, "granularity": "tensor"},
    ]
    holds = number_format.holds_gradients and num_bits > 1
    gradients = number_format if holds else build_format("symmetric")
    rules.append({"match": "*.grad_output", "format": gradients.spec(), "range": gradients.range_source})
    grad_bits: Optional[int] = num_bits if gradients is number_format else 8
    if "grad_output" not in layer.words:
        del rules[-1]
    given = tuple(torch.randn(shape) for shape in layer.shapes[0]) if layer.by_example else None
    changes = {"num_bits": num_bits, "num_grad_bits": grad_bits, "rules": rules}
    return quantize_model(Holder(layer.make(), layer.call), "int8", example_inputs=given, **changes)
