"""The convolutional encoder (Gehring et al., arXiv:1705.03122, section 3.2).

h_0 = W x + b,   h_i = (GLU(conv_i(h_{i-1})) + h_{i-1}) sqrt(1/2),   z = W' h_N + b',   value = (z + x) sqrt(1/2)
"""

from typing import Any, Optional

import torch.nn.functional as F
from torch import Tensor, nn

from fairseq.models.fairseq_encoder import FairseqEncoder
from fairseq.models.fconv.layers import (
    HALF,
    ConvTBC,
    Embedding,
    LayerSpec,
    Linear,
    PositionalEmbedding,
    scaled_gradient,
)
from fairseq.models.transformer.embedding import read_embeddings
from fairseq.modules.fairseq_dropout import FairseqDropout
from fairseq.quantization.bits import bits_for


class FConvEncoder(FairseqEncoder):
    """A stack of gated convolutions.

    Args:
        dictionary: of the source.
        embed_dim: width E of the embeddings.
        embed_dict: file with embeddings to begin with.
        max_positions: rows of the table of positions.
        convolutions: (width, kernel size[, residual]) of each layer.
    """

    def __init__(
        self,
        dictionary: Any,
        embed_dim: int = 512,
        embed_dict: Optional[str] = None,
        max_positions: int = 1024,
        convolutions: Any = ((512, 3),) * 20,
        dropout: float = 0.1,
    ):
        super().__init__(dictionary)
        self.dropout_module = FairseqDropout(dropout, module_name=type(self).__name__)
        self.num_attention_layers: Optional[int] = None  # of the decoder, by which gradients are scaled
        self.padding_idx = dictionary.pad()
        self.embed_tokens = Embedding(len(dictionary), embed_dim, self.padding_idx)
        if embed_dict:
            read_embeddings(embed_dict, dictionary, self.embed_tokens)
        self.embed_positions = PositionalEmbedding(max_positions, embed_dim, self.padding_idx)
        specs = [LayerSpec(*spec) for spec in convolutions]
        widths = [specs[0].width]  # of each layer's input
        self.fc1 = Linear(embed_dim, widths[0], dropout=dropout)
        self.projections, self.convolutions, self.residuals = nn.ModuleList(), nn.ModuleList(), []
        for spec in specs:
            source = widths[-spec.residual] if spec.residual > 0 else spec.width
            self.projections.append(Linear(source, spec.width) if source != spec.width else None)  # type: ignore[arg-type]
            padding = spec.kernel_size // 2 if spec.kernel_size % 2 else 0
            self.convolutions.append(
                ConvTBC(widths[-1], spec.width * 2, spec.kernel_size, dropout=dropout, padding=padding)
            )
            self.residuals.append(spec.residual)
            widths.append(spec.width)
        self.fc2 = Linear(widths[-1], embed_dim)

    def forward(
        self, src_tokens: Tensor, src_lengths: Optional[Tensor] = None, num_bits: Optional[int] = None
    ) -> dict[str, Any]:
        """Encode `src_tokens` (B, S).

        Returns:
            `encoder_out`: keys and values (B, S, E); `encoder_padding_mask`: (B, S), True at padding, or None.
        """
        embedded = self.embed_tokens(src_tokens) + self.embed_positions(src_tokens)
        embedded = self.dropout_module(embedded)
        padding = src_tokens.eq(self.padding_idx)
        mask = padding.t().unsqueeze(-1)  # (B, S) -> (S, B, 1)
        x = self.fc1(embedded, **bits_for(self.fc1, num_bits)).transpose(0, 1)  # (B, S, C) -> (S, B, C)
        inputs = [x]
        for projection, convolution, back in zip(self.projections, self.convolutions, self.residuals, strict=True):
            residual = inputs[-back] if back > 0 else None
            if residual is not None and projection is not None:
                residual = projection(residual, **bits_for(projection, num_bits))
            x = self.dropout_module(x.masked_fill(mask, 0))
            kernel: int = convolution.kernel_size[0]  # type: ignore[index, assignment]
            if kernel % 2 == 0:
                x = F.pad(x, (0, 0, 0, 0, (kernel - 1) // 2, kernel // 2))
            x = F.glu(convolution(x, **bits_for(convolution, num_bits)), dim=2)
            if residual is not None:
                x = (x + residual) * HALF
            inputs.append(x)
        x = self.fc2(x.transpose(0, 1), **bits_for(self.fc2, num_bits))
        x = x.masked_fill(padding.unsqueeze(-1), 0)
        if self.num_attention_layers:
            x = scaled_gradient(x, 1.0 / (2.0 * self.num_attention_layers))
        return {"encoder_out": (x, (x + embedded) * HALF), "encoder_padding_mask": padding}

    def reorder_encoder_out(self, encoder_out: Any, new_order: Tensor) -> Any:
        """`encoder_out` with its sentences in the order of `new_order`."""
        keys, values = encoder_out["encoder_out"]
        mask = encoder_out["encoder_padding_mask"]
        return {
            "encoder_out": (keys.index_select(0, new_order), values.index_select(0, new_order)),
            "encoder_padding_mask": None if mask is None else mask.index_select(0, new_order),
        }

    def max_positions(self) -> int:
        """The longest source in tokens."""
        return self.embed_positions.max_positions
