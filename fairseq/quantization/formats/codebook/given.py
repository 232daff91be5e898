"""Any list of levels: the values are a setting.

    {"format": "codebook", "values": [-1.0, -0.3, 0.0, 0.3, 1.0]}

The scale brings the value of the largest magnitude to the largest magnitude of the range. Without a list it is the
four values -1, -1/3, 1/3 and 1, evenly spaced around a zero that is none of them.

>>> number_format = Codebook(values=[0.0, 0.5, 2.0])
>>> x = torch.tensor([-1.0, 0.2, 0.3, 1.2, 1.3, 2.0])
>>> number_format.fake_quantize(x, number_format.qparams(x.min(), x.max(), num_bits=2))
tensor([0.0000, 0.0000, 0.5000, 0.5000, 2.0000, 2.0000])
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fairseq.errors import ConfigError
from fairseq.quantization.formats.base import FORMATS, FormatSpec, QParams
from fairseq.quantization.formats.codebook.levels import MIN_SCALE, CodebookFormat

DEFAULT = (-1.0, -1 / 3, 1 / 3, 1.0)
LARGEST = 2**16  # values, as many as codes of 16 bits


@FORMATS.register("codebook")
class Codebook(CodebookFormat):
    """Levels as given.

    Args:
        values: the levels in any order, 2 or more, each once.
    """

    name = "codebook"
    covers_ends = False

    def __init__(self, *, values: Sequence[float] = DEFAULT):
        self.given = _checked(values)
        self.has_exact_zero = 0.0 in self.given
        self.holds_gradients = self.given[0] < 0 < self.given[-1]
        self.is_symmetric = all(-value in self.given for value in self.given)
        self.fixed_bits = self.min_bits = self.max_bits = (len(self.given) - 1).bit_length()

    def settings(self) -> dict[str, Any]:
        return {"values": list(self.given)}

    def spec(self) -> FormatSpec:
        return self.name if self.given == _checked(DEFAULT) else {"format": self.name, "values": list(self.given)}

    def levels(self, num_bits: int) -> Sequence[float]:
        return self.given

    def qparams(self, low: Tensor, high: Tensor, num_bits: int) -> QParams:
        largest = max(map(abs, self.given))
        scale = (torch.maximum(-low, high) / largest).clamp(min=MIN_SCALE)
        return QParams(scale, torch.zeros_like(scale), *self.code_range(num_bits))


def _checked(values: Sequence[float]) -> tuple[float, ...]:
    is_list = isinstance(values, Sequence) and not isinstance(values, str)
    if not is_list or not 2 <= len(values) <= LARGEST or not all(_is_number(value) for value in values):
        raise ConfigError(
            f"format codebook: values must be a list of 2 to {LARGEST} finite numbers, got {values!r:.80}"
        )
    found = sorted(torch.tensor([float(value) for value in values], dtype=torch.float32).tolist())
    if len(set(found)) < len(found):
        raise ConfigError(f"format codebook: values must differ from each other in fp32, got {values!r:.80}")
    return tuple(value + 0.0 for value in found)  # -0.0 is 0.0


def _is_number(value: object) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and abs(value) < torch.finfo(torch.float32).max  # type: ignore[arg-type]
