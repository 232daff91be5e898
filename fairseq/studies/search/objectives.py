"""What a search makes large or small.

    objectives: [accuracy]
    objectives: [accuracy, average_bits]                              several: the Pareto front
    objectives: [accuracy, {metric: average_bits, scale: 2}]          with `sum: true`: accuracy - 2 average_bits

Metrics are those that validation logs, and costs of the model (`costs.py`). The direction of those below is known;
of others it is said: `{metric: my_score, direction: maximize}`.

>>> Objective.read("average_bits")
Objective(metric='average_bits', direction='minimize', scale=1.0)
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fairseq.errors import ConfigError, unknown

MAXIMIZE, MINIMIZE = "maximize", "minimize"
SCORES = (
    "accuracy", "mcc", "f1", "acc_and_f1", "pearson", "spearman", "pearson_and_spearman", "bleu", "precision", "recall",
)  # fmt: skip
LOSSES = ("loss", "nll_loss", "ppl", "train_loss")
COSTS = {
    "average_bits": "bits of a weight that is multiplied, on the average",
    "memory": "MiB of all parameters, at their bits",
    "bitops": "bit operations of the products of one example, forward",
    "latency": "ms of a forward pass of one validation batch, measured: the median of several",
    "parameters": "number of parameters",
    "training_bitops": "bit operations of training",
    "peak_memory": "MiB of the process in training",
    "seconds": "of training",
}
KEYS = ("metric", "direction", "scale")


@dataclass(frozen=True)
class Objective:
    """A metric, which way it is to go, and its factor in a sum."""

    metric: str
    direction: str
    scale: float = 1.0

    @classmethod
    def read(cls, spec: Any) -> "Objective":
        """From a metric's name, or a mapping.

        Raises:
            ConfigError: an unknown key, or a metric of unknown direction.
        """
        spec = {"metric": spec} if isinstance(spec, str) else spec
        if not isinstance(spec, Mapping) or not isinstance(spec.get("metric"), str):
            raise ConfigError(f"objectives: needs a metric's name or {{metric: NAME, ...}}, got {spec!r}")
        for key in spec:
            if key not in KEYS:
                raise ConfigError(unknown("key", str(key), KEYS, where="objectives"))
        metric, direction, scale = spec["metric"], spec.get("direction"), spec.get("scale", 1.0)
        if direction is None:
            direction = MAXIMIZE if metric in SCORES else MINIMIZE if metric in (*LOSSES, *COSTS) else None
        if direction is None:
            raise ConfigError(
                f"{unknown('objective', metric, (*SCORES, *LOSSES, *COSTS))} Another metric that validation logs "
                f"needs {{metric: {metric}, direction: maximize}}"
            )
        if direction not in (MAXIMIZE, MINIMIZE):
            raise ConfigError(f"objectives: {metric}: direction is maximize or minimize, got {direction!r}")
        if isinstance(scale, bool) or not isinstance(scale, (int, float)) or not 0 < scale < math.inf:
            raise ConfigError(f"objectives: {metric}: scale must be a number above 0, got {scale!r}")
        return cls(metric, direction, float(scale))


def value_of(objective: Objective, metrics: Mapping[str, Any]) -> float:
    """The objective's number among all that a trial has.

    Raises:
        ConfigError: it is not there.
    """
    if objective.metric not in metrics:
        logged = ", ".join(key for key in metrics if key not in COSTS)
        raise ConfigError(
            f"objectives: validation does not report {objective.metric}; it reports {logged}; costs are "
            f"{', '.join(COSTS)}"
        )
    value = metrics[objective.metric]
    if value is None:
        raise ConfigError(f"objectives: {objective.metric} cannot be told on this machine; choose another objective")
    return float(value)


def weighted_sum(objectives: Sequence[Objective], values: Sequence[float]) -> float:
    """What `sum: true` maximizes: scores with their scale, less losses and costs with theirs.

    >>> weighted_sum([Objective.read("accuracy"), Objective("average_bits", "minimize", 2.0)], [80.0, 8.0])
    64.0
    """
    signs = [1 if objective.direction == MAXIMIZE else -1 for objective in objectives]
    return math.fsum(s * o.scale * v for s, o, v in zip(signs, objectives, values, strict=True))


def dominates(a: Sequence[float], b: Sequence[float], directions: Sequence[str]) -> bool:
    """Whether `a` is as good as `b` in everything, and better in something.

    >>> dominates((80.0, 4.0), (80.0, 8.0), ("maximize", "minimize"))
    True
    """
    pairs = [(x, y) if way == MAXIMIZE else (-x, -y) for x, y, way in zip(a, b, directions, strict=True)]
    return all(x >= y for x, y in pairs) and any(x > y for x, y in pairs)


def front(points: Sequence[Sequence[float]], directions: Sequence[str]) -> list[int]:
    """Indices of the points that none dominates; of equal ones the first."""
    return [
        index
        for index, point in enumerate(points)
        if not any(dominates(other, point, directions) for other in points)
        and not any(tuple(other) == tuple(point) for other in points[:index])
    ]
