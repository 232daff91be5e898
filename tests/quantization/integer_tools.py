"""Codes, what they stand for, and layers that multiply them."""

from typing import Any, Optional

import pytest
from torch import Tensor, nn

from fairseq.quantization import quantize_model
from fairseq.quantization.formats import build_format
from fairseq.quantization.kernels import encoding, gemm, weights
from fairseq.quantization.kernels.codes import QuantizedMatrix, encode

TOLERANCE = 1e-5
NAMES = ["affine", "affine_float_zp", "fixed_point", "symmetric"]


def without_own_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gemm, "is_preferred", lambda *_: False)
    for place in (encoding, weights):
        monkeypatch.setattr(place, "is_available", lambda *_: False)


def values(codes: Any) -> Tensor:
    """What codes, or a weight's, stand for, in fp64."""
    found = (codes.data.double() - codes.zero_point) * codes.scale.double()
    return found if codes.offset is None else found + codes.offset.double()


def close(found: Tensor, expected: Tensor, what: str = "") -> None:
    """Within 1e-5 of the largest number expected."""
    assert found.isfinite().all(), what
    error = (found.double() - expected).abs().max()
    assert error <= TOLERANCE * expected.abs().max() + 1e-37, (what, float(error / expected.abs().max()))


def codes_of(x: Tensor, name: str, num_bits: int, axis: Optional[int] = None) -> QuantizedMatrix:
    """Codes with one scale, or (axis 1) one per row."""
    number_format = build_format(name)
    low, high = (x.amin(), x.amax()) if axis is None else (x.amin(axis, keepdim=True), x.amax(axis, keepdim=True))
    return encode(x, number_format, number_format.qparams(low, high, num_bits), num_bits)


def layer(preset: str = "int8", inputs: int = 24, outputs: int = 10, **changes: Any) -> nn.Module:
    return quantize_model(nn.Sequential(nn.Linear(inputs, outputs)), preset, compute="integer", **changes)
