"""What training a model in full precision costs, in bit operations, where `common.count_bitops` asks for it.

    cost = FullPrecisionCost.of(model, cfg.common.count_bitops, device)
    with cost.update():         # around forward and backward
        loss.backward()
    cost.end_update()

A quantized model counts its operations always (`fairseq.training.quantized`). Here the same meter is notified by hooks
on the modules that multiply, so that both count the same products.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Optional

import torch
from torch import nn

from fairseq.distributed import utils as distributed_utils
from fairseq.logging import metrics

if TYPE_CHECKING:
    from fairseq.quantization.analysis.bitops import Cost, CostMeter


class FullPrecisionCost:
    """Counts the products of `model`, which is not quantized.

    Args:
        device: where collectives put their numbers.
    """

    def __init__(self, model: nn.Module, device: torch.device):
        from fairseq.quantization.analysis.bitops import FULL_BITS, CostMeter, watch_unquantized_products
        from fairseq.quantization.context import QuantizationContext

        self.meter, self.device = CostMeter(FULL_BITS), device
        self._context = QuantizationContext()
        watch_unquantized_products(model, self._context)

    @classmethod
    def of(cls, model: nn.Module, counts: bool, device: torch.device) -> "Optional[FullPrecisionCost]":
        """For `model` if it `counts` and is not quantized, else None."""
        quantized = getattr(model, "quantization", None) is not None
        return cls(model, device) if counts and not quantized else None

    @contextlib.contextmanager
    def update(self) -> Iterator[None]:
        """Around forward and backward of one update."""
        with self._context.with_callback(self.meter):
            yield

    def end_update(self) -> None:
        """After the optimizer's step."""
        gather_cost(self.meter, self.device)
        metrics.log_scalar("bitops", self.meter.total.total, weight=0, priority=360)

    def state_dict(self) -> dict[str, Any]:
        """Costs so far, for a resumed run."""
        return self.meter.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`."""
        self.meter.load_state_dict(state)


def gather_cost(meter: "CostMeter", device: torch.device) -> None:
    """Count what the other processes have spent since the last call."""
    own = meter.take()
    if distributed_utils.get_world_size() > 1:
        values = torch.tensor(list(asdict(own).values()), dtype=torch.float64, device=device)
        others = distributed_utils.all_reduce(values.clone()) - values
        meter.add(type(own)(*others.tolist()))


def as_record(cost: "Cost") -> dict[str, float]:
    """`cost` in the last line of a run's history."""
    return {
        "bitops": cost.total,
        "product_bitops": cost.quantized + cost.full,
        "quantizing_bitops": cost.quantizing,
        "full_precision_bitops": cost.reference,  # NaN, that is null, where a part of the run did not count it
    }
