"""Who speaks for a group that failed, and what is said."""

import threading

import pytest
from torch import distributed as dist

from fairseq.distributed import failures
from fairseq.distributed.failures import Failures, is_lost_connection
from fairseq.errors import ConfigError, DataError, TrainingError

LOST = RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:30291")


def settle(errors: dict[int, Exception], world_size: int, explain=None) -> dict[int, object]:
    """What each failing rank ends with: the exception it raises, or its silent exit code."""
    store, ends = dist.HashStore(), {}

    def run(rank: int) -> None:
        try:
            ends[rank] = Failures(store, rank, world_size, explain if rank == 0 else None).settle(errors[rank])
        except SystemExit as exit:
            ends[rank] = exit.code

    threads = [threading.Thread(target=run, args=(rank,)) for rank in errors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ends


def test_one_error_in_all_ranks_is_said_once():
    error = ConfigError("no such folder")
    assert settle({0: error, 1: ConfigError("no such folder"), 2: ConfigError("no such folder")}, 3) == {
        0: error,
        1: 2,
        2: 2,
    }


def test_rank_0_says_what_another_rank_found():
    ends = settle({0: LOST, 1: DataError("line 7 of train.label is empty")}, 2)
    assert isinstance(ends[0], TrainingError) and str(ends[0]) == "line 7 of train.label is empty"
    assert ends[1] == 1


def test_a_killed_rank_is_named_by_the_survivors():
    ends = settle({0: LOST, 2: LOST}, 3)
    assert str(ends[0]).startswith("rank 1 was killed or cannot be reached") and ends[2] == 1


def test_a_parent_knows_more_of_a_killed_rank():
    ends = settle({0: LOST}, 2, explain=lambda: "rank 1 (process 7) was killed by SIGKILL")
    assert str(ends[0]) == "rank 1 (process 7) was killed by SIGKILL"


def test_another_rank_speaks_where_rank_0_is_gone(monkeypatch):
    monkeypatch.setattr(failures, "_RANK_0", 0.2)
    ends = settle({1: LOST}, 2)
    assert str(ends[1]).startswith("rank 0 was killed")


@pytest.mark.parametrize("error", [ValueError("a defect"), RuntimeError("shape mismatch"), DataError("gloo")])
def test_other_errors_are_no_lost_connection(error):
    assert is_lost_connection(LOST) and not is_lost_connection(error)
