"""Adaptive input embeddings (Baevski and Auli, arXiv:1809.10853): the rarer a word, the narrower its vector.

    x = W_i e_i(word),   e_i: C / factor^i wide,   W_i: (C_out, C / factor^i)

Words are numbered by frequency; band i holds those from `cutoff[i - 1]` to `cutoff[i]`.

>>> table = AdaptiveInput(20, 1, initial_dim=8, factor=2.0, output_dim=8, cutoff=[10, 15])
>>> [tuple(weight.shape) for weight in table.weights_for_band(2)], table(torch.tensor([[4, 12, 19]])).shape
([(5, 2), (8, 2)], torch.Size([1, 3, 8]))
"""

from collections.abc import Sequence
from typing import Optional

import torch
from torch import Tensor, nn

from fairseq.errors import ConfigError
from fairseq.modules.quant_noise import quant_noise
from fairseq.modules.sequential import Sequential
from fairseq.quantization.bits import bits_for
from fairseq.quantization.layers.linear import QLinear


def bands(vocab_size: int, cutoff: Sequence[int]) -> list[int]:
    """Where each band of words ends; the last one ends with the vocabulary.

    Raises:
        ConfigError: ends that do not grow, or lie beyond the vocabulary.

    >>> bands(20, [10, 15]), bands(20, [10, 20])
    ([10, 15, 20], [10, 20])
    """
    ends = [int(end) for end in cutoff]
    if not ends or ends[-1] != vocab_size:
        ends.append(vocab_size)
    if any(end <= begin for begin, end in zip([0, *ends], ends, strict=False)):
        raise ConfigError(
            f"adaptive cutoffs {', '.join(map(str, cutoff))} do not fit a dictionary of {vocab_size} entries: "
            "they have to grow and end below its size (model.adaptive_softmax_cutoff, model.adaptive_input_cutoff)"
        )
    return ends


def band_width(dim: int, factor: float, band: int) -> int:
    """Width of the vectors of a band.

    Raises:
        ConfigError: none is left.
    """
    width = int(dim // factor**band)
    if width < 1:
        raise ConfigError(f"adaptive band {band}: {dim} / {factor:g}^{band} is below 1; give fewer cutoffs")
    return width


class AdaptiveInput(nn.Module):
    """Embeds token ids.

    Args:
        vocab_size: entries of the dictionary.
        padding_idx: id of padding, whose vector is zero.
        initial_dim: width of the first band's vectors.
        factor: each next band is this much narrower.
        output_dim: width of the result.
        cutoff: where bands end; the last one's end may be left out.
        q_noise, qn_block_size: quantization noise on the projections.
    """

    _float_tensor: Tensor

    def __init__(
        self,
        vocab_size: int,
        padding_idx: int,
        initial_dim: int,
        factor: float,
        output_dim: int,
        cutoff: Sequence[int],
        q_noise: float = 0,
        qn_block_size: int = 8,
    ):
        super().__init__()
        self.cutoff = bands(vocab_size, cutoff)
        self.embedding_dim = output_dim
        self.padding_idx = padding_idx
        self.embeddings = nn.ModuleList()
        for band, (begin, end) in enumerate(zip([0, *self.cutoff], self.cutoff, strict=False)):
            width = band_width(initial_dim, factor, band)
            table = nn.Embedding(end - begin, width, padding_idx=padding_idx if band == 0 else None)
            projection = QLinear(width, output_dim, bias=False, quantized=False)
            nn.init.normal_(table.weight, mean=0, std=width**-0.5)
            if band == 0:
                nn.init.zeros_(table.weight[padding_idx])
            nn.init.xavier_uniform_(projection.weight)
            self.embeddings.append(Sequential(table, quant_noise(projection, q_noise, qn_block_size)))
        self.register_buffer("_float_tensor", torch.zeros(1))  # a key of fairseq's checkpoints

    def weights_for_band(self, band: int) -> tuple[Tensor, Tensor]:
        """Table (words, C_i) and projection (C_out, C_i) of a band."""
        table, projection = self.embeddings[band]  # type: ignore[misc]
        return table.weight, projection.weight  # type: ignore[has-type]

    def forward(self, input: Tensor, num_bits: Optional[int] = None) -> Tensor:
        """Vectors (..., C_out) for token ids `input` (...)."""
        first = self.embeddings[0]
        if len(self.cutoff) == 1:
            return first(input, **bits_for(first, num_bits))  # type: ignore[no-any-return]
        if torch.compiler.is_exporting():
            return self._every_band(input, num_bits)
        ids = input.reshape(-1)
        places, parts = [], []
        for begin, end, embed in zip([0, *self.cutoff], self.cutoff, self.embeddings, strict=False):
            found = ((ids >= begin) & (ids < end)).nonzero().squeeze(1)
            if found.numel():
                places.append(found)
                parts.append(embed(ids[found] - begin, **bits_for(embed, num_bits)))  # (words of this band, C_out)
        if not parts:
            return self._float_tensor.new_zeros(*input.shape, self.embedding_dim)
        vectors = torch.cat(parts)
        result = torch.zeros_like(vectors).index_copy(0, torch.cat(places), vectors)
        return result.view(*input.shape, -1)

    def _every_band(self, input: Tensor, num_bits: Optional[int]) -> Tensor:
        """The same, each token through each band: for graphs, whose shapes do not depend on values."""
        result = self._float_tensor.new_zeros(())
        for begin, end, embed in zip([0, *self.cutoff], self.cutoff, self.embeddings, strict=False):
            vectors = embed((input - begin).clamp(0, end - begin - 1), **bits_for(embed, num_bits))
            inside = (input >= begin) & (input < end)
            result = torch.where(inside.unsqueeze(-1), vectors, result)
        return result
