"""The fields of a quantization, as dataclasses; `config.py` reads them and `presets.py` has ready-made ones.

>>> QuantizationConfig(preset="int8", num_bits=8).is_on
True
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

from fairseq.quantization.plan.rules import Rule


@dataclass(frozen=True)
class ScheduleConfig:
    """Bits over the course of training.

    Attributes:
        name: of a schedule; `constant` stays at the upper bound, `num_bits`.
        min_bits: lower bound.
        num_cycles: cycles over the whole run.
        options: more arguments of the schedule.
    """

    name: Optional[str] = None
    min_bits: Optional[int] = None
    num_cycles: Optional[int] = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class QuantizationConfig:
    """What `quantize_model` and a trainer need to know.

    Attributes:
        preset: where unset fields come from; `none` leaves the model as it is.
        num_bits: bits of weights and activations, the upper bound of a schedule.
        num_grad_bits: bits of gradients; 0 leaves them in full precision.
        eval_bits: bits of evaluation and of saved models; `num_bits` if None.
        schedule: bits over the course of training.
        rules: by quantizer path, appended to the preset's.
        pattern: which parts of the model are quantized, of `plan/patterns.py`; all that the preset names if None.
        keep_last: the last layer stays in full precision; None: where a pattern that takes heads is given.
        full_precision_updates: the first updates of a run, before anything is rounded; then weights stay, and learned
            scales start from what they see.
        full_precision_epochs: the same in epochs.
        seed: of stochastic rounding.
        compute: how products are carried out where no rule says otherwise.
        fused: round large tensors in compiled kernels; the numbers are the same without.
    """

    preset: str = "none"
    num_bits: Optional[int] = None
    num_grad_bits: Optional[int] = None
    eval_bits: Optional[int] = None
    schedule: ScheduleConfig = ScheduleConfig()
    rules: Sequence[Rule] = ()
    pattern: Optional[str] = None
    keep_last: Optional[bool] = None
    full_precision_updates: Optional[int] = None
    full_precision_epochs: Optional[int] = None
    seed: int = 1
    compute: str = "simulate"
    fused: bool = True

    @property
    def is_on(self) -> bool:
        """Whether anything is quantized."""
        return self.preset != "none"
