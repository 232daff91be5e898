"""Adaptive softmax (Grave et al., arXiv:1609.04309): frequent words are scored directly, rare ones by clusters.

    p(w) = head(w)                                    w among the first `cutoff[0]` words
    p(w) = head(cluster i) * tail_i(w | cluster i)    w in cluster i

Clusters hold the words from `cutoff[i - 1]` to `cutoff[i]`; the i-th tail is `factor`^i narrower. Given the targets
only the tails of clusters that occur are computed, and only at their positions.

>>> softmax = AdaptiveSoftmax(20, 8, [10, 15], dropout=0.0, factor=2.0)
>>> x, target = torch.randn(2, 3, 8), torch.tensor([[4, 12, 19], [5, 6, 7]])
>>> [tuple(scores.shape) for scores in softmax(x, target)[0]]
[(6, 12), (1, 5), (1, 5)]
>>> float(softmax.get_log_prob(x, None).exp().sum(dim=-1).mean().detach().round(decimals=5))
1.0
"""

from collections.abc import Sequence
from typing import Any, Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fairseq.errors import CheckpointError
from fairseq.modules.adaptive_input import AdaptiveInput, band_width, bands
from fairseq.modules.fairseq_dropout import FairseqDropout
from fairseq.modules.quant_noise import quant_noise
from fairseq.modules.sequential import Sequential
from fairseq.quantization.bits import bits_for
from fairseq.quantization.layers.linear import QLinear
from fairseq.quantization.layers.transposed_linear import QConv1D


def TiedLinear(weight: nn.Parameter, transpose: bool) -> nn.Module:
    """A linear layer without bias that uses another module's `weight`: (out, in), or (in, out) with `transpose`."""
    rows, columns = weight.shape
    with torch.device("meta"):  # weights of its own would be thrown away
        layer: Any = (
            QConv1D(columns, rows, bias=False) if transpose else QLinear(columns, rows, bias=False, quantized=False)
        )
    layer.weight = weight
    return layer  # type: ignore[no-any-return]


def _linear(in_features: int, out_features: int, q_noise: float = 0, qn_block_size: int = 8) -> nn.Linear:
    layer = QLinear(in_features, out_features, bias=False, quantized=False)
    nn.init.xavier_uniform_(layer.weight)
    return quant_noise(layer, q_noise, qn_block_size)


class TiedHeadModule(nn.Module):
    """The head where the words' vectors are those of the adaptive input's first band.

    Args:
        weights: table (words, C_0) and projection (C_out, C_0) of that band.
        input_dim: width of the features.
        num_classes: clusters.
    """

    _float_tensor: Tensor

    def __init__(
        self, weights: tuple[Any, Any], input_dim: int, num_classes: int, q_noise: float = 0, qn_block_size: int = 8
    ):
        super().__init__()
        table: nn.Parameter = weights[0]
        self.num_words, width = table.shape
        words = TiedLinear(table, transpose=False)
        if input_dim != width:
            words = Sequential(_linear(input_dim, width, q_noise, qn_block_size), words)
        self.word_proj = words
        self.class_proj = _linear(input_dim, num_classes, q_noise, qn_block_size)
        self.out_dim = self.num_words + num_classes
        self.register_buffer("_float_tensor", torch.zeros(1))  # a key of fairseq's checkpoints

    def forward(self, input: Tensor, num_bits: Optional[int] = None) -> Tensor:
        """Scores (N, words + clusters) for features (N, C)."""
        parts = (self.word_proj, self.class_proj)
        return torch.cat([part(input, **bits_for(part, num_bits)) for part in parts], dim=-1)


