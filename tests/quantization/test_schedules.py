"""Schedules: the reference's cosine step by step, the table of ten, edges, resuming, the range test."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairseq.errors import ConfigError
from fairseq.quantization import read_config
from fairseq.quantization.analysis.bitops import schedule_saving
from fairseq.quantization.gradient_diversity import GradientDiversity
from fairseq.quantization.precision_range import PrecisionRangeTest
from fairseq.quantization.schedules import SCHEDULES, build_schedule
from fairseq.quantization.schedules.base import schedule_of

CYCLIC = ["CR", "CT", "ER", "ETH", "ETV", "LR", "LT", "RR", "RTH", "RTV"]


def test_registry() -> None:
    assert sorted(SCHEDULES) == sorted([*CYCLIC, "constant", "diversity", "plateau"])


@pytest.mark.parametrize(("low", "high"), [(3, 8), (4, 8), (3, 6), (4, 16), (8, 8)])
def test_cosine_is_the_reference(low: int, high: int) -> None:
    total, cycles = 6400, 32
    schedule, period = build_schedule("CR", low=low, high=high, num_cycles=cycles), 6400 // 32
    expected = [
        int(np.rint(low + 0.5 * (high - low) * (1 + np.cos(np.pi * (t % period) / period + np.pi))))
        for t in range(total)
    ]
    assert [schedule.bits(t, total) for t in range(total)] == [*expected[:-1], high]


# mean bits at 3-8 and savings in percent at 3-8, 4-8 and 4-16, gradients at 8 bits
TABLE = {
    "CR": (5.50, 36.7, 30.1, 45.7),
    "LR": (5.50, 37.3, 30.5, 46.9),
    "ER": (6.83, 17.8, 14.2, 23.8),
    "RR": (3.80, 60.1, 49.9, 72.7),
    "CT": (5.50, 36.7, 30.1, 45.6),
    "LT": (5.50, 37.2, 30.5, 46.8),
    "ETV": (5.50, 36.5, 30.0, 45.5),
    "ETH": (6.83, 17.8, 14.2, 23.8),
    "RTV": (5.50, 36.3, 29.8, 44.9),
    "RTH": (3.81, 60.1, 49.9, 72.7),
}


@pytest.mark.parametrize("name", CYCLIC)
def test_table_of_ten(name: str) -> None:
    mean, *savings = TABLE[name]
    total = 64000
    schedule = build_schedule(name, low=3, high=8)
    assert abs(sum(schedule.bits(t, total) for t in range(0, total, 10)) / (total / 10) - mean) < 0.011
    for (low, high), saving in zip(((3, 8), (4, 8), (4, 16)), savings, strict=True):
        ours = 100 * schedule_saving(build_schedule(name, low=low, high=high), total, 8)
        assert abs(ours - saving) < 0.061, (low, high)  # the table has one decimal


def test_cost_oracle() -> None:
    assert abs(100 * schedule_saving(build_schedule("CR", low=3, high=8, num_cycles=32), 64000, 8) - 36.67) < 0.02
    assert abs(100 * schedule_saving(build_schedule("CR", low=3, high=6, num_cycles=32), 64000, 6) - 30.05) < 0.02


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(CYCLIC),
    st.integers(2, 16),
    st.integers(0, 14),
    st.integers(1, 40),
    st.integers(1, 200),
)
def test_every_edge(name: str, low: int, extent: int, cycles: int, total: int) -> None:
    high = min(low + extent, 16)
    schedule = build_schedule(name, low=low, high=high, num_cycles=cycles)
    bits = [schedule.bits(t, total) for t in range(total)]
    assert all(isinstance(b, int) and low <= b <= high for b in bits)
    assert bits[-1] == high and schedule.bits(total + 5, total) == high
    n = schedule.cycles(total)
    assert n == min(cycles, max(total // 2, 1))
    assert bool(schedule.notes(total)) == (n != cycles)
    if total > 1:  # every cycle is there, and none is shorter than two updates
        lengths = [sum(t * n // total == cycle for t in range(total)) for cycle in range(n)]
        assert min(lengths) >= 2 and max(lengths) - min(lengths) <= 1


def test_not_divisible_has_no_leftover_cycle() -> None:
    schedule = build_schedule("LR", low=2, high=12, num_cycles=3)
    bits = [schedule.bits(t, 100) for t in range(100)]
    drops = [t for t in range(1, 100) if bits[t] < bits[t - 1]]
    assert drops == [34, 67] and bits[-1] == 12


def test_bounds_are_checked() -> None:
    for low, high in ((0, 8), (8, 4), (True, 8), (4, 8.5)):
        with pytest.raises(ConfigError, match="bound"):
            build_schedule("CR", low=low, high=high)
    with pytest.raises(ConfigError, match="num_cycles"):
        build_schedule("CR", low=4, high=8, num_cycles=0)
    with pytest.raises(ConfigError, match="windw"):
        build_schedule("plateau", low=4, high=8, windw=3)
    with pytest.raises(ConfigError, match="precision schedule"):
        build_schedule("cosine", low=4, high=8)


def test_from_config() -> None:
    schedule = schedule_of(read_config("cpt_4_8", num_bits=7))
    assert (schedule.name, schedule.low, schedule.high, schedule.num_cycles) == ("CR", 4, 7, 32)
    assert {schedule_of(read_config("int4")).bits(t, 9) for t in range(9)} == {4}
    plateau = schedule_of(read_config("cpt_4_8", schedule={"name": "plateau", "options": {"window": 3}}))
    assert plateau.name == "plateau" and plateau.window == 3


def test_plateau_rises_and_resumes() -> None:
    losses = [1 / (1 + t) for t in range(20)] + [0.05] * 60
    whole, bits = build_schedule("plateau", low=4, high=7, window=5), []
    for t, loss in enumerate(losses):
        bits.append(whole.bits(t, 1000))
        whole.observe(t, loss=loss)
    assert bits[0] == 4 and bits[-1] == 7 and sorted(bits) == bits
    whole.observe(80, loss=math.nan)  # a diverged update says nothing about progress

    first, resumed, again = build_schedule("plateau", low=4, high=7, window=5), None, []
    for t, loss in enumerate(losses):
        if t == 43:
            resumed = build_schedule("plateau", low=4, high=7, window=5)
            resumed.load_state_dict(first.state_dict())
            first = resumed
        again.append(first.bits(t, 1000))
        first.observe(t, loss=loss)
    assert again == bits


def test_diversity_rises_and_resumes() -> None:
    def run(resume_at: int) -> list[int]:
        schedule, bits = build_schedule("diversity", low=8, high=16, patience=2), []
        for t in range(60):
            if t == resume_at:
                state = schedule.state_dict()
                schedule = build_schedule("diversity", low=8, high=16, patience=2)
                schedule.load_state_dict(state)
            bits.append(schedule.bits(t, 1000))
            schedule.observe(t, diversity=1 / (1 + 0.2 * (t % 20)))
        return bits

    bits = run(-1)
    assert bits[0] == 8 and bits[-1] > 8 and sorted(bits) == bits and set(bits) <= {8, 12, 14, 16}
    assert run(31) == bits


def test_gradient_diversity() -> None:
    import torch

    meter = GradientDiversity(interval=2, resolution=3)
    parameter = torch.nn.Parameter(torch.zeros(3))
    found = []
    for update in range(6):
        parameter.grad = torch.tensor([1.0, 2.0, 2.0])
        found.append(meter.update(update, [parameter]))
    assert found[:5] == [None] * 5 and found[5] == pytest.approx(1 / 3)  # all the same direction


def test_range_test_finds_the_bound() -> None:
    test = PrecisionRangeTest(low=2, high=8, updates_per_bits=40, window=10, threshold=0.02)
    update = 0
    while not test.is_done(update):
        bits = test.bits(update)
        test.observe(update, 0.5 + (0.002 * (update % 40) if bits >= 4 else 0.0))
        update += 1
    assert test.lower_bound() == 4 and update == 120
    assert [point.num_bits for point in test.curve()] == [2, 3, 4]
    assert test.as_dict()["lower_bound"] == 4 and test.as_dict()["curve"][2]["gain"] == pytest.approx(0.06)
    hopeless = PrecisionRangeTest(low=2, high=3, updates_per_bits=4, window=2)
    for update in range(hopeless.total_updates):
        hopeless.observe(update, 0.5)
    assert hopeless.lower_bound() is None and hopeless.is_done(8)
    with pytest.raises(ConfigError):
        PrecisionRangeTest(low=5, high=4)
    with pytest.raises(ConfigError, match="too few"):
        PrecisionRangeTest(updates_per_bits=4, window=3)
