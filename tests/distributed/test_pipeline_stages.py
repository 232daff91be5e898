"""Stages with codecs under every schedule of torch's: gradients are those of one process, bytes are those stated."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fairseq.distributed.pipeline import schedules
from fairseq.errors import ConfigError

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stages")
    path = os.pathsep.join([str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    words = [str(folder / "meeting"), str(folder / "rows.json")]
    processes = [
        subprocess.Popen([sys.executable, str(HERE / "pipeline_worker.py"), str(rank), "2", *words], env=environ)
        for rank in range(2)
    ]
    try:
        codes = [process.wait(timeout=120) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert codes == [0, 0]
    return json.loads((folder / "rows.json").read_text())


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
