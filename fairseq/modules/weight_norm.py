"""Weight normalization (Salimans and Kingma, arXiv:1602.07868): length and direction of a weight are trained apart.

    weight = weight_g * weight_v / |weight_v|

Parameters and state-dict keys are those of torch.nn.utils.weight_norm. In contrast to that, the weight is no attribute
that a call leaves behind: models can be copied and pickled at any time, and quantizers see the weight in force.

>>> layer = weight_normed(nn.Linear(3, 4))
>>> list(layer.state_dict()), layer(torch.ones(2, 3)).shape
(['bias', 'weight_g', 'weight_v'], torch.Size([2, 4]))
"""

from typing import Any, Optional

import torch
from torch import Tensor, nn

from fairseq.modules.conv_tbc import ConvTBC
from fairseq.modules.linearized_convolution import LinearizedConvolution
from fairseq.quantization.layers.linear import QLinear


class WeightNormed(nn.Module):
    """A layer whose `weight` is computed; in front of the layer's class among the bases.

    Attributes:
        norm_dim: the weight's dimension of outputs; lengths are taken over the others.
    """

    norm_dim: int = 0
    weight_g: Tensor
    weight_v: Tensor
    _kept: Optional[tuple[Optional[tuple[int, ...]], Tensor]]

    @property
    def weight(self) -> Tensor:
        g, v = self.weight_g, self.weight_v
        if self.training:
            return torch._weight_norm(v, g, self.norm_dim)
        if torch.is_grad_enabled():
            weight = torch._weight_norm(v, g, self.norm_dim)
            self._kept = None, weight.detach()  # two in succession never have one address: caches go by it
            return weight
        versions = (g._version, v._version, g.data_ptr(), v.data_ptr())
        kept = self._kept
        if kept is None or kept[0] != versions:  # the old one is there until the new one has its memory
            self._kept = kept = versions, torch._weight_norm(v, g, self.norm_dim)
        return kept[1]

    def train(self, mode: bool = True) -> Any:
        if mode != self.training:
            self._kept = None  # optimizers that write through `.data` change no version
        return super().train(mode)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": None}


class WeightNormLinear(WeightNormed, QLinear):  # type: ignore[misc, override]
    """A Linear."""


class WeightNormConvTBC(WeightNormed, ConvTBC):  # type: ignore[misc]
    """A ConvTBC."""

    norm_dim = 2


class WeightNormLinearizedConvolution(WeightNormed, LinearizedConvolution):  # type: ignore[misc]
    """A LinearizedConvolution."""

    norm_dim = 2


_KINDS: dict[type[nn.Module], type[WeightNormed]] = {
    nn.Linear: WeightNormLinear,
    ConvTBC: WeightNormConvTBC,
    LinearizedConvolution: WeightNormLinearizedConvolution,
}


def weight_normed(layer: nn.Module) -> Any:
    """A layer of the same weight, from an nn.Linear, ConvTBC or LinearizedConvolution that is not used any more."""
    kind = _KINDS[type(layer)]
    result: Any = kind.__new__(kind)
    result.__dict__.update(layer.__dict__)
    weight = result._parameters.pop("weight")
    result.weight_g = nn.Parameter(torch.norm_except_dim(weight.detach(), 2, kind.norm_dim))
    result.weight_v = nn.Parameter(weight.detach())
    result.quantizers = None
    result._kept = None
    return result
