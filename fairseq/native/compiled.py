"""Kernels as plain functions of tensors: compiled by torch.compile where a compiler is, run eagerly where none is.

    total = kernel(column_sums)(codes)

A kernel is compiled once in a process, with symbolic sizes, so that a ragged batch compiles nothing; torch keeps the
result on disk. That takes seconds, so it is done once so much has gone through the kernel eagerly that it pays. Small
tensors and operations that somebody traces go the eager way, too; it computes the same numbers.
A compiler that fails is reported once; from then on everything is eager.
"""

import functools
import logging
import types
from collections.abc import Callable
from typing import Any, Optional

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.fx.experimental import _config
from torch.overrides import _get_current_function_mode
from torch.utils import _python_dispatch

logger = logging.getLogger(__name__)

BREAK_EVEN = 2**28  # elements through one kernel: eagerly they cost about as much more as compiling
MIN_KERNEL_ELEMENTS = 2**16  # for fewer, neither a compiled kernel's call nor starting a compiler pays


class Kernel:
    """A function of tensors in two versions.

    Args:
        function: takes tensors (and what `variant` fixes) and returns tensors or writes to one of them.
        variant: what tells this use apart from others that must not share compiled code.
    """

    def __init__(self, function: Callable[..., Any], variant: tuple[Any, ...]):
        # torch counts recompilations per code object, and gives up after a few: a code object for each variant
        own = types.FunctionType(
            function.__code__.replace(), function.__globals__, function.__name__, None, function.__closure__
        )
        self.eager, self.variant = function, variant
        self._own = own
        self._elements = 0
        self._compiled: Optional[Callable[..., Any]] = None

    def __call__(self, *arguments: Any) -> Any:
        """Run on `arguments`; the first tensor's size decides which version."""
        first = next(argument for argument in arguments if isinstance(argument, Tensor))
        if first.numel() < MIN_KERNEL_ELEMENTS or not compiler().works or is_tracing() or calls_are_seen():
            return self.eager(*arguments)
        self._elements += first.numel()
        if self._compiled is None and self._elements < compiler().break_even:
            return self.eager(*arguments)
        # a tensor that wants a gradient would be compiled apart
        arguments = tuple(a.detach() if isinstance(a, Tensor) and a.requires_grad else a for a in arguments)
        try:
            if self._compiled is not None:
                return self._compiled(*arguments)
            self._compiled = torch.compile(self._own, dynamic=True)
            # if the first matrix is square, others need not be
            with _config.patch(use_duck_shape=False):  # type: ignore[attr-defined]
                return self._compiled(*arguments)
        except Exception as error:  # a missing or broken compiler has many faces
            compiler().failed(error)
            return self.eager(*arguments)


class Compiler:
    """Whether compiled kernels can be had in this process, and when they pay; `break_even` 0 compiles at once."""

    def __init__(self) -> None:
        self.works = True
        self.break_even = BREAK_EVEN

    def failed(self, error: Exception) -> None:
        """Compiling raised: say so, and compile no more."""
        self.works = False
        reason = str(error).strip().partition("\n")[0]
        logger.warning(
            "quantization: no compiled kernels, integer products run eagerly around their GEMMs (%s)", reason
        )


@functools.cache
def compiler() -> Compiler:
    """The process's one."""
    return Compiler()


@functools.cache
def kernel(function: Callable[..., Any], *variant: Any) -> Kernel:
    """The kernel for `function` and `variant`, made once per process."""
    return Kernel(function, variant)


def clear() -> None:
    """Forget what has been compiled in this process (what is on disk stays)."""
    kernel.cache_clear()
    compiler.cache_clear()


def is_tracing() -> bool:
    """Whether somebody wants to see every operation: a dispatch mode, or a torch.compile around us."""
    # compiling first: its tracer stops at a look for dispatch modes
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or forward_ad._current_level >= 0:
        return True
    return _python_dispatch._get_current_dispatch_mode() is not None


def calls_are_seen() -> bool:
    """Whether a function mode of ours is on. What is compiled under a mode is compiled again without it, so kernels
    run eagerly then; the numbers are the same.
    """
    return getattr(_get_current_function_mode(), "sees_calls", False)
