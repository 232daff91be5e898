"""Gradients of rounding. Its true slope is 0 or infinity, so training pretends that it has another one.

    plain     1 everywhere, also where y was clamped (the straight-through estimator; alias straight_through)
    clipped   1 between the outermost levels, 0 where clamping took the value
    tanh      1 - tanh(x / a)^2, of a binary format with scale a: the slope of a tanh(x / a), which looks like its step

Every kind is a class, found by `BACKWARDS`, that gives dL/dx as dL/dy times a slope. A number behind a colon is its
setting; `estimators.py` has more of them. tanh: Qin et al., arXiv:1909.10788
(IR-Net), equation 9 with t = k = 1 and x in units of a.

>>> from fairseq.quantization.formats import build_format
>>> symmetric = build_format("symmetric")
>>> qparams = symmetric.qparams(torch.tensor([-3.0]), torch.tensor([3.0]), num_bits=3)
>>> x = torch.tensor([0.2, 5.0], requires_grad=True)
>>> slope = Clipped().slope(symmetric, x.detach(), qparams, 0.0)
>>> Sloped.apply(x, torch.tensor([0.0, 3.0]), slope).sum().backward()
>>> x.grad
tensor([1., 0.])
"""

from typing import Any, ClassVar

import torch
from torch import Tensor

from fairseq.errors import ConfigError, unknown
from fairseq.quantization.formats import NumberFormat, QParams
from fairseq.quantization.registry import Registry


class Backward:
    """One kind of gradient.

    Attributes:
        is_plain: the slope is 1 everywhere, and never asked for.
        is_mask: the slope is 0 or 1, as booleans.
    """

    is_plain: ClassVar[bool] = False
    is_mask: ClassVar[bool] = False

    def check(self, number_format: NumberFormat, where: str) -> None:
        """ConfigError where the kind does not suit the format."""

    def slope(self, number_format: NumberFormat, x: Tensor, qparams: QParams, progress: float) -> Tensor:
        """What dL/dy is multiplied by: booleans or numbers, of x's shape.

        Args:
            progress: share of the run that is done, 0 at its first update and 1 at its last.
        """
        raise NotImplementedError


BACKWARDS: Registry[type[Backward]] = Registry("ste", __name__.rpartition(".")[0])


@BACKWARDS.register("plain", "straight_through")
class Straight(Backward):
    """The gradient passes unchanged."""

    is_plain = True


@BACKWARDS.register("clipped")
class Clipped(Backward):
    """The gradient passes between the outermost levels."""

    is_mask = True

    def slope(self, number_format: NumberFormat, x: Tensor, qparams: QParams, progress: float) -> Tensor:
        return number_format.is_inside(x, qparams)


def build_backward(text: str, where: str = "ste") -> Backward:
    """The kind that `text` names, with the number behind its colon; ConfigError where there is none."""
    name, colon, number = str(text).partition(":")
    if name not in BACKWARDS:
        raise ConfigError(unknown("ste", name, BACKWARDS.names(), where=where))
    kind = BACKWARDS.lookup(name)
    if not colon:
        return kind()
    try:
        return kind(float(number))  # type: ignore[call-arg]
    except (TypeError, ValueError):
        raise ConfigError(f"{where}: ste {name} takes no {number!r} behind its colon") from None


def canonical_backward(text: str) -> str:
    """`text` without aliases."""
    name, colon, number = str(text).partition(":")
    return f"{BACKWARDS.canonical(name)}{colon}{number}"


@BACKWARDS.register("tanh")
class Tanh(Backward):
    """The slope of a smooth step between two levels."""

    def check(self, number_format: NumberFormat, where: str) -> None:
        if number_format.fixed_bits != 1 or not number_format.is_symmetric:
            raise ConfigError(f"{where}: ste tanh is for two levels, -a and a; the format {number_format} has others")

    def slope(self, number_format: NumberFormat, x: Tensor, qparams: QParams, progress: float) -> Tensor:
        return (x / qparams.scale).tanh_().square_().neg_().add_(1)


class Plain(torch.autograd.Function):
    """`value` in place of `x`; the gradient passes unchanged."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


class PlainResult(torch.autograd.Function):
    """`Plain`, whose result may be written to: `value` is alone in a list, so that it counts as made here."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, value: list[Tensor]) -> Tensor:
        return value[0]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


def positive(x: Tensor, least: float = 0.0) -> Tensor:
    """max(|x|, least): a trained scale or clip, whichever side of zero its parameter is on."""
    if torch.is_grad_enabled() and x.requires_grad:
        return _Positive.apply(x, least)  # type: ignore[no-any-return, no-untyped-call]
    return x.abs().clamp_(min=least)


class _Positive(torch.autograd.Function):
    """The slope is the sign of x, +1 at 0 and also where `least` is taken, so that nothing is stuck there."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, least: float) -> Tensor:
        ctx.save_for_backward(x)
        return x.abs().clamp_(min=least)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return torch.where(x < 0, -grad, grad), None


class Sloped(torch.autograd.Function):
    """`value` in place of `x`; the gradient is multiplied by `slope`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(slope)
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return (grad * slope).to(grad.dtype), None, None
