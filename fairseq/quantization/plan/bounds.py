"""Whether the number formats have the bits that a run will ask them for. What bits a format has, only the format says.

Pinned bits are checked with the other settings of their quantizer; here are those that a whole model follows: the
schedule's bounds, the bits of evaluation, and those of gradients.
"""

from collections.abc import Iterable

from fairseq.errors import ConfigError
from fairseq.quantization.formats import build_format
from fairseq.quantization.plan.config import QuantizationConfig
from fairseq.quantization.plan.table import PlanRow
from fairseq.quantization.spec import FOLLOW, GRADIENT


def check_bits(rows: Iterable[PlanRow], config: QuantizationConfig) -> None:
    """ConfigError where a quantizer that follows a setting has a format without such bits; names both."""
    for row in rows:
        if not row.active:
            continue
        asked = {}
        if row.spec.bits == FOLLOW:
            asked = {"num_bits": row.high, "schedule.min_bits": row.low, "eval_bits": config.eval_bits}
        elif row.role == GRADIENT and row.spec.bits == config.num_grad_bits:
            asked = {"num_grad_bits": config.num_grad_bits}
        number_format = build_format(row.spec.format)
        for name, bits in asked.items():
            if bits is not None and not number_format.min_bits <= bits <= number_format.max_bits:
                fixed, pin = number_format.fixed_bits, "grad_bits" if row.role == GRADIENT else "bits"
                raise ConfigError(
                    f"quantization.{name}={bits}: {row.quantizer!r} follows it, and its format {number_format} "
                    f"has {number_format.bits_text()}"
                    + (f"; pin it by {pin}: {fixed} in the rule with the format" if fixed is not None else "")
                )
