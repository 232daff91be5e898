"""How often each of several data sets is seen: shares by their sizes.

    temperature: share_i ~ (size_i / total)^(1 / T)      T = 1: as the sizes; the larger, the more alike

>>> [round(ratio, 3) for ratio in temperature_sampling([90, 10], 2)], uniform([90, 10])
([0.949, 0.316], [1.0, 1.0])
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any, Optional

logger = logging.getLogger(__name__)

Sampler = Callable[[Sequence[int]], list[float]]


def uniform(dataset_sizes: Sequence[int]) -> list[float]:
    """The same for all."""
    return [1.0] * len(dataset_sizes)


def temperature_sampling(dataset_sizes: Sequence[int], temp: float) -> list[float]:
    """See the head of this file; the shares do not add up to 1."""
    total = sum(dataset_sizes)
    return [(size / total) ** (1.0 / temp) for size in dataset_sizes]


def make_temperature_sampling(temp: float = 1.0) -> Sampler:
    return lambda dataset_sizes: temperature_sampling(dataset_sizes, temp)


def make_ratio_sampling(ratios: list[float]) -> Sampler:
    return lambda dataset_sizes: ratios


class SamplingMethod:
    """The method that `args.sampling_method` names."""

    @staticmethod
    def add_arguments(parser: Any) -> None:
        """The flags that choose a method."""
        choices = ["uniform", "temperature", "concat", "RoundRobin"]
        parser.add_argument("--sampling-method", choices=choices, default="concat", help="how pairs are mixed")
        parser.add_argument("--sampling-temperature", default=1.5, type=float, help="of sampling method temperature")

    @staticmethod
    def build_sampler(args: Any, task: Any) -> "SamplingMethod":
        return SamplingMethod(args, task)

    def __init__(self, args: Any, task: Any):
        self.args, self.task = args, task

    def is_adaptive(self) -> bool:
        return False

    def sampling_method_selector(self) -> Optional[Sampler]:
        """Sizes -> shares; None: every data set as it is."""
        method = str(self.args.sampling_method)
        logger.info(f"selected sampler: {method}")
        if method == "uniform":
            return uniform
        if method == "temperature":
            return make_temperature_sampling(float(self.args.sampling_temperature))
        if method == "RoundRobin":
            logger.warning("--sampling-method RoundRobin takes every pair as it is, as concat does and as in fairseq")
        return None
