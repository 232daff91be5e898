"""`quantization`: at which precision matrix products run, and how bits change during training.

    quantization=int8                                             a preset: a file of config/quantization, or of yours
    quantization=plans/mixed.yaml                                 a file that says all of it
    quantization=cpt_3_8 quantization.num_bits=6                  and any field of it by dots
    quantization.schedule.num_cycles=8
    --quantization cpt_3_8 --num-bits 6 --precision-cycles 8      the same as flags of fairseq-train

What is left open (null) comes from the preset; `fairseq.quantization.plan.config` puts both together and checks them.

>>> QuantizationGroup().preset, QuantizationGroup().schedule.num_cycles
('none', None)
"""

from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional

from fairseq.dataclass.base import FairseqDataclass, option
from fairseq.dataclass.ranges import SEEDS, at_least


@dataclass
class PrecisionScheduleConfig(FairseqDataclass):
    """How bits change from update to update."""

    name: Optional[str] = option(  # type: ignore[assignment]  # hides the base class's hook, which groups do not use
        None,
        "schedule of the bits, CR is the cosine of CPT (null: the preset's)",
        flag="--precision-schedule",
        names="fairseq.quantization.schedules:SCHEDULES",
    )
    min_bits: Optional[int] = option(
        None,
        "lower bound of the bits; the upper one is num_bits (null: the preset's)",
        flag="--min-bits",
        within=at_least(1),
    )
    num_cycles: Optional[int] = option(
        None,
        "cycles over the whole run, for cyclic schedules (null: the preset's)",
        flag="--precision-cycles",
        within=at_least(1),
    )
    options: Optional[Dict[str, Any]] = option(
        None, "more settings of the schedule, {patience: 3} for plateau", flag="--precision-schedule-options"
    )


@dataclass
class QuantizationGroup(FairseqDataclass):
    """Bits of every matrix product."""

    preset: str = option(
        "none",
        "where open settings come from, or a file that says all of it, plan.yaml; cpt is cpt_3_8",
        flag="--quantization",
        names="fairseq.quantization:PRESETS",
    )
    num_bits: Optional[int] = option(
        None,
        "bits of weights and activations, as many as their formats have (integers: 2 to 16); the upper bound of "
        "a schedule (null: the preset's)",
        within=at_least(1),
    )
    num_grad_bits: Optional[int] = option(
        None, "bits of gradients, or 0 for full precision (null: the preset's)", within=at_least(0)
    )
    eval_bits: Optional[int] = option(
        None, "bits of validation and of saved models (null: num_bits)", within=at_least(0)
    )
    schedule: PrecisionScheduleConfig = field(
        default_factory=PrecisionScheduleConfig, metadata={"help": "how bits change during training"}
    )
    rules: List[Any] = option(
        [],
        "exceptions by quantizer path, last match wins: [{match: '*.fc1.*', bits: 4}, {match: '*.layers.0.*', "
        "quantize: false}]",
        flag="--quantization-rules",
    )
    pattern: Optional[str] = option(
        None,
        "parts of the model that are quantized: mha, ffn, cls, all, or all with two of attention's projections only, "
        "all_qk, all_qv, all_kv (null: what the preset names)",
        flag="--quantization-pattern",
    )
    keep_last: Optional[bool] = option(
        None,
        "the last layer stays in full precision (null: where the pattern takes the classifier)",
        flag="--quantization-keep-last",
    )
    full_precision_updates: Optional[int] = option(
        None, "first updates of the run, in which nothing is rounded (null: none)", within=at_least(0)
    )
    full_precision_epochs: Optional[int] = option(
        None,
        "the same in epochs; the best checkpoint is chosen among validations behind them (null: none)",
        within=at_least(0),
    )
    seed: int = option(1, "seed of stochastic rounding", flag="--rounding-seed", within=SEEDS)
    compute: str = option(
        "simulate",
        "how products are carried out: simulate (in floating point), integer (8 bits or fewer), auto (the faster)",
        flag="--quantization-compute",
    )
    fused: bool = option(
        True,
        "round large tensors in compiled kernels, to the same numbers (false: by separate torch operations)",
        flag="--no-fused-rounding",
    )
