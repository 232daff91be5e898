"""The operators of torch that multiply matrices: their FLOPs and their factors.

>>> x, w = torch.zeros(2, 3), torch.zeros(3, 4)
>>> [flops for flops, *_ in products_of(torch.ops.aten.mm, (x, w), {})]
[48]
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten


def _matrices(a: Tensor, b: Tensor) -> int:
    return 2 * a.numel() * b.shape[-1]


def _attention(q: Tensor, k: Tensor, v: Tensor) -> int:
    queries = 2 * q.shape[:-1].numel() * k.shape[-2]
    return queries * (q.shape[-1] + v.shape[-1])


def _convolution(x: Tensor, weight: Tensor, y: Sequence[int], transposed: bool) -> int:
    """Each value of the output `y`, or of the input of a transposed one, meets one channel's weights."""
    values = x.numel() if transposed else math.prod(y)
    return 2 * values * weight[0].numel()


def _of_convolution(args: tuple[Any, ...]) -> Iterator[tuple[int, Tensor, Tensor]]:
    x, weight, _, *geometry = args
    meta = torch.convolution(x.to("meta"), weight.to("meta"), None, *geometry)
    yield _convolution(x, weight, meta.shape, geometry[3]), x, weight


def _of_convolution_backward(args: tuple[Any, ...]) -> Iterator[tuple[int, Tensor, Tensor]]:
    grad, x, weight, _, _, _, _, transposed, _, _, mask = args
    flops = _convolution(x, weight, grad.shape, transposed)
    for wanted, other in zip(mask, (weight, x), strict=False):
        if wanted:
            yield flops, grad, other


# operator -> (FLOPs from its arguments, positions of its factors)
GEMMS: dict[Any, tuple[Callable[..., int], tuple[int, int]]] = {
    aten.mm: (lambda a, b, *_, **__: _matrices(a, b), (0, 1)),
    aten.bmm: (lambda a, b, *_, **__: _matrices(a, b), (0, 1)),
    aten._int_mm: (lambda a, b, *_, **__: _matrices(a, b), (0, 1)),
    aten.mv: (lambda a, b, *_, **__: 2 * a.numel(), (0, 1)),
    aten.dot: (lambda a, b, *_, **__: 2 * a.numel(), (0, 1)),
    aten.addmm: (lambda _, a, b, *__, **___: _matrices(a, b), (1, 2)),
    aten.addmv: (lambda _, a, b, *__, **___: 2 * a.numel(), (1, 2)),
    aten.baddbmm: (lambda _, a, b, *__, **___: _matrices(a, b), (1, 2)),
    aten.linear: (lambda a, w, *_, **__: 2 * a.numel() * w.shape[0], (0, 1)),
    aten._native_multi_head_attention: (
        lambda q, k, v, width, *_, **__: 8 * q.numel() * width + 4 * q.numel() * k.shape[1],
        (0, 1),
    ),
    aten._transformer_encoder_layer_fwd: (
        lambda x, width, heads, qkv, *rest, **_: 2 * x.numel() * (qkv.shape[0] + width + 2 * x.shape[1]),
        (0, 3),
    ),
}
for _name in (
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_fused_attention_overrideable",
):
    if hasattr(aten, _name):
        GEMMS[getattr(aten, _name)] = (lambda q, k, v, *_, **__: _attention(q, k, v), (0, 1))
    if hasattr(aten, f"{_name}_backward"):
        # five products: the scores again, and the gradients of v, probs, q and k
        GEMMS[getattr(aten, f"{_name}_backward")] = (
            lambda g, q, k, v, *_, **__: 5 * _attention(q, k, v) // 2,
            (1, 2),
        )

CONVOLUTIONS = {aten.convolution: _of_convolution, aten.convolution_backward: _of_convolution_backward}


def products_of(
    operator: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Iterable[tuple[int, Tensor, Tensor]]:
    """FLOPs and both factors of each product that a call of `operator` carries out; nothing for most operators."""
    known = GEMMS.get(operator)
    if known is not None:
        flops, (first, second) = known
        return [(flops(*args, **kwargs), args[first], args[second])]
    several = CONVOLUTIONS.get(operator)
    return () if several is None else list(several(args))
