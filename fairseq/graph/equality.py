"""Does a graph compute what its model does? Both run on the same numbers, at two sizes, compared bit for bit.

Kernels of this library that do the work of several nodes at once, and round otherwise in the last digits, step aside
for the comparison.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Optional

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from fairseq.errors import ConfigError
from fairseq.graph.attributes import Attributes
from fairseq.graph.plain_torch import without_fast_path
from fairseq.quantization.quantized_model import get_quantization
from fairseq.quantization.rounding.learned_qparams import LearnedQParams

SEED = 1


def check_against(model: nn.Module, graph: Callable[..., Any], inputs: Mapping[str, Any]) -> None:
    """Compare `graph` and `model` on `inputs`, and on inputs of another size.

    Raises:
        ConfigError: their outputs differ; says where, and for which sizes.
    """
    for given in (inputs, other_size(inputs)):
        with unchanged(model), without_fast_path():
            expected = _run(model, given)
            if isinstance(expected, Exception):
                if given is inputs:
                    raise ConfigError(f"{type(model).__name__} fails on these inputs: {_line(expected)}") from expected
                continue  # the model itself does not take that size
            found = _run(graph, given)
        sizes = ", ".join(f"{name} {list(value.shape)}" for name, value in given.items() if isinstance(value, Tensor))
        if isinstance(found, Exception):
            raise ConfigError(f"the graph of {type(model).__name__} fails for {sizes}: {_line(found)}")
        place = difference(expected, found)
        if place is not None:
            raise ConfigError(
                f"the graph of {type(model).__name__} and the model differ for {sizes}, in {place}: the model takes "
                "another branch there; name the module around it as a leaf"
            )


def other_size(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """`inputs` with one more or one fewer in each axis whose size is above 2: values are repeated or left out.

    Axes of equal size stay equal; a floating-point tensor keeps its last axis, which a layer's width fixes.
    """
    return {name: _resized(value) if isinstance(value, Tensor) else value for name, value in inputs.items()}


def _resized(value: Tensor) -> Tensor:
    last = value.dim() - 1
    for axis, size in enumerate(value.shape):
        if size < 2 or (axis == last and value.is_floating_point()):
            continue
        if value.is_floating_point() and value.dim() == 4 and axis:  # an image: channels and its sides
            continue
        wanted = size + 1 if size == 2 or axis == 0 else size - 1
        value = value.index_select(axis, torch.arange(wanted, device=value.device) % size)
    return value


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


class WithoutKernels(TorchDispatchMode):
    """Fused kernels take a dispatch mode for tracing and leave every operation to torch; this one changes nothing."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


def _run(function: Callable[..., Any], inputs: Mapping[str, Any]) -> Any:
    with WithoutKernels(), torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(SEED)
        try:
            return function(**inputs)
        except Exception as error:
            return error


@contextlib.contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Buffers (running statistics), plain attributes and the state of quantizers are afterwards what they were."""
    attributes = Attributes(model)
    before = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        with quantizers_unchanged(model):
            yield
    finally:
        attributes.restore()
        for buffer, value in before:
            buffer.copy_(value)


@contextlib.contextmanager
def quantizers_unchanged(model: nn.Module) -> Iterator[None]:
    """Calls of the model count as no updates; running ranges do not look at them, and learned scales do not start."""
    waiting = [part for part in model.modules() if isinstance(part, LearnedQParams) and not part.is_initialized]
    first = [(parameter, parameter.detach().clone()) for part in waiting for parameter in part.parameters()]
    quantization = get_quantization(model)
    context = None if quantization is None else quantization.context
    kept = None if context is None else (context.update, context.micro_batch, context.frozen)
    if context is not None:
        context.frozen = True
    try:
        yield
    finally:
        if context is not None and kept is not None:
            context.update, context.micro_batch, context.frozen = kept
        with torch.no_grad():
            for parameter, value in first:
                parameter.copy_(value)
        for part in waiting:
            part.initialized.fill_(False)
            part.is_initialized = False


def difference(a: Any, b: Any, place: str = "the output") -> Optional[str]:
    """Where two outputs differ, tensors bit for bit; None where they do not."""
    if isinstance(a, Tensor):
        same = isinstance(b, Tensor) and a.shape == b.shape and a.dtype == b.dtype
        return None if same and torch.equal(torch.nan_to_num(a), torch.nan_to_num(b)) else place
    if isinstance(a, Mapping):
        if not isinstance(b, Mapping) or list(a) != list(b):
            return place
        found = (difference(a[key], b[key], f"{place}[{key!r}]") for key in a)
        return next((where for where in found if where is not None), None)
    if isinstance(a, (tuple, list)):
        if not isinstance(b, (tuple, list)) or len(a) != len(b):
            return place
        parts = (difference(x, y, f"{place}[{index}]") for index, (x, y) in enumerate(zip(a, b, strict=True)))
        return next((where for where in parts if where is not None), None)
    return None
