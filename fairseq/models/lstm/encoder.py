"""The recurrent encoder: an LSTM over embedded tokens, of one or both directions."""

from typing import Any, Optional

from torch import Tensor, nn

from fairseq.models.fairseq_encoder import FairseqEncoder
from fairseq.models.lstm.layers import LSTM, Embedding
from fairseq.modules.fairseq_dropout import FairseqDropout
from fairseq.plugin_utils import convert_padding_direction
from fairseq.quantization.bits import bits_for

EncoderOutput = tuple[Tensor, Tensor, Tensor, Tensor]
MAX_POSITIONS = 1e5


class LSTMEncoder(FairseqEncoder):
    """An LSTM.

    Args:
        dictionary: of the source.
        embed_dim: width of the embeddings.
        hidden_size: width H of the states of each direction.
        dropout_in: on embeddings.
        dropout_out: between layers and behind the last.
        bidirectional: read in both directions.
        left_pad: sources are padded on the left.
        pretrained_embed: embeddings to use.
        max_source_positions: the longest source.
    """

    def __init__(
        self,
        dictionary: Any,
        embed_dim: int = 512,
        hidden_size: int = 512,
        num_layers: int = 1,
        dropout_in: float = 0.1,
        dropout_out: float = 0.1,
        bidirectional: bool = False,
        left_pad: bool = True,
        pretrained_embed: Optional[nn.Embedding] = None,
        padding_idx: Optional[int] = None,
        max_source_positions: float = MAX_POSITIONS,
    ):
        super().__init__(dictionary)
        name = type(self).__name__
        self.num_layers, self.hidden_size, self.bidirectional = num_layers, hidden_size, bidirectional
        self.left_pad, self.max_source_positions = left_pad, max_source_positions
        self.dropout_in_module = FairseqDropout(dropout_in * 1.0, module_name=name)
        self.dropout_out_module = FairseqDropout(dropout_out * 1.0, module_name=name)
        self.padding_idx: int = dictionary.pad() if padding_idx is None else padding_idx
        self.embed_tokens = (
            Embedding(len(dictionary), embed_dim, self.padding_idx) if pretrained_embed is None else pretrained_embed
        )
        self.lstm = LSTM(
            embed_dim,
            hidden_size,
            num_layers=num_layers,
            dropout=self.dropout_out_module.p if num_layers > 1 else 0.0,
            bidirectional=bidirectional,
        )
        self.output_units = hidden_size * (2 if bidirectional else 1)

    def forward(
        self,
        src_tokens: Tensor,
        src_lengths: Optional[Tensor] = None,
        enforce_sorted: bool = True,
        num_bits: Optional[int] = None,
    ) -> EncoderOutput:
        """Encode `src_tokens` (B, S), in any order of lengths.

        Args:
            src_lengths: (B,); counted if None.
            enforce_sorted: accepted for the sake of the interface.

        Returns:
            Outputs (S, B, C), last states and cells (layers, B, C), padding (S, B), True where it is.
        """
        if self.left_pad:  # recurrent layers want the words first
            src_tokens = convert_padding_direction(src_tokens, self.padding_idx, left_to_right=True)
        padding = src_tokens.eq(self.padding_idx)
        if src_lengths is None:
            src_lengths = (~padding).sum(1)
        x = self.dropout_in_module(self.embed_tokens(src_tokens)).transpose(0, 1)  # (B, S, C) -> (S, B, C)
        packed = nn.utils.rnn.pack_padded_sequence(x, src_lengths.cpu(), enforce_sorted=False)
        outputs, (hiddens, cells) = self.lstm(packed, **bits_for(self.lstm, num_bits))
        x, _ = nn.utils.rnn.pad_packed_sequence(
            outputs, padding_value=self.padding_idx * 1.0, total_length=src_tokens.size(1)
        )
        if self.bidirectional:
            hiddens, cells = self.combine_bidir(hiddens, x.size(1)), self.combine_bidir(cells, x.size(1))
        return self.dropout_out_module(x), hiddens, cells, padding.t()

    def combine_bidir(self, outs: Tensor, bsz: int) -> Tensor:
        """(layers * 2, B, H) -> (layers, B, 2 H)."""
        return outs.view(self.num_layers, 2, bsz, -1).transpose(1, 2).flatten(2)

    def reorder_encoder_out(self, encoder_out: EncoderOutput, new_order: Tensor) -> EncoderOutput:
        """`encoder_out` with its sentences in the order of `new_order`."""
        return tuple(each.index_select(1, new_order) for each in encoder_out)  # type: ignore[return-value]

    def max_positions(self) -> Any:
        """The longest source in tokens."""
        return self.max_source_positions
