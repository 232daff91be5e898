"""The C++ of `kernels/src`, compiled and loaded as `fairseq.native.library` does.

library("batched")          # kernels/src/batched.cpp, or None where there is no compiler
"""

import ctypes
from pathlib import Path
from typing import Optional

from fairseq.native import library as native

SOURCES = Path(__file__).with_name("src")


def library(name: str) -> Optional[ctypes.CDLL]:
    """kernels/src/NAME.cpp, compiled; None, with one warning, where that is not possible."""
    return native.library(name, SOURCES)


def required(name: str, instead: str) -> ctypes.CDLL:
    """`library`, for callers that have checked that it is there.

    Raises:
        RuntimeError: it is not; `instead` says what to use.
    """
    return native.required(name, instead, SOURCES)
