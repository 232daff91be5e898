"""BitOPs: what training costs in bit operations, counted product by product.

A product of M multiply-accumulates on operands of p and q bits costs M p q; full precision counts as 32 bits. A linear
layer trained at b bits with gradients at g bits costs M (b b + 2 b g) per update: forward, gradient of the input,
gradient of the weight (only those that run are counted). Against 32 bits that is CPT's ratio

    r(b) = (b b + 2 b g) / (3 * 32 * 32)

Quantizing costs, too: per value two comparisons for the range, one subtraction and one multiplication for the scale,
rounding and clamping, in 32-bit arithmetic (an n-bit addition n BitOPs, a product n^2), and three more operations
where noise is added.

>>> round(relative_cost(8, 8), 4)
0.0625
>>> from fairseq.quantization.schedules import build_schedule
>>> round(100 * schedule_saving(build_schedule("CR", low=3, high=8, num_cycles=32), 64000, 8), 2)
36.67
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from typing import Any, Optional

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from fairseq.quantization.context import Operand, QuantizationContext
from fairseq.quantization.plan.target import QuantizationTarget
from fairseq.quantization.plan.targets import find_targets
from fairseq.quantization.products.simulated import notify_full_precision
from fairseq.quantization.schedules import PrecisionSchedule
from fairseq.quantization.spec import FOLLOW

FULL_BITS = 32
QUANTIZE_BITOPS = 2 * 32 + 32 + 32 * 32 + 3 * 32  # per value: range, shift, scale, round and clamp
NOISE_BITOPS = 3 * 32


def relative_cost(num_bits: Optional[int], num_grad_bits: Optional[int]) -> float:
    """Cost of the three products of a layer at these bits, relative to full precision; None is 32 bits."""
    b, g = num_bits or FULL_BITS, num_grad_bits or FULL_BITS
    return (b * b + 2 * b * g) / (3 * FULL_BITS * FULL_BITS)


def schedule_saving(schedule: PrecisionSchedule, total_updates: int, num_grad_bits: Optional[int]) -> float:
    """Share of BitOPs that a schedule saves against its upper bound throughout."""
    spent = sum(relative_cost(schedule.bits(update, total_updates), num_grad_bits) for update in range(total_updates))
    return 1 - spent / (total_updates * relative_cost(schedule.high, num_grad_bits))


@dataclass
class Cost:
    """BitOPs: of products with quantized operands, of products in full precision, of quantizing.

    `static` says what the quantized products would cost with the schedule at its upper bound, `reference` what all
    products would cost in full precision (0 if it was not counted from the start).
    """

    quantized: float = 0.0
    full: float = 0.0
    quantizing: float = 0.0
    static: float = 0.0
    reference: float = 0.0

    def add(self, other: "Cost") -> None:
        """Add to every part."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))

    @property
    def total(self) -> float:
        """All BitOPs spent."""
        return self.quantized + self.full + self.quantizing

    @property
    def saving(self) -> float:
        """Share saved in the quantized products against the static upper bound; CPT's figure."""
        return 1 - self.quantized / self.static if self.static else 0.0

    @property
    def total_saving(self) -> float:
        """Share saved of everything: full-precision products and the quantizers' own work included."""
        static = self.static + self.full + self.quantizing
        return 1 - self.total / static if static else 0.0

    def describe(self) -> str:
        """One line for a log."""
        return (
            f"{self.total:.4g} BitOPs; quantized products {100 * self.saving:.2f} % cheaper than at static upper-bound "
            f"precision, everything {100 * self.total_saving:.2f} % (full precision {self.full:.3g}, quantizing "
            f"{self.quantizing:.3g} included)"
        )


class CostMeter:
    """Callback that adds up BitOPs.

    Args:
        upper_bits: bits of the static comparison, for quantizers that follow the schedule.
    """

    counts_only = True

    def __init__(self, upper_bits: int):
        self.upper_bits = upper_bits
        self._total, self._since = Cost(), Cost()
        self._by_path: dict[str, Cost] = defaultdict(Cost)
        self._pending: dict[str, Cost] = defaultdict(Cost)  # since the sums were last asked for

    def product(self, path: str, kind: str, left: Operand, right: Operand, macs: int) -> None:
        place = self._pending[path]
        place.reference += float(macs) * FULL_BITS * FULL_BITS
        if left.num_bits is None and right.num_bits is None:
            place.full += float(macs) * FULL_BITS * FULL_BITS
            return
        place.quantized += float(macs) * (left.num_bits or FULL_BITS) * (right.num_bits or FULL_BITS)
        place.static += float(macs) * self._static(left) * self._static(right)

    def quantized(self, quantizer: Any, x: Tensor, result: Tensor, num_bits: int, reused: bool) -> None:
        if not reused:
            per_value = QUANTIZE_BITOPS + (NOISE_BITOPS if quantizer.stochastic else 0)
            self._pending[quantizer.path].quantizing += float(x.numel()) * per_value

    @property
    def total(self) -> Cost:
        """Everything so far."""
        self._settle()
        return self._total

    @property
    def by_path(self) -> dict[str, Cost]:
        """The same by product and quantizer, of this process and since it began."""
        self._settle()
        return self._by_path

    def take(self) -> Cost:
        """The cost since the last call, of one update for instance."""
        self._settle()
        cost, self._since = self._since, Cost()
        return cost

    def add(self, cost: Cost) -> None:
        """Count what was spent elsewhere, by another process for instance."""
        self._settle()
        self._total.add(cost)

    def _static(self, operand: Operand) -> int:
        if operand.num_bits is None:
            return FULL_BITS
        follows = operand.quantizer is not None and operand.quantizer.spec.bits == FOLLOW
        return self.upper_bits if follows else operand.num_bits

    def _settle(self) -> None:
        """Add up what the last products left behind."""
        for path, cost in self._pending.items():
            self._total.add(cost)
            self._since.add(cost)
            self._by_path[path].add(cost)
        self._pending.clear()

    def state_dict(self) -> dict[str, Any]:
        """Totals so far, for a resumed run."""
        return {"total": asdict(self.total)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`."""
        self._settle()
        self._total = Cost(**{"reference": math.nan, **state["total"]})  # older files lack it: unknown

    @contextmanager
    def counting(self, model: nn.Module, context: QuantizationContext) -> Iterator["CostMeter"]:
        """Count everything that runs inside the block: the quantized layers, and plain Linear layers and products."""
        handles = watch_unquantized_products(model, context)
        try:
            with context.with_callback(self):
                yield self
        finally:
            for handle in handles:
                handle.remove()


def watch_unquantized_products(model: nn.Module, context: QuantizationContext) -> list[RemovableHandle]:
    """Make modules that multiply without quantizers notify the context's callbacks, by hooks."""

    def hook_for(target: QuantizationTarget) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            if context.callbacks:
                product = target.unquantized_product((*args, *kwargs.values()), output)
                if product is not None:
                    notify_full_precision(context.callbacks, target.path, *product)

        return hook

    return [
        target.module.register_forward_hook(hook_for(target), with_kwargs=True)
        for target in find_targets(model)
        if getattr(target.module, "quantizers", None) is None and target.multiplies
    ]
