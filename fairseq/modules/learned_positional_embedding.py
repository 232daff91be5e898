"""A trained vector for each position.

Rows 0..padding_idx are not positions: the first token uses row padding_idx + 1, so a table for N positions has
N + padding_idx + 1 rows (514 for RoBERTa's 512).

>>> LearnedPositionalEmbedding(514, 8, padding_idx=1).max_positions
512
"""

from typing import Any, Optional

from torch import Tensor

from fairseq.errors import DataError
from fairseq.modules.positions import make_positions
from fairseq.quantization.layers import QEmbedding


class LearnedPositionalEmbedding(QEmbedding):
    """Embeds the position of each token of a padded batch; the table is quantized if a rule matches it."""

    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx: Optional[int]):
        super().__init__(num_embeddings, embedding_dim, padding_idx)
        del self.quantizers  # None as an attribute, not as a submodule, adds no line to the model's repr
        self.quantizers = None
        self.max_positions = num_embeddings if padding_idx is None else num_embeddings - padding_idx - 1

    def forward(  # type: ignore[override]  # fairseq's arguments, which callers give by position
        self,
        input: Tensor,
        incremental_state: Optional[Any] = None,
        positions: Optional[Tensor] = None,
        num_bits: Optional[int] = None,
    ) -> Tensor:
        """Vectors (B, T, C) for token ids `input` (B, T), or (1, 1, C) for the newest token in incremental decoding.

        Args:
            input: token ids; only which of them are padding matters.
            incremental_state: if given, only the last column is embedded (all rows have the same length then).
            positions: ready-made positions instead of those counted from `input`.
            num_bits: bits of the table, where it is quantized.

        Raises:
            DataError: more tokens than there are positions.
        """
        if positions is None:
            if input.size(1) > self.max_positions:
                raise DataError(
                    f"a sentence of {input.size(1)} tokens does not fit the model's {self.max_positions} positions;"
                    " shorten it (task.shorten_method, task.max_positions)"
                )
            if self.padding_idx is None:
                raise ValueError("without padding_idx, positions must be given")
            if incremental_state is not None:
                positions = input.new_full((1, 1), self.padding_idx + input.size(1))
            else:
                positions = make_positions(input, self.padding_idx)
        return super().forward(positions, num_bits)
