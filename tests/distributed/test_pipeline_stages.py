"""Stages with codecs under every schedule of torch's: gradients are those of one process, bytes are those stated."""

import pytest

from fairseq.distributed.pipeline import schedules
from fairseq.errors import ConfigError


@pytest.fixture(scope="module")
def rows(two_workers, tmp_path_factory):
    return two_workers("pipeline_worker.py", tmp_path_factory.mktemp("stages"))


@pytest.mark.parametrize("name", schedules.SCHEDULES)
def test_gradients_are_those_of_a_single_process_bit_for_bit(rows, name):
    mine = [row for row in rows if row[0] == name]
    assert len(mine) == 6
    for _, spec, largest, difference, sent, stated in mine:
        # this schedule adds up micro-batches in the opposite order
        assert difference <= (1e-6 * largest if name == "looped_bfs" else 0), spec
        assert sent == stated > 0, spec


def test_codecs_change_the_gradients(rows):
    assert len({row[2] for row in rows if row[0] == "1f1b"}) == 6


@pytest.mark.parametrize(
    ("name", "stages", "ranks", "chunks", "message"),
    [
        ("1f2b", 2, 2, 4, "did you mean '1f1b'"),
        ("1f1b", 4, 2, 4, "one stage in each process"),
        ("gpipe", 3, 2, 4, "cannot be shared evenly"),
        ("zbv", 2, 2, 4, "two stages in each process"),
        ("interleaved", 2, 2, 4, "several stages in each process"),
        ("dualpipev", 4, 2, 3, "as many micro-batches as stages"),
        ("interleaved", 4, 2, 5, "no multiple of 2"),
    ],
)
def test_what_a_schedule_cannot_do_is_said_in_one_line(name, stages, ranks, chunks, message):
    with pytest.raises(ConfigError, match=message):
        schedules.check(name, stages, ranks, chunks)
