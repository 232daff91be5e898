"""A mixed plan: for each product one of several widths, so that a model loses little at a given average of bits.

    minimize    sum over products p of  loss[p, c(p)]
    such that   sum_p w_p bits(c(p)) / sum_p w_p  <=  budget        w_p: multiply-accumulates, or parameters

where loss[p, c] is what was measured with p alone at candidate c (`sensitivity.py`). Losses are taken to add up. The
best choice is found by dynamic programming over the products: of all choices for the first k of them, those stay that
no other beats in both cost and loss. Costs that differ by less than a thousandth of a bit on the average count as one,
so the result is the best one up to that; its own average is exact, and never above the budget.

>>> rows = [SensitivityRow(p, (f"{p}.weight",), Candidate.of(str(b)), 10, 10.0, loss=lost)
...     for p, b, lost in (("a", 2, 1.0), ("a", 6, 0.0), ("b", 2, 5.0), ("b", 6, 0.5))]
>>> plan = choose(rows, budget=4.0, by="loss")
>>> {path: row.candidate.bits for path, row in plan.choices.items()}, plan.average_bits, plan.expected
({'a': 2, 'b': 6}, 4.0, 1.5)
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fairseq.errors import ConfigError, unknown
from fairseq.quantization.analysis.bitops import FULL_BITS
from fairseq.quantization.analysis.sensitivity import Candidate, SensitivityRow

WEIGHTS = {"multiplications": "macs", "parameters": "parameters"}
MEASURES = ("change", "loss", "drop")
STEP = 1e-3  # bits


@dataclass
class MixedPlan:
    """What each product runs at.

    Attributes:
        choices: product -> the row that was measured for it.
        average_bits: over products, by the weights that were asked for.
        expected: the sum of the measured losses.
    """

    choices: dict[str, SensitivityRow]
    average_bits: float
    expected: float

    @property
    def bitops(self) -> float:
        """BitOPs of the forward pass of these products, as a share of full precision's."""
        macs = sum(row.macs for row in self.choices.values())
        spent = sum(row.macs * row.candidate.bits**2 for row in self.choices.values())
        return spent / (macs * FULL_BITS**2) if macs else 1.0

    def rules(self) -> list[dict[str, Any]]:
        """The plan as quantization rules: one per candidate, over the paths of its quantizers."""
        found: dict[Candidate, list[str]] = {}
        for row in self.choices.values():
            found.setdefault(row.candidate, []).extend(row.quantizers)
        rules = []
        for candidate, quantizers in sorted(found.items(), key=lambda item: item[0].bits):
            format_of = {} if candidate.format is None else {"format": candidate.format}
            rules += [{"match": pattern, "bits": candidate.bits, **format_of} for pattern in patterns(quantizers)]
        return rules


class _State(NamedTuple):
    """Choices for the first products that nothing beats: costs ascend, losses fall."""

    cost: np.ndarray  # (states)
    loss: np.ndarray  # (states)
    parent: np.ndarray  # (states): place in the state before
    option: np.ndarray  # (states): number of the product's candidate


def choose(
    rows: Sequence[SensitivityRow], budget: float, weigh: str = "multiplications", by: str = "change"
) -> MixedPlan:
    """The best choice of one row for each product.

    Args:
        budget: bits on the average.
        weigh: what a product counts for in the average, a key of `WEIGHTS`.
        by: the measure whose sum is least, one of `MEASURES`.

    Raises:
        ConfigError: an unknown name, a measure that is not there, a budget below the least bits.
    """
    if weigh not in WEIGHTS:
        raise ConfigError(unknown("weight", weigh, WEIGHTS, where="mixed plan"))
    if by not in MEASURES:
        raise ConfigError(unknown("measure", by, MEASURES, where="mixed plan"))
    options: dict[str, list[SensitivityRow]] = {}
    for row in rows:
        options.setdefault(row.product, []).append(row)
    weights = np.array([getattr(found[0], WEIGHTS[weigh]) for found in options.values()], dtype=np.float64)
    if not weights.sum():
        raise ConfigError(f"mixed plan: no product has {weigh}; weigh by another measure")
    shares = weights / weights.sum()
    costs = [
        share * np.array([row.candidate.bits_per_value for row in found])
        for share, found in zip(shares, options.values(), strict=True)
    ]
    losses = [_losses(found, by) for found in options.values()]
    least = sum(cost.min() for cost in costs)
    if budget < least - 1e-9:
        raise ConfigError(f"mixed plan: a budget of {budget:g} bits; the candidates have {least:g} or more")
    states = [_State(np.zeros(1), np.zeros(1), np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64))]
    left = least
    for cost, loss in zip(costs, losses, strict=True):
        left -= cost.min()
        states.append(_extend(states[-1], cost, loss, budget - left + 1e-9))
    place = int(states[-1].loss.argmin())
    average, expected = float(states[-1].cost[place]), float(states[-1].loss[place])
    choices: dict[str, SensitivityRow] = {}
    for (path, found), state in zip(reversed(options.items()), reversed(states[1:]), strict=True):
        choices[path] = found[state.option[place]]
        place = int(state.parent[place])
    return MixedPlan(dict(reversed(choices.items())), average, expected)


def uniform(rows: Sequence[SensitivityRow], candidate: Candidate) -> MixedPlan:
    """The plan in which every product runs at `candidate`."""
    choices = {row.product: row for row in rows if row.candidate == candidate}
    return MixedPlan(choices, candidate.bits_per_value, float("nan"))


def _losses(found: Sequence[SensitivityRow], by: str) -> np.ndarray:
    values = [getattr(row, by) for row in found]
    if any(value is None for value in values):
        raise ConfigError(f"mixed plan: {by!r} was not measured; choose by another, such as loss")
    losses = np.array(values, dtype=np.float64)
    return np.where(np.isfinite(losses), losses, np.finfo(np.float64).max / 1e6)  # a model that broke down


def _extend(state: _State, cost: np.ndarray, loss: np.ndarray, most: float) -> _State:
    """The states with one more product, those that cost more than `most` left out."""
    costs = (state.cost[:, None] + cost[None, :]).ravel()
    losses = (state.loss[:, None] + loss[None, :]).ravel()
    order = np.lexsort((losses, costs))
    order = order[costs[order] <= most]
    best = np.minimum.accumulate(losses[order])
    keep = np.ones(len(order), dtype=bool)
    keep[1:] = losses[order][1:] < best[:-1]  # beaten by none that costs less
    order = order[keep]
    cell = np.floor(costs[order] / STEP).astype(np.int64)
    last = np.append(cell[1:] != cell[:-1], True)  # of those that cost the same up to a step, the one that loses least
    order = order[last]
    return _State(costs[order], losses[order], order // len(cost), order % len(cost))


def patterns(quantizers: Sequence[str]) -> list[str]:
    """Paths of quantizers as patterns of rules, one per module.

    >>> patterns(["layers.0.fc1.input", "layers.0.fc1.weight", "layers.1.fc2.weight"])
    ['re:layers\\\\.0\\\\.fc1\\\\.(input|weight)', 'layers.1.fc2.weight']
    """
    by_owner: dict[str, list[str]] = {}
    for path in quantizers:
        owner, _, name = path.rpartition(".")
        by_owner.setdefault(owner, []).append(name)
    found = []
    for owner, names in by_owner.items():
        prefix = f"{owner}." if owner else ""
        if len(names) == 1 and not set(prefix + names[0]) & set("*?["):
            found.append(prefix + names[0])
        else:
            found.append(f"re:{re.escape(prefix)}({'|'.join(map(re.escape, names))})")
    return found
