"""Quantization noise (Fan et al., arXiv:2004.07320): in training, random blocks of a weight are set to zero.

    w~ = w * mask / (1 - p),  mask constant over blocks of `block_size` inputs, zero with probability p

The straight-through estimator lets the gradient pass as if w had been used. The weight itself is never changed.

>>> layer = quant_noise(nn.Linear(8, 2), p=0.5, block_size=4)
>>> layer, list(layer.state_dict())
(QuantNoiseLinear(in_features=8, out_features=2, bias=True), ['weight', 'bias'])
"""

from typing import Union, overload

import torch.nn.functional as F
from torch import Tensor, nn

from fairseq.errors import ConfigError
from fairseq.quantization.layers.linear import QLinear


def noisy(weight: Tensor, p: float, block_size: int) -> Tensor:
    """`weight` (rows, columns) with blocks along each row dropped with probability `p`; gradients pass unchanged."""
    rows, columns = weight.shape
    dropped = weight.new_zeros(columns // block_size * rows).bernoulli_(p)
    mask = dropped.repeat_interleave(block_size).view(rows, columns).bool()
    return weight + (weight.masked_fill(mask, 0) / (1 - p) - weight).detach()


class QuantNoiseLinear(nn.Linear):
    """Linear with quantization noise on its weight while training."""

    quant_noise_p: float
    quant_noise_block_size: int

    def forward(self, input: Tensor) -> Tensor:
        weight = noisy(self.weight, self.quant_noise_p, self.quant_noise_block_size) if self.training else self.weight
        return F.linear(input, weight, self.bias)


class QuantNoiseEmbedding(nn.Embedding):
    """Embedding with quantization noise on its table while training."""

    quant_noise_p: float
    quant_noise_block_size: int

    def forward(self, input: Tensor) -> Tensor:
        weight = noisy(self.weight, self.quant_noise_p, self.quant_noise_block_size) if self.training else self.weight
        return F.embedding(
            input, weight, self.padding_idx, self.max_norm, self.norm_type, self.scale_grad_by_freq, self.sparse
        )


@overload
def quant_noise(module: nn.Linear, p: float, block_size: int) -> nn.Linear: ...


@overload
def quant_noise(module: nn.Module, p: float, block_size: int) -> nn.Module: ...


def quant_noise(module: nn.Module, p: float, block_size: int) -> nn.Module:
    """`module` with quantization noise; itself where `p` is 0.

    Args:
        module: a Linear or an Embedding; its parameters become the returned module's.
        p: probability that a block is dropped.
        block_size: inputs (columns of the weight) per block; must divide their number.

    Raises:
        ConfigError: another kind of module, or a block size that does not divide the weight's columns.
    """
    if p <= 0:
        return module
    kinds: dict[type, type[Union[QuantNoiseLinear, QuantNoiseEmbedding]]]
    kinds = {nn.Linear: QuantNoiseLinear, QLinear: QuantNoiseLinear, nn.Embedding: QuantNoiseEmbedding}
    kind = kinds.get(type(module))
    if kind is None:
        raise ConfigError(
            f"quant_noise_pq: quantization noise is for Linear and Embedding, not {type(module).__name__}"
        )
    assert isinstance(module, (nn.Linear, nn.Embedding))
    if module.weight.size(1) % block_size:
        raise ConfigError(
            f"quant_noise_pq_block_size: {block_size} does not divide the {module.weight.size(1)} columns of {module}"
        )
    # same parameters, buffers and settings under a class whose forward adds the noise: state-dict keys are the same
    result = kind.__new__(kind)
    result.__dict__.update({name: value for name, value in module.__dict__.items() if name != "quantizers"})
    result.quant_noise_p, result.quant_noise_block_size = p, block_size
    return result
