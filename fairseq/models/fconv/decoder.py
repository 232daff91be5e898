"""The convolutional decoder (Gehring et al., arXiv:1705.03122, section 3.3): causal gated convolutions, each with its
attention to the encoder's output; without an encoder a language model (Dauphin et al., arXiv:1612.08083).
"""

from typing import Any, Optional, Union

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fairseq.errors import ConfigError
from fairseq.incremental_decoding_utils import IncrementalState
from fairseq.models.fairseq_incremental_decoder import FairseqIncrementalDecoder
from fairseq.models.fconv.layers import (
    HALF,
    AttentionLayer,
    Embedding,
    LayerSpec,
    Linear,
    LinearizedConv1d,
    PositionalEmbedding,
)
from fairseq.models.transformer.embedding import read_embeddings
from fairseq.modules.adaptive_softmax import AdaptiveSoftmax
from fairseq.modules.fairseq_dropout import FairseqDropout
from fairseq.quantization.bits import bits_for
from fairseq.quantization.layers.linear import QLinear


class FConvDecoder(FairseqIncrementalDecoder):
    """A stack of causal gated convolutions, and the output layer.

    Args:
        dictionary: of the target.
        embed_dim: width E of the embeddings.
        embed_dict: file with embeddings to begin with.
        out_embed_dim: width of what the output layer sees.
        max_positions: rows of the table of positions.
        convolutions: (width, kernel size[, residual]) of each layer.
        attention: whether layers attend to an encoder, all alike or one by one.
        share_embed: the output layer uses the embedding.
        positional_embeddings: whether there are any.
        adaptive_softmax_cutoff: an adaptive softmax in place of the output layer.
    """

    def __init__(
        self,
        dictionary: Any,
        embed_dim: int = 512,
        embed_dict: Optional[str] = None,
        out_embed_dim: int = 256,
        max_positions: int = 1024,
        convolutions: Any = ((512, 3),) * 20,
        attention: Union[bool, list[bool]] = True,
        dropout: float = 0.1,
        share_embed: bool = False,
        positional_embeddings: bool = True,
        adaptive_softmax_cutoff: Optional[list[int]] = None,
        adaptive_softmax_dropout: float = 0.0,
    ):
        super().__init__(dictionary)
        self.register_buffer("version", torch.tensor([2.0]))
        self.dropout_module = FairseqDropout(dropout, module_name=type(self).__name__)
        self.need_attn = True
        specs = [LayerSpec(*spec) for spec in convolutions]
        attends = [attention] * len(specs) if isinstance(attention, bool) else list(attention)
        if len(attends) != len(specs):
            raise ConfigError(f"model.decoder_attention: {len(attends)} entries for {len(specs)} layers")
        padding_idx = dictionary.pad()
        self.embed_tokens = Embedding(len(dictionary), embed_dim, padding_idx)
        if embed_dict:
            read_embeddings(embed_dict, dictionary, self.embed_tokens)
        self.embed_positions = (
            PositionalEmbedding(max_positions, embed_dim, padding_idx) if positional_embeddings else None
        )
        widths = [specs[0].width]  # of each layer's input
        self.fc1 = Linear(embed_dim, widths[0], dropout=dropout)
        self.projections, self.convolutions, self.attention = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        self.residuals = []
        for spec, does in zip(specs, attends, strict=True):
            source = widths[-spec.residual] if spec.residual > 0 else spec.width
            self.projections.append(Linear(source, spec.width) if source != spec.width else None)  # type: ignore[arg-type]
            self.convolutions.append(
                LinearizedConv1d(
                    widths[-1], spec.width * 2, spec.kernel_size, padding=spec.kernel_size - 1, dropout=dropout
                )
            )
            self.attention.append(AttentionLayer(spec.width, embed_dim) if does else None)  # type: ignore[arg-type]
            self.residuals.append(spec.residual)
            widths.append(spec.width)
        self.fc2: Optional[nn.Module] = None
        self.fc3: Optional[nn.Module] = None
        if adaptive_softmax_cutoff is not None:
            self.adaptive_softmax = AdaptiveSoftmax(
                len(dictionary), widths[-1], adaptive_softmax_cutoff, dropout=adaptive_softmax_dropout
            )
            return
        self.fc2 = Linear(widths[-1], out_embed_dim)
        if not share_embed:
            self.fc3 = Linear(out_embed_dim, len(dictionary), dropout=dropout)
            return
        if out_embed_dim != embed_dim:
            raise ConfigError(
                f"model.share_input_output_embed: decoder_embed_dim is {embed_dim},"
                f" decoder_out_embed_dim {out_embed_dim}"
            )
        self.fc3 = QLinear(out_embed_dim, len(dictionary), quantized=False)
        self.fc3.weight = self.embed_tokens.weight

    def forward(  # type: ignore[override]  # the arguments it has, in place of any
        self,
        prev_output_tokens: Tensor,
        encoder_out: Optional[dict[str, Any]] = None,
        incremental_state: Optional[IncrementalState] = None,
        num_bits: Optional[int] = None,
        **unused: Any,
    ) -> tuple[Tensor, Optional[Tensor]]:
        """Scores (B, T, V) after each of `prev_output_tokens` (B, T), and attention (B, T, S), averaged over layers, in
        evaluation; T is 1 with `incremental_state`."""
        x, attention = self.extract_features(
            prev_output_tokens, encoder_out=encoder_out, incremental_state=incremental_state, num_bits=num_bits
        )
        return self.output_layer(x, num_bits=num_bits), attention

    def extract_features(  # type: ignore[override]
        self,
        prev_output_tokens: Tensor,
        encoder_out: Optional[dict[str, Any]] = None,
        incremental_state: Optional[IncrementalState] = None,
        num_bits: Optional[int] = None,
        **unused: Any,
    ) -> tuple[Tensor, Optional[Tensor]]:
        """Like `forward`, without the output layer."""
        tokens = prev_output_tokens if incremental_state is None else prev_output_tokens[:, -1:]
        x = self.embed_tokens(tokens)
        if self.embed_positions is not None:
            x = x + self.embed_positions(prev_output_tokens, incremental_state)
        x = embedded = self.dropout_module(x)
        x = self.fc1(x, **bits_for(self.fc1, num_bits))
        if incremental_state is None:
            x = x.transpose(0, 1)  # (B, T, C) -> (T, B, C); convolutions decode step by step over (B, 1, C)
        inputs, attentions = [x], []
        layers = zip(self.projections, self.convolutions, self.attention, self.residuals, strict=True)
        for projection, convolution, attention, back in layers:
            residual = inputs[-back] if back > 0 else None
            if residual is not None and projection is not None:
                residual = projection(residual, **bits_for(projection, num_bits))
            x = convolution(self.dropout_module(x), incremental_state, **bits_for(convolution, num_bits))
            x = F.glu(x, dim=2)
            if attention is not None:
                assert encoder_out is not None
                x = x if incremental_state is not None else x.transpose(0, 1)
                x, probs = attention(
                    x,
                    embedded,
                    encoder_out["encoder_out"],
                    encoder_out["encoder_padding_mask"],
                    **bits_for(attention, num_bits),
                )
                attentions.append(probs)
                x = x if incremental_state is not None else x.transpose(0, 1)
            if residual is not None:
                x = (x + residual) * HALF
            inputs.append(x)
        if incremental_state is None:
            x = x.transpose(0, 1)
        wanted = attentions and self.need_attn and not self.training
        # over all layers, also those without attention, as fairseq does
        return x, sum(attentions[1:], attentions[0]) / len(self.attention) if wanted else None

    def output_layer(self, features: Tensor, num_bits: Optional[int] = None, **unused: Any) -> Tensor:  # type: ignore[override]
        """Scores; the features themselves where an adaptive softmax follows."""
        if self.fc2 is None or self.fc3 is None:
            return features
        x = self.dropout_module(self.fc2(features, **bits_for(self.fc2, num_bits)))
        return self.fc3(x, **bits_for(self.fc3, num_bits))  # type: ignore[no-any-return]

    def max_positions(self) -> Any:
        """The longest target in tokens."""
        return float("inf") if self.embed_positions is None else self.embed_positions.max_positions

    def make_generation_fast_(self, need_attn: bool = False, **kwargs: Any) -> None:
        """Called before inference: return attention only if it is requested."""
        self.need_attn = need_attn
