"""What a step or a validation pass reports: reduction over processes, and the numbers of fairseq's log lines.

Priorities order the fields of a line: loss, accuracy (10), wps (90), ups (100), wpb, bsz, num_updates (200), lr
(300), gnorm (400), clip (500), loss_scale (700), train_wall, wall (790-800), gb_free (1500).
"""

from typing import Any, Optional

import torch
from torch import Tensor

from fairseq.distributed import utils as distributed_utils
from fairseq.logging import meters, metrics


def aggregate(
    logging_outputs: list[dict[str, Any]],
    sample_size: Any,
    summable: bool,
    device: torch.device,
    group: Optional[Any] = None,
) -> tuple[list[dict[str, Any]], Any]:
    """Logging outputs and sample size over all processes (of `group`): summed where the criterion says they can be,
    gathered otherwise.
    """
    if distributed_utils.get_world_size(group) == 1:
        return logging_outputs, sample_size
    if summable:
        summed = {key: sum(output[key] for output in logging_outputs if key in output) for key in logging_outputs[0]}
        reduced = distributed_utils.all_reduce_dict(
            {"__sample_size": sample_size, **summed}, device=device, group=group
        )
        return [{key: value for key, value in reduced.items() if key != "__sample_size"}], reduced["__sample_size"]
    gathered = distributed_utils.all_gather_list((logging_outputs, float(sample_size)), group)
    return [output for outputs, _ in gathered for output in outputs], sum(size for _, size in gathered)


def emptied(logging_output: dict[str, Any]) -> dict[str, Any]:
    """The logging output of no examples: the same keys, all zero."""
    return {key: value * 0 for key, value in logging_output.items() if isinstance(value, (Tensor, int, float))}


def can_be_summed(task: Any, criterion: Any) -> bool:
    """Whether the processes' logging outputs are summed; they are gathered one by one otherwise."""
    return type(task).logging_outputs_can_be_summed(criterion)


def contribution(task: Any, criterion: Any, logging_output: dict[str, Any], is_dummy: bool) -> list[dict[str, Any]]:
    """What a batch adds to the logs. A dummy batch adds nothing, but a sum over processes needs its keys."""
    if not is_dummy:
        return [logging_output]
    return [emptied(logging_output)] if can_be_summed(task, criterion) else []


def log_step(
    task: Any,
    criterion: Any,
    logging_outputs: list[dict[str, Any]],
    sample_size: Any,
    grad_norm: Optional[Tensor] = None,
    clip_norm: float = 0.0,
) -> dict[str, Any]:
    """Log one update (`grad_norm` given) or one validation batch; returns the criterion's smoothed values for it."""
    if grad_norm is not None:
        metrics.log_speed("ups", 1.0, priority=100, round=2)
        metrics.log_scalar("gnorm", grad_norm, priority=400, round=3)
        if clip_norm > 0:
            metrics.log_scalar("clip", torch.where(grad_norm > clip_norm, 100.0, 0.0), priority=500, round=1)
    with metrics.aggregate() as batch:
        if logging_outputs:
            task.reduce_metrics(logging_outputs, criterion)
            del logging_outputs
        values = batch.get_smoothed_values()
    values["sample_size"] = sample_size
    for derived in ("ppl", "wps", "wpb", "bsz"):
        values.pop(derived, None)
    return values


def log_free_memory(device: torch.device) -> None:
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        metrics.log_scalar("gb_free", free / 2**30, priority=1500, round=1, weight=0)


def restart_time_meters() -> None:
    """After a resume: durations start from scratch, sums and averages continue."""
    for name in ("train", "train_inner", "valid"):
        found = metrics.get_meters(name)
        for meter in found.values() if found is not None else ():
            if isinstance(meter, meters.TimeMeter):
                meter.reset()
