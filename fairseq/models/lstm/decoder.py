"""The recurrent decoder (Luong et al., arXiv:1508.04025): LSTM cells that are fed the attention's last result; without
an encoder a language model.

    h_t = LSTM([embed(y_t); o_{t-1}], h_{t-1}),   o_t = attention(h_t, encoder_out),   scores = W_out o_t
"""

from typing import Any, Optional

import torch
from torch import Tensor, nn

from fairseq.errors import ConfigError
from fairseq.incremental_decoding_utils import IncrementalState
from fairseq.models.fairseq_incremental_decoder import FairseqIncrementalDecoder
from fairseq.models.lstm.encoder import MAX_POSITIONS, EncoderOutput
from fairseq.models.lstm.layers import AttentionLayer, Embedding, Linear, LSTMCell
from fairseq.modules.adaptive_softmax import AdaptiveSoftmax
from fairseq.modules.fairseq_dropout import FairseqDropout
from fairseq.quantization.bits import bits_for
from fairseq.quantization.layers.projection import Projection

States = tuple[list[Tensor], list[Tensor], Optional[Tensor]]  # hidden states and cells by layer, what is fed


class LSTMDecoder(FairseqIncrementalDecoder):
    """LSTM cells, attention, and the output layer.

    Args:
        dictionary: of the target.
        embed_dim: width of the embeddings.
        hidden_size: width H of the states.
        out_embed_dim: width of what the output layer sees.
        dropout_in: on embeddings.
        dropout_out: behind layers and in front of the output layer.
        attention: attend to the encoder.
        encoder_output_units: width of the encoder's output; 0 without an encoder.
        pretrained_embed: embeddings to use.
        share_input_output_embed: the output layer uses the embedding.
        adaptive_softmax_cutoff: an adaptive softmax in place of the output layer.
        max_target_positions: the longest target.
        residuals: add each layer's last state to what the next layer sees.
    """

    def __init__(
        self,
        dictionary: Any,
        embed_dim: int = 512,
        hidden_size: int = 512,
        out_embed_dim: int = 512,
        num_layers: int = 1,
        dropout_in: float = 0.1,
        dropout_out: float = 0.1,
        attention: bool = True,
        encoder_output_units: int = 512,
        pretrained_embed: Optional[nn.Embedding] = None,
        share_input_output_embed: bool = False,
        adaptive_softmax_cutoff: Optional[list[int]] = None,
        max_target_positions: float = MAX_POSITIONS,
        residuals: bool = False,
    ):
        super().__init__(dictionary)
        name = type(self).__name__
        self.dropout_in_module = FairseqDropout(dropout_in * 1.0, module_name=name)
        self.dropout_out_module = FairseqDropout(dropout_out * 1.0, module_name=name)
        self.hidden_size, self.num_layers, self.residuals = hidden_size, num_layers, residuals
        self.share_input_output_embed = share_input_output_embed
        self.need_attn, self.max_target_positions = True, max_target_positions
        self.embed_tokens = (
            Embedding(len(dictionary), embed_dim, dictionary.pad()) if pretrained_embed is None else pretrained_embed
        )
        self.encoder_output_units = encoder_output_units
        projected = encoder_output_units not in (0, hidden_size)
        self.encoder_hidden_proj = Linear(encoder_output_units, hidden_size) if projected else None
        self.encoder_cell_proj = Linear(encoder_output_units, hidden_size) if projected else None
        fed = hidden_size if encoder_output_units else 0
        self.layers = nn.ModuleList(
            LSTMCell(hidden_size if layer else fed + embed_dim, hidden_size) for layer in range(num_layers)
        )
        self.attention = (
            AttentionLayer(hidden_size, encoder_output_units, hidden_size, bias=False) if attention else None
        )
        self.additional_fc = Linear(hidden_size, out_embed_dim) if hidden_size != out_embed_dim else None
        self.fc_out: Optional[nn.Module] = None
        self.output_projection: Optional[Projection] = None
        if adaptive_softmax_cutoff is not None:
            self.adaptive_softmax = AdaptiveSoftmax(
                len(dictionary), hidden_size, adaptive_softmax_cutoff, dropout=dropout_out
            )
        elif share_input_output_embed:
            if out_embed_dim != self.embed_tokens.embedding_dim:
                raise ConfigError(
                    f"model.share_decoder_input_output_embed: decoder_embed_dim is {self.embed_tokens.embedding_dim},"
                    f" decoder_out_embed_dim {out_embed_dim}"
                )
            self.output_projection = Projection(out_embed_dim, len(dictionary))
        else:
            self.fc_out = Linear(out_embed_dim, len(dictionary), dropout=dropout_out)

    def forward(  # type: ignore[override]  # the arguments it has, in place of any
        self,
        prev_output_tokens: Tensor,
        encoder_out: Optional[EncoderOutput] = None,
        incremental_state: Optional[IncrementalState] = None,
        src_lengths: Optional[Tensor] = None,
        num_bits: Optional[int] = None,
    ) -> tuple[Tensor, Optional[Tensor]]:
        """Scores (B, T, V) for `prev_output_tokens` (B, T), and attention (B, T, S) in evaluation; T is 1 with
        `incremental_state`."""
        x, attention = self.extract_features(
            prev_output_tokens, encoder_out, incremental_state, **bits_for(self, num_bits, "extract_features")
        )
        return self.output_layer(x, **bits_for(self, num_bits, "output_layer")), attention

    def extract_features(  # type: ignore[override]
        self,
        prev_output_tokens: Tensor,
        encoder_out: Optional[EncoderOutput] = None,
        incremental_state: Optional[IncrementalState] = None,
        num_bits: Optional[int] = None,
    ) -> tuple[Tensor, Optional[Tensor]]:
        """Like `forward`, without the output layer."""
        tokens = prev_output_tokens if incremental_state is None else prev_output_tokens[:, -1:]
        x = self.dropout_in_module(self.embed_tokens(tokens)).transpose(0, 1)  # (B, T, C) -> (T, B, C)
        if incremental_state is not None and self._kept(incremental_state):
            hiddens, cells, fed = self.get_cached_state(incremental_state)
        else:
            hiddens, cells, fed = self._first_states(x, encoder_out, num_bits)
        outputs, attentions = [], []
        for step in x:
            input = step if fed is None else torch.cat([step, fed], dim=1)
            for number, layer in enumerate(self.layers):
                before = hiddens[number]
                hiddens[number], cells[number] = layer(input, (before, cells[number]), **bits_for(layer, num_bits))
                input = self.dropout_out_module(hiddens[number])
                if self.residuals:
                    input = input + before
            output = hiddens[-1]
            if self.attention is not None:
                assert encoder_out is not None
                output, probs = self.attention(
                    output, encoder_out[0], encoder_out[3], **bits_for(self.attention, num_bits)
                )
                attentions.append(probs)
            output = self.dropout_out_module(output)
            fed = None if fed is None else output
            outputs.append(output)
        if incremental_state is not None:
            kept = {"prev_hiddens": torch.stack(hiddens), "prev_cells": torch.stack(cells), "input_feed": fed}
            self.set_incremental_state(incremental_state, "cached_state", kept)
        x = torch.stack(outputs, dim=1)  # (B, T, H)
        if self.additional_fc is not None and self.adaptive_softmax is None:
            x = self.dropout_out_module(self.additional_fc(x, **bits_for(self.additional_fc, num_bits)))
        wanted = attentions and self.need_attn and not self.training
        return x, torch.stack(attentions).permute(2, 0, 1) if wanted else None  # (T, S, B) -> (B, T, S)

    def _first_states(self, x: Tensor, encoder_out: Optional[EncoderOutput], num_bits: Optional[int]) -> States:
        zeros = x.new_zeros(x.size(1), self.hidden_size)
        if encoder_out is None:
            return [zeros] * self.num_layers, [zeros] * self.num_layers, None
        states = []
        for values, projection in zip(
            encoder_out[1:3], (self.encoder_hidden_proj, self.encoder_cell_proj), strict=True
        ):
            each = [values[layer] for layer in range(self.num_layers)]
            if projection is not None:
                each = [projection(value, **bits_for(projection, num_bits)) for value in each]
            states.append(each)
        return states[0], states[1], zeros

    def output_layer(self, x: Tensor, num_bits: Optional[int] = None) -> Tensor:  # type: ignore[override]
        """Scores; the features themselves where an adaptive softmax follows."""
        if self.adaptive_softmax is not None:
            return x
        if self.output_projection is not None:
            bits = bits_for(self.output_projection, num_bits)
            return self.output_projection(x, self.embed_tokens.weight, **bits)  # type: ignore[no-any-return]
        assert self.fc_out is not None
        return self.fc_out(x, **bits_for(self.fc_out, num_bits))  # type: ignore[no-any-return]

    def _kept(self, incremental_state: IncrementalState) -> Any:
        return self.get_incremental_state(incremental_state, "cached_state")

    def get_cached_state(self, incremental_state: IncrementalState) -> States:
        """Hidden states and cells (B, H) of each layer, and what is fed, as the last step left them."""
        kept = self._kept(incremental_state)
        return list(kept["prev_hiddens"]), list(kept["prev_cells"]), kept["input_feed"]

    def reorder_incremental_state(self, incremental_state: IncrementalState, new_order: Tensor) -> None:
        """Rearrange the kept states to follow beam search."""
        kept = self._kept(incremental_state)
        if kept is None:
            return
        dims = {"prev_hiddens": 1, "prev_cells": 1, "input_feed": 0}
        new = {k: None if v is None else v.index_select(dims[k], new_order) for k, v in kept.items()}
        self.set_incremental_state(incremental_state, "cached_state", new)

    def max_positions(self) -> Any:
        """The longest target in tokens."""
        return self.max_target_positions

    def make_generation_fast_(self, need_attn: bool = False, **kwargs: Any) -> None:
        """Called before inference: return attention only if it is requested."""
        self.need_attn = need_attn
