"""Hooks that exchange gradients in few bits: errors, bytes, replicas that stay equal."""

import pytest

from fairseq.distributed import hooks
from fairseq.errors import ConfigError

LIMITS = {  # error of one update, error of the mean of eight, times fewer bytes
    "none": (1e-6, 1e-6, 0),
    "fp16": (1e-3, 1e-3, 1.99),
    "bf16": (6e-3, 6e-3, 1.99),
    "int8_ef": (0.01, 0.003, 3.8),
    "topk_ef": (0.9, 0.5, 10),
    "lowrank": (1.0, 0.7, 8),
}


@pytest.fixture(scope="module")
def rows(two_workers, tmp_path_factory):
    return two_workers("hooks_worker.py", tmp_path_factory.mktemp("hooks"))


@pytest.mark.parametrize("name", hooks.NAMES)
def test_means_are_near_and_small_and_the_same_everywhere(rows, name):
    row, (first, mean, ratio) = rows[name], LIMITS[name]
    assert row["equal"]
    assert row["first"] <= first
    assert row["mean"] <= mean
    assert not ratio or row["raw"] / row["sent"] >= ratio


@pytest.mark.parametrize("name", ["int8_ef", "topk_ef", "lowrank"])
def test_error_feedback_gives_back_what_single_updates_lose(rows, name):
    assert rows[name]["mean"] < 0.75 * rows[name]["first"]


def test_an_unknown_hook_is_refused():
    with pytest.raises(ConfigError, match="did you mean 'int8_ef'"):
        hooks.add_hook(None, "int8")
