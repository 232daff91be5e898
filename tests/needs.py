"""What tests need of the machine, as marks.

A test is skipped only where the machine lacks something: where a compiler is there and fails, the test fails, too.
"""

import os
import shutil

import pytest

from fairseq.native.library import _compiler, _processor
from fairseq.quantization.kernels import gemm


def has_compiler() -> bool:
    """Whether there is a C++ compiler for our own kernels."""
    try:
        _compiler()
    except FileNotFoundError:
        return False
    return True


def has_dot_products() -> bool:
    """Whether this processor has int8 dot products.

    Linux says so itself. Elsewhere the kernel tells; True where it cannot be built, so that its tests fail.
    """
    described = _processor()
    if "flags" in described or "Features" in described:
        return "avx512_vnni" in described or "avx_vnni" in described
    return gemm.library("gemm") is None or gemm._panel_columns() > 0


compiler = pytest.mark.skipif(not has_compiler(), reason="no C++ compiler")
torch_compiler = pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None, reason="no C++ compiler that torch.compile would take"
)
dot_products = pytest.mark.skipif(has_compiler() and not has_dot_products(), reason="no int8 dot products")
