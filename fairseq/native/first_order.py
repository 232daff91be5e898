"""`first_order`: for backward passes that cannot be differentiated. A gradient of a gradient through one is an error.

torch's `once_differentiable` says nothing where the incoming gradient needs no gradient itself, as that of a sum: what
backward kept of weights and inputs is then taken for constant, and their gradients are too small without a word.

>>> class Square(torch.autograd.Function):
...     @staticmethod
...     def forward(ctx, x):
...         ctx.save_for_backward(x)
...         return x * x
...     @staticmethod
...     @first_order("our square", "use x ** 2")
...     def backward(ctx, grad):
...         return 2 * ctx.saved_tensors[0].detach() * grad
>>> x = torch.tensor(3.0, requires_grad=True)
>>> (first,) = torch.autograd.grad(Square.apply(x), x, create_graph=True)
>>> first.detach()
tensor(6.)
>>> first.backward()
Traceback (most recent call last):
fairseq.errors.TrainingError: our square has no gradient of its gradient; use x ** 2
"""

import functools
from collections.abc import Callable
from typing import Any, Optional

import torch
from torch import Tensor

from fairseq.errors import TrainingError

Backward = Callable[..., Any]


def first_order(what: str, instead: str) -> Callable[[Backward], Backward]:
    """Decorator for the `backward` of an `autograd.Function`, below `@staticmethod`.

    Args:
        what: the function, in the message.
        instead: what to do for gradients of gradients.
    """
    message = f"{what} has no gradient of its gradient; {instead}"

    def decorated(backward: Backward) -> Backward:
        @functools.wraps(backward)
        def checked(ctx: Any, *grads: Optional[Tensor]) -> Any:
            if not torch.is_grad_enabled():  # but for `create_graph=True`, always
                return backward(ctx, *grads)
            with torch.no_grad():
                found = backward(ctx, *grads)
            return _guarded(found, message) if isinstance(found, Tensor) else tuple(_guarded(x, message) for x in found)

        return checked

    return decorated


def _guarded(x: Optional[Tensor], message: str) -> Optional[Tensor]:
    return None if x is None else _NoGradient.apply(x.detach().requires_grad_(), message)  # type: ignore[no-untyped-call]


class _NoGradient(torch.autograd.Function):
    """`x`, whose gradient is asked for in vain."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, message: str) -> Tensor:
        ctx.message = message
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        raise TrainingError(ctx.message)
