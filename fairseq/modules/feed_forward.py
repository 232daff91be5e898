"""The feed-forward block of a transformer layer, in two ways that give the same numbers up to ties of rounding:

    FusedInteger    fc1, GELU and fc2 on codes, where no gradient is wanted
    LayerByLayer    through the layer's modules: always possible

The first of `TransformerLayer.feed_forward_implementations` that can run does the work.
"""

from typing import Any, Optional, Protocol

from torch import Tensor, nn

from fairseq.modules.activations import gelu
from fairseq.modules.fairseq_dropout import FairseqDropout
from fairseq.modules.unmodified import is_unmodified
from fairseq.quantization.bits import bits_for
from fairseq.quantization.layers.linear import QLinear
from fairseq.quantization.products.integer_feed_forward import integer_feed_forward
from fairseq.quantization.products.linear import LinearQuantizers


class Implementation(Protocol):
    """One way to compute the block `fc2(dropout(activation(fc1(x))))` of a layer."""

    def can_run(self, layer: Any, x: Tensor) -> bool:
        """Whether the layer's modules, as they are now, allow it."""

    def run(self, layer: Any, x: Tensor, num_bits: Optional[int]) -> Optional[Tensor]:
        """The result for x (T, B, C); None, with nothing done, where its values or settings forbid it after all."""


class LayerByLayer:
    """Through the modules, each of which may be replaced or hooked."""

    def can_run(self, layer: Any, x: Tensor) -> bool:
        return True

    def run(self, layer: Any, x: Tensor, num_bits: Optional[int]) -> Tensor:
        x = layer.fc1(x, **bits_for(layer.fc1, num_bits))
        if layer.activation_fn is gelu:
            x = gelu(x, compact=computes_in_integers(layer, num_bits))
        else:
            x = layer.activation_fn(x)
        x = layer.activation_dropout_module(x)
        if layer.ffn_layernorm is not None:
            x = layer.ffn_layernorm(x)
        return layer.fc2(x, **bits_for(layer.fc2, num_bits))  # type: ignore[no-any-return]


class FusedInteger:
    """GELU's values go to codes at once and are written nowhere."""

    def can_run(self, layer: Any, x: Tensor) -> bool:
        dropout = layer.activation_dropout_module
        keeps_all = is_unmodified(dropout, FairseqDropout) and not dropout.is_active
        return (
            keeps_all
            and layer.activation_fn is gelu
            and layer.ffn_layernorm is None
            and all(is_unmodified(each, QLinear) for each in (layer.fc1, layer.fc2))
        )

    def run(self, layer: Any, x: Tensor, num_bits: Optional[int]) -> Optional[Tensor]:
        return integer_feed_forward(layer.fc1, layer.fc2, x, num_bits)


def computes_in_integers(layer: Any, num_bits: Optional[int]) -> bool:
    """Whether both products of the block run in integers of at most 8 bits at `num_bits`, their gradients included.
    Then what backward needs of the functions between the products is kept in 16 bits.
    """
    return _in_integers(layer.fc1, num_bits) and _in_integers(layer.fc2, num_bits)


def _in_integers(module: nn.Module, num_bits: Optional[int]) -> bool:
    quantizers = getattr(module, "quantizers", None)
    if not isinstance(quantizers, LinearQuantizers) or not quantizers.integer:
        return False
    bits = quantizers.bits_at(quantizers.context.resolve(num_bits))
    return bits.have_codes and bits.grad_has_codes
