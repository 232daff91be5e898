"""Activation functions by the names that configs use.

    gelu(x) = x * Phi(x)                                                   Hendrycks & Gimpel, arXiv:1606.08415
    gelu_accurate(x) = x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3)))   its tanh approximation
    relu_squared(x) = max(x, 0)^2

>>> get_activation_fn("relu_squared")(torch.tensor([-1.0, 3.0]))
tensor([0., 9.])
"""

import warnings
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from fairseq.errors import ConfigError, unknown
from fairseq.native.gelu import gelu

Activation = Callable[[Tensor], Tensor]


def gelu_accurate(x: Tensor) -> Tensor:
    """GELU by its tanh approximation."""
    return F.gelu(x, approximate="tanh")


def relu_squared(x: Tensor) -> Tensor:
    return F.relu(x).square()


def linear(x: Tensor) -> Tensor:
    """The identity."""
    return x


def gelu_fast(x: Tensor) -> Tensor:
    """Former name of `gelu_accurate`."""
    warnings.warn("activation 'gelu_fast' is now called 'gelu_accurate'", DeprecationWarning, stacklevel=2)
    return gelu_accurate(x)


_ACTIVATIONS: dict[str, Activation] = {
    "relu": F.relu,
    "relu_squared": relu_squared,
    "gelu": gelu,
    "gelu_fast": gelu_fast,
    "gelu_accurate": gelu_accurate,
    "tanh": torch.tanh,
    "linear": linear,
    "swish": F.silu,
}


def get_activation_fn(activation: str) -> Activation:
    """The function called `activation`; raises ConfigError, naming the nearest, if there is none."""
    try:
        return _ACTIVATIONS[str(activation)]
    except KeyError:
        raise ConfigError(unknown("activation function", str(activation), _ACTIVATIONS)) from None


def get_available_activation_fns() -> list[str]:
    """Every name that `get_activation_fn` accepts."""
    return list(_ACTIVATIONS)
