"""Functions of tensors that torch.compile compiles where that pays, and that run eagerly everywhere else.

    @kernel
    def column_sums(data):
        return data.sum(0, keepdim=True, dtype=torch.int32)

Eagerly, an expression is one pass over memory per operation; compiled it is one pass: C++ on a CPU, Triton on a GPU.
The numbers are the same to the last bit. Sizes are symbolic, so that neither a ragged batch nor a new precision
compiles anything; torch keeps the result on disk.

Compiling takes seconds, so a kernel is compiled once so many elements have gone through it eagerly that it pays: a
short run does not wait for a compiler. Small tensors, and operations that are traced, run eagerly. A compiler that
fails is reported once; from then on everything is eager.
"""

import functools
import logging
import types
from collections.abc import Callable
from typing import Any, Optional, TypeVar, cast

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.fx.experimental import _config
from torch.overrides import _get_current_function_mode
from torch.utils import _python_dispatch

logger = logging.getLogger(__name__)

BREAK_EVEN = 2**29  # elements through one variant: running them eagerly costs about as much more as compiling
MIN_KERNEL_ELEMENTS = 2**16  # for fewer, neither a compiled kernel's call nor starting a compiler pays

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(function: Function) -> Function:
    """Decorator: run `function` compiled where that pays.

    It takes positional arguments: tensors, and settings that can be hashed. It returns tensors or writes to one that it
    was given. The size of its first tensor decides.
    """

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        done, result = run_compiled(function, arguments)
        return result if done else function(*arguments)

    return cast(Function, call)


def may_compile(x: Tensor) -> bool:
    """Whether a function whose first tensor is `x` may run compiled."""
    return x.numel() >= MIN_KERNEL_ELEMENTS and compiler().works and not is_tracing() and not calls_are_seen()


def run_compiled(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[bool, Any]:
    """(True, the result of `function` compiled), or (False, None), with nothing done, where it is to run eagerly."""
    first = next(argument for argument in arguments if isinstance(argument, Tensor))
    if not may_compile(first):
        return False, None
    variant = _variant(function, tuple(map(_signature, arguments)))
    variant.elements += first.numel()
    if variant.compiled is None and variant.elements < compiler().break_even:
        return False, None
    # torch.compile guards on requires_grad and would compile such tensors separately
    arguments = tuple(a.detach() if isinstance(a, Tensor) and a.requires_grad else a for a in arguments)
    try:
        if variant.compiled is not None:
            return True, variant.compiled(*arguments)
        variant.compiled = torch.compile(variant.function, dynamic=True)
        # equal sizes in the first call must not be assumed equal in later ones
        with _config.patch(use_duck_shape=False):  # type: ignore[attr-defined]
            return True, variant.compiled(*arguments)
    except Exception as error:  # torch.compile raises different types on different platforms
        compiler().failed(error)
        return False, None


class _Variant:
    """A function for arguments of one signature."""

    def __init__(self, function: Callable[..., Any]):
        # torch limits recompilations per code object, so each variant gets a code object of its own
        self.function = types.FunctionType(
            function.__code__.replace(), function.__globals__, function.__name__, None, function.__closure__
        )
        self.elements = 0
        self.compiled: Optional[Callable[..., Any]] = None


@functools.cache
def _variant(function: Callable[..., Any], signature: tuple[Any, ...]) -> _Variant:
    return _Variant(function)


def _signature(argument: Any) -> Any:
    """Calls with equal signatures share compiled code: types, which sizes are 1, and the values of settings."""
    if not isinstance(argument, Tensor):
        return argument
    return argument.dtype, argument.device.type, tuple(size > 1 for size in argument.shape)


class Compiler:
    """Whether compiling works in this process, and after how many elements it pays; `break_even` 0 compiles at once."""

    def __init__(self) -> None:
        self.works = True
        self.break_even = BREAK_EVEN

    def failed(self, error: Exception) -> None:
        """Compiling raised: say so, and compile no more."""
        self.works = False
        reason = str(error).strip().partition("\n")[0]
        logger.warning("quantization: no compiled kernels, the same operations run eagerly (%s)", reason)


@functools.cache
def compiler() -> Compiler:
    """The instance of this process."""
    return Compiler()


def clear() -> None:
    """Forget what has been compiled in this process (what is on disk stays)."""
    _variant.cache_clear()
    compiler.cache_clear()


def is_tracing() -> bool:
    """Whether operations are traced: by a dispatch mode, torch.compile, torch.jit or forward-mode differentiation."""
    # is_compiling comes first: Dynamo cannot trace the query for dispatch modes
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or forward_ad._current_level >= 0:
        return True
    return _python_dispatch._get_current_dispatch_mode() is not None


def calls_are_seen() -> bool:
    """Whether one of our function modes is active. Code compiled under a mode is compiled again without it, so kernels
    run eagerly then; the numbers are the same.
    """
    return getattr(_get_current_function_mode(), "sees_calls", False)
