"""Which products of a checkpoint's model bear few bits: what `fairseq-quant-report --sensitivity` does.

    measured = measure_sensitivity("checkpoint_best.pt", Settings(preset="int8"))
    plan = choose(measured.rows, budget=4)
    fragment = measured.fragment(plan.rules())              # a `quantization` group
    measured.score(fragment, "valid")                       # of the whole model, quantized so

Batches are drawn once and kept. A float checkpoint's ranges are calibrated on them, with its other products at as many
bits as the formats have; a quantized one keeps its own.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import torch
from torch import Tensor, nn

from fairseq import checkpoint_utils
from fairseq.checkpoint_tools.batches import batches_of
from fairseq.dataclass.quantization_file import read_quantization
from fairseq.dataclass.utils import to_container
from fairseq.errors import ConfigError, unknown
from fairseq.logging import metrics
from fairseq.quantization.analysis.sensitivity import (
    Candidate,
    Outcome,
    SensitivityRow,
    Switches,
    baseline,
    one_at_a_time,
)
from fairseq.quantization.products.integer_weight import QuantizedWeight
from fairseq.quantization.quantized_model import quantization_of
from fairseq.training.calibration import calibrate
from fairseq.training.quantize import quantize

LOWER_IS_BETTER = ("loss", "nll_loss", "ppl", "wer")
MOST_VALUES = 2**26  # of outputs that are kept to be compared
MOST_BITS = 16  # at which ranges are calibrated
OPERANDS = r"re:(?!(.*\.)?grad_output$).*"


@dataclass
class Settings:
    """What to measure, and on what.

    Attributes:
        preset: how to quantize a float checkpoint: a preset, or a file that says it.
        candidates: what each product is rounded to: bits, or number formats.
        rest: bits of the other products, 0 for full precision. None: 0 for a float checkpoint, its own evaluation bits
            for a quantized one.
        data, subset: the data, None for the checkpoint's own, and the split of it.
        examples, batch_size: so many of the split, drawn at random.
        metric: the score; None: that by which the checkpoint's training chose its best one.
    """

    data: Optional[Path] = None
    preset: Optional[str] = None
    candidates: Sequence[str] = ("4",)
    rest: Optional[int] = None
    subset: str = "valid"
    examples: int = 256
    batch_size: int = 16
    metric: Optional[str] = None


@dataclass
class Data:
    """Batches, and how a model is scored on them.

    Attributes:
        metric, sign: the score's name, and -1 where less of it is better.
    """

    task: Any
    criterion: Any
    samples: list[Any]
    metric: str
    sign: int

    @property
    def examples(self) -> int:
        """How many there are."""
        return sum(map(_size, self.samples))

    def statistics(self, model: nn.Module, samples: Sequence[Any]) -> dict[str, Any]:
        """What `fairseq-validate` would report of `samples`."""
        with metrics.aggregate(new_root=True) as aggregator, torch.no_grad():
            outputs = [self.task.valid_step(sample, model, self.criterion)[2] for sample in samples]
            self.task.reduce_metrics(outputs, self.criterion)
            stats = aggregator.get_smoothed_values()
        if self.metric not in stats:
            raise ConfigError(unknown("metric", self.metric, [key for key in stats if not key.startswith("_")]))
        return stats

    def outcome(self, model: nn.Module, samples: Optional[Sequence[Any]] = None) -> Outcome:
        """Score, loss and outputs of `model` on `samples`, by default on all."""
        kept: list[Tensor] = []

        def keep(module: nn.Module, args: Any, output: Any) -> None:
            first = _first_tensor(output)
            if first is not None and sum(map(Tensor.numel, kept)) + first.numel() <= MOST_VALUES:
                kept.append(_centred(first))

        hook = model.register_forward_hook(keep)
        try:
            stats = self.statistics(model, self.samples if samples is None else samples)
        finally:
            hook.remove()
        return Outcome(self.sign * float(stats[self.metric]), float(stats["loss"]), kept)

    def calibrate(self, model: nn.Module) -> None:
        """Set running ranges, with every product at as many bits as its formats have."""
        switches = Switches(model)
        most = {
            path: min(MOST_BITS, *(switches.quantizers[quantizer].format.max_bits for quantizer in quantizers))
            for path, quantizers in switches.products.items()
        }
        switches.set(most)
        calibrate(model, self.task, self.criterion, self.samples)
        switches.set({})


@dataclass
class Measured:
    """What was measured, and what is needed to measure more.

    Attributes:
        model: of the checkpoint.
        config: the `quantization` group without what is measured.
        trained: whether the checkpoint is quantized.
        before: the outcome where nothing is changed.
        rows: one for each product and candidate.
    """

    model: nn.Module
    data: Data
    config: Mapping[str, Any]
    settings: Settings
    trained: bool
    before: Outcome = Outcome(0.0, 0.0, ())
    rows: list[SensitivityRow] = field(default_factory=list)

    def fragment(self, rules: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The `quantization` group that adds `rules` to how the checkpoint was to be quantized."""
        return {**self.config, "rules": [*self.config.get("rules", ()), *rules]}

    def quantized(self, group: Mapping[str, Any]) -> nn.Module:
        """A copy of the model, quantized by `group`, with ranges."""
        state = quantization_of(self.model).state_dict(self.model) if self.trained else None
        model = quantize(copy.deepcopy(self.model), group).eval()
        if state is None:
            self.data.calibrate(model)
        else:
            quantization_of(model).load_state_dict(model, state)
        return model

    def score(self, group: Optional[Mapping[str, Any]], subset: str) -> tuple[float, int]:
        """The metric on the whole of `subset` and its number of examples; `group` None: the checkpoint as it is."""
        model = self.model if group is None else self.quantized(group)
        samples = list(batches_of(self.data.task, subset, self.settings.batch_size, None, shuffle=False))
        return float(self.data.statistics(model, samples)[self.data.metric]), sum(map(_size, samples))


