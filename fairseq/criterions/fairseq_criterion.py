"""`FairseqCriterion`: the loss of a batch, what it divides by, and what it reports.

    loss, sample_size, logging_output = criterion(model, sample)

`loss` is a sum over the batch. The trainer divides the gradient by the `sample_size` of all batches and processes of
an update, so that an update does not depend on how its examples were split. `logging_output` holds sums too;
`reduce_metrics` turns the outputs of several batches into log entries. Losses are computed in nats and logged in bits
(base 2).
"""

import inspect
import math
from typing import Any, Optional

import torch
from torch import nn

from fairseq.dataclass.flags import add_flags_of
from fairseq.logging import meters, metrics
from fairseq.utils import get_perplexity

LOG_2 = math.log(2)


class FairseqCriterion(nn.modules.loss._Loss):
    """Base of all criterions.

    A subclass names the config fields it needs as parameters of its constructor, next to `task`; `cfg` gets the whole
    config.

    Args:
        task: gives the padding index of the targets.
    """

    def __init__(self, task: Any):
        super().__init__()
        self.task = task
        dictionary = getattr(task, "target_dictionary", None)
        self.padding_idx: int = dictionary.pad() if dictionary is not None else -100

    @classmethod
    def add_args(cls, parser: Any) -> None:
        """Add a criterion's flags to `parser`: those of its config dataclass, unless a class overrides this."""
        add_flags_of(cls, parser)

    @classmethod
    def build_criterion(cls, cfg: Any, task: Any) -> "FairseqCriterion":
        """An instance whose constructor gets, by name, `task`, `cfg` and fields of `cfg`."""
        arguments = {}
        for parameter in inspect.signature(cls).parameters.values():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
                raise NotImplementedError(f"{cls.__name__}: constructor parameter {parameter} cannot be filled by name")
            if parameter.name == "task":
                arguments["task"] = task
            elif parameter.name == "cfg":
                arguments["cfg"] = cfg
            elif hasattr(cfg, parameter.name):
                arguments[parameter.name] = getattr(cfg, parameter.name)
            elif parameter.default is parameter.empty:
                raise NotImplementedError(f"{cls.__name__}: its config has no field {parameter.name!r}")
        return cls(**arguments)

    def forward(
        self, model: nn.Module, sample: dict[str, Any], reduce: bool = True, num_bits: Optional[int] = None
    ) -> tuple[Any, Any, dict[str, Any]]:
        """Loss of one batch.

        Args:
            num_bits: bits at which a quantized model runs, to be passed to the model. A criterion whose
                forward does not name it works as well: the model then takes the bits of the trainer's update.

        Returns:
            loss: the sum over the batch, to be back-propagated.
            sample_size: what the gradient is divided by (a number or a tensor).
            logging_output: sums for `reduce_metrics`; with `ntokens`, `nsentences` and `sample_size`.
        """
        raise NotImplementedError(f"{type(self).__name__}.forward")

    @staticmethod
    def aggregate_logging_outputs(logging_outputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Outputs of several batches as one; fairseq's first way of logging, replaced by `reduce_metrics`."""
        raise NotImplementedError("aggregate_logging_outputs")

    @classmethod
    def reduce_metrics(cls, logging_outputs: list[dict[str, Any]]) -> None:
        """Log the outputs of several batches. Here: all that `aggregate_logging_outputs` returns."""
        for key, value in cls.aggregate_logging_outputs(logging_outputs).items():
            if key not in ("nsentences", "ntokens", "sample_size"):
                metrics.log_scalar(key, value)

    @staticmethod
    def logging_outputs_can_be_summed() -> bool:
        """True if outputs may be added key by key over batches and processes before `reduce_metrics` sees them."""
        return False


class LegacyFairseqCriterion(FairseqCriterion):
    """Base for criterions in the argparse style (`__init__(args, task)`, options read from `self.args`)."""

    def __init__(self, args: Any, task: Any):
        super().__init__(task=task)
        self.args = args

    @classmethod
    def build_criterion(cls, args: Any, task: Any) -> "LegacyFairseqCriterion":
        return cls(args, task)


def total(logging_outputs: list[dict[str, Any]], key: str) -> Any:
    """Sum of `key` over batches: a Python number, or a tensor on an accelerator, as reading one would wait for it."""
    value = sum(output.get(key, 0) for output in logging_outputs)
    return value.item() if torch.is_tensor(value) and value.device.type == "cpu" else value


def log_loss(key: str, loss: Any, weight: Any) -> None:
    """Log a summed loss in nats as bits per unit of `weight`."""
    metrics.log_scalar(key, loss / weight / LOG_2 if weight > 0 else 0.0, weight, round=3)


def log_classification(logging_outputs: list[dict[str, Any]]) -> None:
    """Log loss by example, by token where that is something else, and the share of `ncorrect` in percent."""
    loss, ntokens = total(logging_outputs, "loss"), total(logging_outputs, "ntokens")
    nsentences, sample_size = total(logging_outputs, "nsentences"), total(logging_outputs, "sample_size")
    log_loss("loss", loss, sample_size)
    if sample_size != ntokens:
        log_loss("nll_loss", loss, ntokens)
    if logging_outputs and "ncorrect" in logging_outputs[0] and nsentences > 0:
        accuracy = 100.0 * total(logging_outputs, "ncorrect") / nsentences
        metrics.log_scalar("accuracy", accuracy, nsentences, round=1)


def log_perplexity(of: str) -> None:
    """`ppl`: 2 to the power of the logged loss `of`."""

    def perplexity(logged: "meters.MetersDict") -> float:
        return get_perplexity(logged[of].avg)

    metrics.log_derived("ppl", perplexity)
