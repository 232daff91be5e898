"""How much torch's own modules multiply in a call, where no quantizer counts it.

>>> convolution = nn.Conv2d(3, 8, kernel_size=5)
>>> x = torch.zeros(2, 3, 12, 12)
>>> unquantized_product(convolution, x, convolution(x)).macs == 2 * 8 * 8 * 8 * 3 * 5 * 5
True
"""

from typing import Any, Optional

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from fairseq.quantization.plan.target import UnquantizedProduct


def unquantized_product(module: nn.Module, x: Any, output: Any) -> Optional[UnquantizedProduct]:
    """Factors and multiply-accumulates of a convolution, a recurrent layer or cell, or nn.Bilinear; None of others.

    Args:
        x: the first argument.
        output: what the module has returned.
    """
    if isinstance(module, _ConvNd):
        # each value of the output (transposed: of the input) meets the weights of one channel
        values = x if isinstance(module, _ConvTransposeNd) else output
        return UnquantizedProduct(x, module.weight, values.numel() * module.weight[0].numel())
    if isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
        steps: Tensor = x.data if isinstance(x, torch.nn.utils.rnn.PackedSequence) else x
        weights = [weight for name, weight in module.named_parameters() if name.startswith("weight")]
        return UnquantizedProduct(steps, weights[0], rows(steps) * sum(weight.numel() for weight in weights))
    if isinstance(module, nn.Bilinear):
        return UnquantizedProduct(x, module.weight, rows(x) * module.weight.numel())
    return None


def attention_product(
    attention: nn.MultiheadAttention, query: Tensor, key: Tensor, value: Tensor
) -> UnquantizedProduct:
    """All six products of torch's attention: (T, N, E) or, batch first, (N, T, E); without a batch (T, E)."""
    width = attention.embed_dim
    keys = key.shape[1] if attention.batch_first and key.dim() == 3 else key.shape[0]
    projections = 2 * rows(query) * width * width + (key.numel() + value.numel()) * width
    return UnquantizedProduct(query, attention.out_proj.weight, projections + 2 * rows(query) * keys * width)


def rows(x: Tensor) -> int:
    """Vectors in `x`."""
    return x.numel() // x.shape[-1]
