"""In which order stages work on micro-batches: torch's schedules under the names of `--pp-schedule`.

Looped schedules give a process every N-th stage, V-shaped ones the first and the last of what is left.

>>> places("1f1b", 4, 4), places("interleaved", 4, 2), places("zbv", 4, 2)
([0, 1, 2, 3], [0, 1, 0, 1], [0, 1, 1, 0])
>>> check("1f1b", num_stages=2, num_ranks=2, num_micro_batches=1)
Traceback (most recent call last):
...
fairseq.errors.ConfigError: pp_schedule=1f1b needs at least as many micro-batches as stages: pipeline_chunks=1, 2 stages
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Optional

from fairseq.errors import ConfigError, unknown


class _Schedule(NamedTuple):
    torch_name: str
    kind: str  # "single", "looped" or "v"


SCHEDULES = {
    "gpipe": _Schedule("GPipe", "single"),
    "1f1b": _Schedule("1F1B", "single"),
    "interleaved": _Schedule("Interleaved1F1B", "looped"),
    "looped_bfs": _Schedule("LoopedBFS", "looped"),
    "interleaved_zero_bubble": _Schedule("InterleavedZeroBubble", "looped"),
    "zbv": _Schedule("ZBVZeroBubble", "v"),
    "dualpipev": _Schedule("DualPipeV", "v"),
}

ZERO_BUBBLE = ("interleaved_zero_bubble", "zbv", "dualpipev")  # gradients of activations first, of weights later


def places(name: str, num_stages: int, num_ranks: int) -> list[int]:
    """The rank, of those of a pipeline, that has each stage."""
    if _schedule(name).kind == "v":
        return [min(stage, num_stages - 1 - stage) for stage in range(num_stages)]
    return [stage % num_ranks for stage in range(num_stages)]


def processes_for(balance: str, name: str) -> int:
    """How many processes a pipeline of stages written as in `pipeline_balance` is usually run by."""
    stages = len([part for part in balance.strip("[] ").split(",") if part.strip()])
    per_process = 1 if name not in SCHEDULES or SCHEDULES[name].kind == "single" else 2
    return max(1, stages // per_process)


def check(name: str, num_stages: int, num_ranks: int, num_micro_batches: int) -> None:
    """Check that a schedule can run these stages.

    Raises:
        ConfigError: it cannot; names the settings.
    """
    kind, per_rank = _schedule(name).kind, num_stages // max(1, num_ranks)
    setting = f"pp_schedule={name}"
    if num_stages % num_ranks or per_rank < 1:
        raise ConfigError(
            f"{setting}: {num_stages} stages (pipeline_balance) cannot be shared evenly by {num_ranks} processes"
        )
    if kind == "single" and per_rank != 1:
        raise ConfigError(
            f"{setting} has one stage in each process: {num_stages} stages (pipeline_balance), {num_ranks} processes"
        )
    if kind == "v" and per_rank != 2:
        raise ConfigError(
            f"{setting} has two stages in each process: {num_stages} stages (pipeline_balance), {num_ranks} processes"
        )
    if kind == "looped" and per_rank < 2:
        raise ConfigError(
            f"{setting} has several stages in each process: {num_stages} stages (pipeline_balance), "
            f"{num_ranks} processes"
        )
    if name in ("1f1b", "dualpipev") and num_micro_batches < num_stages:
        raise ConfigError(
            f"{setting} needs at least as many micro-batches as stages: pipeline_chunks={num_micro_batches}, "
            f"{num_stages} stages"
        )
    rounds = max(1, num_micro_batches // num_ranks)
    if name in ("interleaved", "interleaved_zero_bubble") and num_micro_batches % rounds:
        raise ConfigError(f"{setting}: pipeline_chunks={num_micro_batches} is no multiple of {rounds}")


def build(name: str, stages: Sequence[Any], num_micro_batches: int, loss: Optional[Callable[..., Any]]) -> Any:
    """torch's schedule for the stages of this process; gradients are sums over micro-batches."""
    from torch.distributed.pipelining.schedules import get_schedule_class

    schedule = _schedule(name)
    kind = get_schedule_class(schedule.torch_name)
    what = stages[0] if schedule.kind == "single" else list(stages)
    # scale_grads would divide what earlier calls have added to .grad, too
    return kind(what, n_microbatches=num_micro_batches, loss_fn=loss, scale_grads=False)


def _schedule(name: str) -> _Schedule:
    if name not in SCHEDULES:
        raise ConfigError(unknown("pp_schedule", str(name), SCHEDULES))
    return SCHEDULES[name]
