"""What encoder and decoder layers have in common: the feed-forward block and where the layer norms stand.

feed_forward(x) = dropout(fc2(dropout(activation(fc1(x)))))
post-norm:  x = LN(x + dropout(f(x)))        pre-norm:  x = x + dropout(f(LN(x)))
"""

from collections.abc import Sequence
from typing import Any, Optional

from torch import Tensor, nn

from fairseq.dataclass.transformer import TransformerConfig
from fairseq.errors import ConfigError
from fairseq.modules.activations import get_activation_fn
from fairseq.modules.dropout import mask_of, share_dropped
from fairseq.modules.fairseq_dropout import FairseqDropout
from fairseq.modules.feed_forward import FusedInteger, Implementation, LayerByLayer, computes_in_integers
from fairseq.modules.quant_noise import quant_noise
from fairseq.modules.unmodified import is_unmodified
from fairseq.native.compiled import is_tracing
from fairseq.native.norm import add_and_normalize, is_available
from fairseq.quantization.layers.linear import QLinear


class TransformerLayer(nn.Module):
    """Base of the layers. Subclasses create their attention first, then call `build_feed_forward`: parameter order is
    API."""

    feed_forward_implementations: tuple[Implementation, ...] = (FusedInteger(), LayerByLayer())

    dropout_module: nn.Module
    activation_dropout_module: nn.Module

    def __init__(self, cfg: TransformerConfig, embed_dim: int, normalize_before: bool):
        super().__init__()
        self.cfg = cfg
        self.embed_dim = embed_dim
        self.normalize_before = normalize_before
        self.quant_noise = cfg.quant_noise.pq
        self.quant_noise_block_size = cfg.quant_noise.pq_block_size
        self.activation_fn = get_activation_fn(str(cfg.activation_fn))
        self.ffn_layernorm: Optional[nn.Module] = None  # inside the feed-forward block, of layers that have one

    def build_feed_forward(self, ffn_embed_dim: int) -> None:
        """Create `fc1` and `fc2`, in this order."""
        self.fc1 = self.build_fc1(self.embed_dim, ffn_embed_dim, self.quant_noise, self.quant_noise_block_size)
        self.fc2 = self.build_fc2(ffn_embed_dim, self.embed_dim, self.quant_noise, self.quant_noise_block_size)

    def build_fc1(self, input_dim: int, output_dim: int, q_noise: float, qn_block_size: int) -> nn.Module:
        return quant_noise(QLinear(input_dim, output_dim, quantized=False), p=q_noise, block_size=qn_block_size)

    def build_fc2(self, input_dim: int, output_dim: int, q_noise: float, qn_block_size: int) -> nn.Module:
        return quant_noise(QLinear(input_dim, output_dim, quantized=False), p=q_noise, block_size=qn_block_size)

    def build_dropout(self, p: float) -> FairseqDropout:
        return FairseqDropout(float(p), module_name=type(self).__name__)

    def residual_connection(self, x: Tensor, residual: Tensor) -> Tensor:
        """Overridden by layers that scale one of the two."""
        return residual + x

    def before(self, norm: nn.Module, x: Tensor) -> Tensor:
        """The input of a block: normalised where norms stand in front."""
        return norm(x) if self.normalize_before else x

    def after(self, norm: nn.Module, x: Tensor, residual: Tensor) -> Tensor:
        """The output of a block: `x` on top of its input, normalised where norms stand behind."""
        x = self.residual_connection(x, residual)
        return x if self.normalize_before else norm(x)

    def finish(self, norm: nn.Module, x: Tensor, residual: Tensor, num_bits: Optional[int] = None) -> Tensor:
        """`after` of `x` with dropout: one pass where a norm follows and the parts are unmodified and untraced."""
        dropout = self.dropout_module
        adds = type(self).residual_connection is TransformerLayer.residual_connection and not self.normalize_before
        if adds and not is_tracing() and is_unmodified(norm, nn.LayerNorm) and is_unmodified(dropout, FairseqDropout):
            dropped = share_dropped(dropout.p) if dropout.is_active else 0
            masks = bool(dropped) == dropout.is_active  # else all elements are dropped, or too few to tell
            if masks and is_available(x, residual, norm.weight, norm.bias):
                mask = mask_of(dropped) if dropped else None
                parts = (x, residual, norm.weight, norm.bias)
                return add_and_normalize(*parts, norm.eps, mask, compact=computes_in_integers(self, num_bits))
        return self.after(norm, dropout(x), residual)

    @staticmethod
    def rename_layer_norms(state_dict: dict[str, Any], name: str, norms: Sequence[str]) -> None:
        """Give the numbered layer norms of old checkpoints, `<name>.layer_norms.<i>`, their names."""
        for number, norm in enumerate(norms):
            for kind in ("weight", "bias"):
                old = state_dict.pop(f"{name}.layer_norms.{number}.{kind}", None)
                if old is not None:
                    state_dict[f"{name}.{norm}.{kind}"] = old

    def feed_forward(self, x: Tensor, num_bits: Optional[int] = None) -> Tensor:
        """Position-wise, at `num_bits`; the dropout behind `fc2` is the caller's."""
        for implementation in self.feed_forward_implementations:
            if implementation.can_run(self, x):
                y = implementation.run(self, x, num_bits)
                if y is not None:
                    return y
        raise ConfigError("feed-forward: none of its implementations can run; LayerByLayer always can")
