"""CPT's quantizer in NumPy, written from the formulas; fp32 throughout."""

from typing import Optional

import numpy as np

F = np.float32


def qparams(low: np.ndarray, high: np.ndarray, num_bits: int) -> tuple[np.ndarray, np.ndarray]:
    """(scale, zero point): range over 2^b - 1 levels, at least 1e-8; the minimum."""
    scale = np.maximum((high - low) / F(2**num_bits - 1), F(1e-8))
    return scale.astype(F), low.astype(F)


def fake_quantize(x: np.ndarray, low: np.ndarray, high: np.ndarray, num_bits: int) -> np.ndarray:
    """round(clamp((x - zero_point) / scale, 0, 2^b - 1)) * scale + zero_point."""
    scale, zero = qparams(low, high, num_bits)
    codes = np.rint(np.clip((x - zero) / scale, F(0), F(2**num_bits - 1)))
    return codes * scale + zero


def per_tensor(x: np.ndarray, num_bits: int) -> np.ndarray:
    return fake_quantize(x, x.min(), x.max(), num_bits)


def per_row(x: np.ndarray, num_bits: int) -> np.ndarray:
    axes = tuple(range(1, x.ndim))
    return fake_quantize(x, x.min(axes, keepdims=True), x.max(axes, keepdims=True), num_bits)


def rows_reduced(x: np.ndarray, num_bits: int, reduce_type: str) -> np.ndarray:
    """One range per tensor: the rows' extremes, or the mean of the rows' extremes."""
    rows = x.reshape(len(x), -1)
    low, high = rows.min(1), rows.max(1)
    if reduce_type == "extreme":
        return fake_quantize(x, low.min(), high.max(), num_bits)
    return fake_quantize(x, low.mean(dtype=F), high.mean(dtype=F), num_bits)


class RunningRange:
    """QuantMeasure: running minimum and width, each moving a tenth of the way."""

    def __init__(self, momentum: float = 0.9):
        self.zero, self.width, self.momentum = F(0), F(0), momentum

    def train(self, x: np.ndarray, num_bits: Optional[int]) -> np.ndarray:
        low, width = x.min(), x.max() - x.min()
        self.zero = self.zero * F(self.momentum) + low * F(1 - self.momentum)
        self.width = self.width * F(self.momentum) + width * F(1 - self.momentum)
        return x if num_bits is None else fake_quantize(x, low, low + width, num_bits)

    def evaluate(self, x: np.ndarray, num_bits: int) -> np.ndarray:
        scale = np.maximum(self.width / F(2**num_bits - 1), F(1e-8))
        return np.rint(np.clip((x - self.zero) / scale, F(0), F(2**num_bits - 1))) * scale + self.zero
