"""Meters, aggregators and log lines against fairseq 0.12 (tests/fixtures/logging.json), and what we promise beyond
it.
"""

import json
import threading

import logging_scenarios
import pytest
import torch

from fairseq.errors import CheckpointError
from fairseq.logging import metrics
from fairseq.logging.meters import AverageMeter, MetersDict, StopwatchMeter, TimeMeter


@pytest.fixture(autouse=True)
def fresh_metrics():
    with metrics.isolated():
        yield


@pytest.mark.parametrize("scenario", logging_scenarios.SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_as_fairseq(scenario, fixtures):
    expected = json.loads((fixtures / "logging.json").read_text(encoding="utf-8"))[scenario.__name__]
    assert scenario() == expected


def test_tensors_stay_tensors_until_smoothed():
    metrics.log_scalar("loss", torch.tensor(1.0), weight=torch.tensor(3), round=1)
    meter = metrics.get_meter("default", "loss")
    assert isinstance(meter.sum, torch.Tensor) and isinstance(meter.count, torch.Tensor)
    assert metrics.get_smoothed_value("default", "loss") == 1.0


def test_a_failing_block_leaves_no_aggregator_behind():
    with pytest.raises(KeyError), metrics.aggregate("broken"):
        raise KeyError
    metrics.log_scalar("x", 1.0)
    assert list(metrics.get_meters("broken")) == []


def test_active_aggregator_goes_on_with_loaded_meters():
    metrics.log_scalar("loss", 1.0)
    saved = metrics.state_dict()
    metrics.reset()
    metrics.load_state_dict(saved)
    metrics.log_scalar("loss", 3.0)
    assert metrics.get_smoothed_value("default", "loss") == 2.0


def test_average_is_not_narrowed_by_a_half_precision_value():
    meter = AverageMeter()
    meter.update(torch.tensor(2049.0))
    meter.update(torch.tensor(1.0, dtype=torch.half))
    assert meter.sum.item() == 2050.0


def test_unknown_meter_class_is_refused():
    with pytest.raises(
        CheckpointError, match="meter class 'SumMetre' in the saved metric 'x'; did you mean 'SumMeter'"
    ):
        MetersDict().load_state_dict([(10, "x", "SumMetre", {})])


def test_speed_starts_with_the_second_call():
    metrics.log_speed("wps", 100)
    assert metrics.get_meter("default", "wps").n == 0
    metrics.log_speed("wps", 100)
    assert metrics.get_meter("default", "wps").n == 100


def test_clocks():
    speed, watch = TimeMeter(init=10, n=50), StopwatchMeter()
    assert 4.9 < speed.avg <= 5.0
    speed.reset()
    assert speed.n == 0 and speed.elapsed_time < 1
    watch.start()
    called = []
    watch.stop(2, prehook=lambda: called.append(True))
    assert called and watch.n == 2 and 0 < watch.sum < 1


def test_stopwatch_reports_running_time_before_the_first_stop():
    metrics.log_start_time("wall")
    assert metrics.get_meter("default", "wall").sum == 0
    assert metrics.get_smoothed_value("default", "wall") > 0
    metrics.log_stop_time("never_started")
    assert metrics.get_meter("default", "never_started") is None


def test_as_decorator():
    @metrics.aggregate("epoch")
    def step():
        metrics.log_scalar("loss", 1.0)

    step()
    step()
    assert metrics.get_meter("epoch", "loss").count == 2


def test_other_threads_log_to_the_same_place_unless_isolated():
    with metrics.isolated():
        metrics.log_scalar("x", 1.0)
        assert metrics.get_meter("default", "x") is not None
    assert metrics.get_meter("default", "x") is None

    seen = []
    thread = threading.Thread(target=lambda: seen.append(metrics.get_active_aggregators()))
    thread.start()
    thread.join()
    assert len(seen[0]) == 1  # the process-wide default is what a new thread sees
