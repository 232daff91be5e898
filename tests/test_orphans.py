"""Nobody outlives a process that is killed: not workers that were about to start, not the resource tracker."""

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Says its worker's number from inside the worker, before torch or anybody else looks for the parent. One write per
# line: print makes two where PYTHONUNBUFFERED is set, and those of two workers mix.
LATE = """
import os, sys, time
import torch.utils.data._utils.worker as worker
loop = worker._worker_loop
def late(*args, **kwargs):
    os.write(1, b"%d\\n" % os.getpid())
    time.sleep(1)
    loop(*args, **kwargs)
worker._worker_loop = late
"""

LOADER = (
    LATE
    + """
from fairseq.data.iterating.loading import BatchLoader
for batch in BatchLoader(list(range(100)), list, [[i] for i in range(100)], num_workers=2, buffer_size=1):
    time.sleep(60)
"""
)


def processes(marker: str) -> list[int]:
    """Living processes that have inherited the environment variable `marker`."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                environ = (folder / "environ").read_bytes()
                state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if f"ORPHAN_TEST={marker}".encode() in environ and state != "Z":
                found.append(int(folder.name))
    return found


def kill_when_it_speaks(*words: str, lines: int = 1) -> list[int]:
    """Start Python, SIGKILL it after its first lines; returns what is left of its children ten seconds later."""
    marker = uuid.uuid4().hex
    environ = {**os.environ, "ORPHAN_TEST": marker, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, env=environ, text=True)
    try:
        for _ in range(lines):
            assert process.stdout.readline().strip().isdigit()
        assert len(processes(marker)) > 1
        process.send_signal(signal.SIGKILL)
        process.wait()
        deadline = time.monotonic() + 10
        while (left := processes(marker)) and time.monotonic() < deadline:
            time.sleep(0.1)
        return left
    finally:
        for number in processes(marker):
            os.kill(number, signal.SIGKILL)
        process.stdout.close()


pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="no /proc to look for processes in")


def test_workers_that_start_when_their_process_is_killed():
    assert kill_when_it_speaks("-c", LOADER, lines=2) == []


def test_workers_that_make_batches():
    assert kill_when_it_speaks("-c", LOADER.replace("time.sleep(1)", "pass"), lines=2) == []


def test_preprocessing_workers(tmp_path):
    """A pool's workers wait for ever for the next piece, as each holds the others' pipes open."""
    (tmp_path / "text").write_text("a b c\n" * 100)
    code = """
import os, sys, time
from fairseq.data import dictionary, file_work
file_work.SMALLEST_PIECE = 1
count = dictionary.count_words
def slow(*args, seen=None):
    os.write(1, b"%d\\n" % os.getpid())
    time.sleep(1)
    return count(*args)
dictionary.count_words = slow
dictionary.Dictionary.add_file_to_dictionary(sys.argv[1], dictionary.Dictionary(), str.split, 2)
"""
    assert kill_when_it_speaks("-c", code, str(tmp_path / "text"), lines=2) == []