class AdaptiveSoftmax(nn.Module):
    """Scores over a dictionary in clusters.

    Args:
        vocab_size: entries of the dictionary.
        input_dim: width C of the features.
        cutoff: where head and clusters end; the last one's end may be left out.
        dropout: on the features, and inside tails.
        factor: each next tail is this much narrower.
        adaptive_inputs: the words' vectors are this embedding's.
        tie_proj: so are the projections of the tails.
        q_noise, qn_block_size: quantization noise on weights of its own.
    """

    called_by_others = True  # by criterions and scorers, after the model's call

    def __init__(
        self,
        vocab_size: int,
        input_dim: int,
        cutoff: Sequence[int],
        dropout: float,
        factor: float = 4.0,
        adaptive_inputs: Optional[AdaptiveInput] = None,
        tie_proj: bool = False,
        q_noise: float = 0,
        qn_block_size: int = 8,
    ):
        super().__init__()
        self.vocab_size, self.input_dim, self.factor = vocab_size, input_dim, factor
        self.cutoff = bands(vocab_size, cutoff)
        self.q_noise, self.qn_block_size = q_noise, qn_block_size
        self.dropout_module = FairseqDropout(float(dropout), module_name=type(self).__name__)
        clusters = len(self.cutoff) - 1
        self.head: nn.Module
        if adaptive_inputs is None:
            self.head = _linear(input_dim, self.cutoff[0] + clusters, q_noise, qn_block_size)
        else:
            weights = adaptive_inputs.weights_for_band(0)
            self.head = TiedHeadModule(weights, input_dim, clusters, q_noise, qn_block_size)
        self.tail = nn.ModuleList(
            self._tail(cluster, float(dropout), adaptive_inputs, tie_proj) for cluster in range(clusters)
        )
        self.register_buffer("version", torch.tensor([1]))  # a key of fairseq's checkpoints

    def _tail(self, cluster: int, dropout: float, inputs: Optional[AdaptiveInput], tie_proj: bool) -> nn.Module:
        noise, block_size = self.q_noise, self.qn_block_size
        width = band_width(self.input_dim, self.factor, cluster + 1)
        words: nn.Module
        if inputs is None:
            projection: nn.Module = _linear(self.input_dim, width, noise, block_size)
            words = _linear(width, self.cutoff[cluster + 1] - self.cutoff[cluster], noise, block_size)
        else:
            table, table_projection = inputs.weights_for_band(cluster + 1)
            words = TiedLinear(table, transpose=False)  # type: ignore[arg-type]
            projection = (
                TiedLinear(table_projection, transpose=True)  # type: ignore[arg-type]
                if tie_proj
                else _linear(self.input_dim, table.shape[1], noise, block_size)
            )
        return Sequential(projection, nn.Dropout(dropout), words)

    def upgrade_state_dict_named(self, state_dict: dict[str, Any], name: str) -> None:
        """Raises CheckpointError for the layout before 2018, whose tails were other layers."""
        if f"{name}.version" not in state_dict:
            raise CheckpointError(f"{name}: this version of the adaptive softmax is not supported; it has no `version`")

    def adapt_target(self, target: Tensor) -> tuple[list[Optional[Tensor]], list[Optional[Tensor]]]:
        """Targets (N,) as what the parts predict.

        Returns:
            Of the head (N,), then of each cluster (n,), None where no target is in it; positions (n,) of each cluster.
        """
        of_head = target.clone()
        targets: list[Optional[Tensor]] = [of_head]
        positions: list[Optional[Tensor]] = []
        for cluster, (begin, end) in enumerate(zip(self.cutoff, self.cutoff[1:], strict=False)):
            inside = (target >= begin) & (target < end)
            of_head[inside] = self.cutoff[0] + cluster
            found = inside.nonzero().squeeze(1)
            some = found.numel() > 0
            positions.append(found if some else None)
            targets.append(target[found] - begin if some else None)
        return targets, positions

    def forward(
        self, input: Tensor, target: Tensor, num_bits: Optional[int] = None
    ) -> tuple[list[Optional[Tensor]], list[Optional[Tensor]]]:
        """Scores of the parts that the targets need.

        Args:
            input: features (B, T, C), or (N, C).
            target: (B, T), or (N,).

        Returns:
            Scores of the head (B*T, words + clusters) and of each tail (n, words) or None; the targets of each.
        """
        x = self.dropout_module(input.reshape(-1, input.size(-1)))
        targets, positions = self.adapt_target(target.reshape(-1))
        scores: list[Optional[Tensor]] = [self.head(x, **bits_for(self.head, num_bits))]
        for tail, found in zip(self.tail, positions, strict=True):
            scores.append(None if found is None else tail(x[found], **bits_for(tail, num_bits)))
        return scores, targets

    def get_log_prob(self, input: Tensor, target: Optional[Tensor], num_bits: Optional[int] = None) -> Tensor:
        """Log-probabilities (B, T, V) for features (B, T, C).

        Args:
            target: (B, T): compute only what these words need; what is not computed is -inf. None: compute all.
        """
        x = input.reshape(-1, input.size(-1))
        positions = None if target is None else self.adapt_target(target.reshape(-1))[1]
        head = F.log_softmax(self.head(x, **bits_for(self.head, num_bits)), dim=-1)
        result = head.new_full((x.size(0), self.vocab_size), float("-inf"))
        words = self.cutoff[0]
        result[:, :words] = head[:, :words]
        for cluster, tail in enumerate(self.tail):
            begin, end = self.cutoff[cluster], self.cutoff[cluster + 1]
            prior = head[:, words + cluster : words + cluster + 1]
            if positions is None:
                result[:, begin:end] = F.log_softmax(tail(x, **bits_for(tail, num_bits)), dim=-1) + prior
                continue
            found = positions[cluster]
            if found is not None:
                scores = F.log_softmax(tail(x[found], **bits_for(tail, num_bits)), dim=-1)
                result[found, begin:end] = scores + prior[found]
        return result.view(*input.shape[:-1], -1)