def measure_sensitivity(
    checkpoint: str,
    settings: Settings,
    progress: Callable[[int], Callable[[], None]] = lambda total: lambda: None,
) -> Measured:
    """Measure every product of the model in `checkpoint` at every candidate.

    Args:
        progress: is told how many measurements there will be, and gives a function that is called after each.

    Raises:
        ConfigError: settings that contradict the checkpoint, an unknown metric.
        DataError: no data.
    """
    candidates = [Candidate.of(word) for word in settings.candidates]
    overrides = {} if settings.data is None else {"data": str(settings.data)}
    models, cfg, task = checkpoint_utils.load_model_ensemble_and_task([checkpoint], arg_overrides=overrides)
    trained = cfg.quantization.preset != "none"
    _check(checkpoint, models[0], str(cfg.quantization.preset), settings, candidates)
    criterion = task.build_criterion(cfg.criterion)
    count = -(-settings.examples // settings.batch_size)
    samples = list(batches_of(task, settings.subset, settings.batch_size, count, shuffle=True))
    data = Data(task, criterion, samples, *_metric(settings.metric, cfg.checkpoint))
    config = _without_defaults(cfg.quantization) if trained else read_quantization(str(settings.preset))
    measured = Measured(models[0].eval(), data, config, settings, trained)
    rest = settings.rest if trained else settings.rest or 0
    groups = {c.format: [other for other in candidates if other.format == c.format] for c in candidates}
    ready = {name: measured.quantized(_at_format(config, own)) for name, own in groups.items()}
    data.outcome(measured.model, samples[:1])  # an unknown metric is known before all the work
    measured.before, _ = baseline(Switches(next(iter(ready.values())), rest), data.outcome)
    step = progress(sum(len(groups[name]) * len(Switches(model).products) for name, model in ready.items()))
    for name, model in ready.items():
        for row in one_at_a_time(model, groups[name], data.outcome, rest):
            measured.rows.append(row)
            step()
    return measured


def _check(checkpoint: str, model: nn.Module, preset: str, settings: Settings, candidates: list[Candidate]) -> None:
    """Raise ConfigError where settings do not fit the checkpoint."""
    if any(isinstance(module, QuantizedWeight) for module in model.modules()):
        raise ConfigError(f"{checkpoint} holds packed weights, which are rounded already; give what was packed")
    if (preset == "none") == (settings.preset is None):
        raise ConfigError(
            f"{checkpoint} is not quantized; say how, for example --quantization int8"
            if preset == "none"
            else f"{checkpoint} is quantized ({preset}) already; leave out --quantization"
        )
    formats = [candidate.name for candidate in candidates if candidate.format]
    if formats and preset != "none":
        raise ConfigError(
            f"{checkpoint} was trained in its own formats; candidates are numbers of bits, not {formats[0]}"
        )
    if formats and settings.rest:
        raise ConfigError(f"with the format {formats[0]} as a candidate the other products stay in full precision")


def _metric(asked: Optional[str], checkpoint: Any) -> tuple[str, int]:
    """The score's name and sign."""
    name = asked or str(checkpoint.best_checkpoint_metric)
    if name == checkpoint.best_checkpoint_metric:
        return name, 1 if checkpoint.maximize_best_checkpoint_metric else -1
    return name, -1 if name in LOWER_IS_BETTER else 1


def _without_defaults(group: Any) -> dict[str, Any]:
    """The keys of a `quantization` group that say something."""
    found = {key: value for key, value in to_container(group).items() if value is not None and key != "_name"}
    schedule = {key: value for key, value in found.pop("schedule", {}).items() if value is not None and key != "_name"}
    return {**found, **({"schedule": schedule} if schedule else {})}


def _at_format(config: Mapping[str, Any], candidates: list[Candidate]) -> dict[str, Any]:
    """The group that quantizes a model for candidates of one format; products are simulated, at no schedule's bits."""
    group = {**config, "compute": "simulate"}
    name = candidates[0].format
    if name is None:
        return group
    bits = max(candidate.bits for candidate in candidates)
    rules = [*config.get("rules", ()), {"match": OPERANDS, "format": name}]
    return {**group, "num_bits": bits, "schedule": {"name": "constant"}, "rules": rules}


def _size(sample: Any) -> int:
    return int(sample["nsentences"]) if "nsentences" in sample else len(sample["id"])


def _first_tensor(output: Any) -> Optional[Tensor]:
    """The main output of a model's call: the tensor itself, or the first of a tuple."""
    first = output[0] if isinstance(output, (tuple, list)) and output else output
    return first if isinstance(first, Tensor) and first.is_floating_point() else None


def _centred(scores: Tensor) -> Tensor:
    """Scores of classes matter up to a constant; one number matters itself."""
    scores = scores.detach().float()
    return scores - scores.mean(dim=-1, keepdim=True) if scores.dim() and scores.shape[-1] > 1 else scores.clone()
