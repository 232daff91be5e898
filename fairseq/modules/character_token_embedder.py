"""Word vectors from characters (Kim et al., arXiv:1508.06615): convolutions over a word's bytes, the largest value of
each filter, highway layers (Srivastava et al., arXiv:1505.00387), a projection.

    highway:  y = g * x + (1 - g) * relu(W x),   g = sigmoid(W_g x)

Padding is zeros; `</s>` and `<unk>` have vectors of their own; `<s>` is a word without characters.

>>> from fairseq.data import Dictionary
>>> words = Dictionary()
>>> index = words.add_symbol("fox")
>>> embed = CharacterTokenEmbedder(words, [(1, 4), (2, 8)], char_embed_dim=4, word_embed_dim=6, highway_layers=1)
>>> embed(torch.tensor([[index, words.eos()]])).shape
torch.Size([1, 2, 6])
"""

import logging
from collections.abc import Sequence
from typing import Any, Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fairseq.quantization.bits import bits_for
from fairseq.quantization.layers.linear import QLinear

logger = logging.getLogger(__name__)

CHAR_PAD_IDX = 0  # a byte b is character b + 1
CHAR_EOS_IDX = 257


class Highway(nn.Module):
    """`num_layers` highway layers of width `input_dim`, which begin with letting most of their input through."""

    def __init__(self, input_dim: int, num_layers: int = 1):
        super().__init__()
        self.input_dim = input_dim
        self.layers = nn.ModuleList(QLinear(input_dim, input_dim * 2, quantized=False) for _ in range(num_layers))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Gates begin at sigmoid(1)."""
        for layer in self.layers:
            assert isinstance(layer, nn.Linear)
            nn.init.zeros_(layer.bias)
            nn.init.ones_(layer.bias[self.input_dim :])

    def forward(self, x: Tensor, num_bits: Optional[int] = None) -> Tensor:
        """(..., C) -> (..., C)."""
        for layer in self.layers:
            change, gate = layer(x, **bits_for(layer, num_bits)).chunk(2, dim=-1)
            gate = torch.sigmoid(gate)
            x = gate * x + (1 - gate) * F.relu(change)
        return x


class CharacterTokenEmbedder(nn.Module):
    """Embeds token ids by the bytes of their words.

    Args:
        vocab: the dictionary.
        filters: (width, number) of each kind of filter.
        char_embed_dim: width of a character's vector.
        word_embed_dim: width of the result.
        highway_layers: behind the filters; 0 for none.
        max_char_len: bytes of a word that are looked at.
        char_inputs: inputs are characters (B, T, L), not token ids.
    """

    word_to_char: Tensor
    word_lengths: Tensor

    def __init__(
        self,
        vocab: Any,
        filters: Sequence[tuple[int, int]],
        char_embed_dim: int,
        word_embed_dim: int,
        highway_layers: int,
        max_char_len: int = 50,
        char_inputs: bool = False,
    ):
        super().__init__()
        self.embedding_dim = word_embed_dim
        self.max_char_len, self.char_inputs = max_char_len, char_inputs
        self.widest = max(width for width, _ in filters)
        self.char_embeddings = nn.Embedding(257, char_embed_dim, padding_idx=CHAR_PAD_IDX)
        self.symbol_embeddings = nn.Parameter(torch.empty(2, word_embed_dim))
        self.eos_idx, self.unk_idx = 0, 1  # rows of it
        self.convolutions = nn.ModuleList(
            nn.Conv1d(char_embed_dim, number, kernel_size=width) for width, number in filters
        )
        features = sum(number for _, number in filters)
        self.highway = Highway(features, highway_layers) if highway_layers > 0 else None
        self.projection = QLinear(features, word_embed_dim, quantized=False)
        self.set_vocab(vocab, max_char_len)
        self.reset_parameters()

    def set_vocab(self, vocab: Any, max_char_len: int) -> None:
        """Look up the bytes of every word of `vocab`."""
        table = torch.zeros(len(vocab), max_char_len, dtype=torch.long)
        lengths = torch.zeros(len(vocab), dtype=torch.long)
        truncated = 0
        for index in range(vocab.nspecial, len(vocab)):
            encoded = vocab[index].encode("utf-8")
            truncated += len(encoded) > max_char_len
            encoded = encoded[:max_char_len]
            table[index, : len(encoded)] = torch.tensor([byte + 1 for byte in encoded])
            lengths[index] = len(encoded)
        if truncated:
            logger.info(f"truncated {truncated} words longer than {max_char_len} characters")
        self.vocab, self.max_char_len = vocab, max_char_len
        self.register_buffer("word_to_char", table, persistent=False)
        self.register_buffer("word_lengths", lengths, persistent=False)

    @property
    def padding_idx(self) -> int:
        return CHAR_PAD_IDX if self.char_inputs else int(self.vocab.pad())

    def reset_parameters(self) -> None:
        """Xavier-normal vectors and projection."""
        nn.init.xavier_normal_(self.char_embeddings.weight)
        nn.init.zeros_(self.char_embeddings.weight[CHAR_PAD_IDX])
        nn.init.xavier_normal_(self.symbol_embeddings)
        nn.init.xavier_uniform_(self.projection.weight)
        nn.init.zeros_(self.projection.bias)

    def forward(self, input: Tensor, num_bits: Optional[int] = None) -> Tensor:
        """Vectors (B, T, C) for token ids (B, T), or for characters (B, T, L) with `char_inputs`."""
        if self.char_inputs:
            chars = input.reshape(-1, self.max_char_len)
            first = chars[:, 0]
            of_eos, of_unk = first == CHAR_EOS_IDX, torch.zeros_like(first, dtype=torch.bool)
            spelled = (first != CHAR_PAD_IDX) & ~of_eos
        else:
            ids = input.reshape(-1)
            of_eos, of_unk = ids == self.vocab.eos(), ids == self.vocab.unk()
            spelled = (ids != self.vocab.pad()) & ~of_eos & ~of_unk
        result = self.symbol_embeddings.new_zeros(spelled.numel(), self.embedding_dim)
        for chosen, row in ((of_eos, self.eos_idx), (of_unk, self.unk_idx)):
            result = torch.where(chosen.unsqueeze(1), self.symbol_embeddings[row], result)
        if torch.compiler.is_exporting():  # shapes of graphs do not depend on values
            vectors = self._convolve(chars if self.char_inputs else self.word_to_char[ids], num_bits)
            result = torch.where(spelled.unsqueeze(1), vectors, result)
        elif spelled.any():
            vectors = (
                self._convolve(chars[spelled], num_bits) if self.char_inputs else self._words(ids[spelled], num_bits)
            )
            result = result.to(vectors.dtype).masked_scatter(spelled.unsqueeze(1), vectors)
        return result.view(*input.shape[:2], -1)

    def _words(self, ids: Tensor, num_bits: Optional[int]) -> Tensor:
        """Vectors (N, C) of words (N,), each of which is computed once, however often it occurs."""
        words, place = ids.unique(return_inverse=True)
        # behind the longest word one window of padding is left, which gives what further ones would give
        length = int(self.word_lengths[words].max()) + self.widest
        return self._convolve(self.word_to_char[words, : min(length, self.max_char_len)], num_bits)[place]

    def _convolve(self, char_idxs: Tensor, num_bits: Optional[int] = None) -> Tensor:
        """Characters (N, L) -> vectors (N, C)."""
        x = self.char_embeddings(char_idxs).transpose(1, 2)  # (N, char_embed_dim, L)
        kept = [layer(x, **bits_for(layer, num_bits)).amax(dim=-1) for layer in self.convolutions]
        x = F.relu(torch.cat(kept, dim=-1))
        if self.highway is not None:
            x = self.highway(x, **bits_for(self.highway, num_bits))
        return self.projection(x, **bits_for(self.projection, num_bits))
