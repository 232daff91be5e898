"""`first_order`: for backward passes that cannot be differentiated. With `create_graph=True` they are an error.

It is raised at once, and not with the second derivative as by torch's `once_differentiable`: what backward makes has no
path to the inputs, so `torch.autograd.grad` would not look for a derivative there and take it for zero.

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
>>> torch.autograd.grad(Square.apply(x), x)
(tensor(6.),)
>>> torch.autograd.grad(Square.apply(x), x, create_graph=True)
Traceback (most recent call last):
fairseq.errors.TrainingError: create_graph=True: our square has no gradient of its gradient; use x ** 2
"""

import functools
from collections.abc import Callable
from typing import Any

import torch

from fairseq.errors import TrainingError

Backward = Callable[..., Any]


def first_order(what: str, instead: str) -> Callable[[Backward], Backward]:
    """Decorator for the `backward` of an `autograd.Function`, below `@staticmethod`.

    Args:
        what: the function, in the message.
        instead: what to do for gradients of gradients.
    """
    message = f"create_graph=True: {what} has no gradient of its gradient; {instead}"

    def decorated(backward: Backward) -> Backward:
        @functools.wraps(backward)
        def checked(ctx: Any, *grads: Any) -> Any:
            if torch.is_grad_enabled() and not torch.compiler.is_compiling():
                raise TrainingError(message)
            return backward(ctx, *grads)

        return checked

    return decorated
