"""Writing: whole files or none, whatever goes wrong in the middle."""

import errno
import io
import os
import subprocess
import sys

import pytest
import torch

from fairseq import checkpoint_utils
from fairseq.checkpoint import writing
from fairseq.checkpoint.reading import read
from fairseq.errors import CheckpointError

STATE = {"model": {"w": torch.arange(50_000.0)}}


@pytest.fixture
def previous(tmp_path):
    path = tmp_path / "checkpoint_last.pt"
    writing.save({"model": {"w": torch.zeros(3)}}, str(path))
    return path


def unchanged(previous):
    return read(previous)["model"]["w"].tolist() == [0, 0, 0] and os.listdir(previous.parent) == [previous.name]


def test_save_and_copy(tmp_path):
    first, second = str(tmp_path / "a.pt"), str(tmp_path / "b.pt")
    writing.save(STATE, first)
    writing.copy(first, second)
    with open(first, "rb") as a, open(second, "rb") as b:
        assert a.read() == b.read()
    assert os.stat(first).st_ino != os.stat(second).st_ino and os.stat(first).st_nlink == 1
    assert torch.equal(read(second)["model"]["w"], STATE["model"]["w"])
    assert sorted(os.listdir(tmp_path)) == ["a.pt", "b.pt"]


class Failing:
    """A file that raises after `left` bytes."""

    def __init__(self, file, left, code):
        self.file, self.left, self.code = file, left, code

    def write(self, data):
        self.left -= len(data)
        if self.left < 0:
            raise OSError(self.code, os.strerror(self.code))
        return self.file.write(data)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)


def fail_after(monkeypatch, left, code, times=10**9):
    count = [0]

    def opened(path, mode="r", *args):
        file = open(path, mode, *args)  # noqa: SIM115 - the caller's `with` closes it
        if mode == "wb":
            count[0] += 1
            return Failing(file, left if count[0] <= times else 1 << 60, code)
        return file

    monkeypatch.setattr(writing.PathManager, "open", staticmethod(opened))
    return count


@pytest.mark.parametrize("left", [0, 100, 30_000, 199_000])
@pytest.mark.parametrize("action", ["save", "copy"])
def test_full_disk(previous, tmp_path_factory, monkeypatch, left, action):
    source = str(tmp_path_factory.mktemp("source") / "new.pt")
    writing.save(STATE, source)
    count = fail_after(monkeypatch, left, errno.ENOSPC)
    with pytest.raises(CheckpointError) as error:
        writing.save(STATE, str(previous)) if action == "save" else writing.copy(source, str(previous))
    assert f"cannot write checkpoint {previous}: No space left on device; free some space" in str(error.value)
    assert "\n" not in str(error.value)
    assert unchanged(previous) and count[0] == 1


def test_transient_error_is_tried_again(previous, monkeypatch, caplog):
    monkeypatch.setattr(writing, "PAUSE", 0)
    count = fail_after(monkeypatch, 100, errno.EIO, times=2)
    writing.save(STATE, str(previous))
    assert count[0] == 3 and len(caplog.messages) == 2
    assert len(read(previous)["model"]["w"]) == 50_000

    count = fail_after(monkeypatch, 100, errno.ESTALE)
    with pytest.raises(CheckpointError, match="Stale file handle"):
        writing.save({}, str(previous))
    assert count[0] == writing.ATTEMPTS


def test_interrupt(previous, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        writing.save(STATE, str(previous))
    assert unchanged(previous)


def test_what_cannot_be_pickled(previous):
    with pytest.raises(AttributeError):
        writing.save({"x": lambda: 1}, str(previous))
    assert unchanged(previous)


def test_real_size_limit(previous, repository):
    """The kernel refuses the write (RLIMIT_FSIZE), in the middle of PyTorch's writer."""
    script = (
        "import resource, sys, torch; from fairseq.checkpoint import writing;"
        "from fairseq.errors import CheckpointError;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000));\n"
        "try: writing.save({'w': torch.zeros(50_000)}, sys.argv[1])\n"
        "except CheckpointError as error: print(error)"
    )
    environment = {**os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script, str(previous)], env=environment, capture_output=True, text=True, check=True
    )
    assert "File too large; raise the file size limit (ulimit -f)" in done.stdout
    assert unchanged(previous)


def test_folders(tmp_path):
    checkpoint_utils.verify_checkpoint_directory(str(tmp_path / "new" / "run"))
    assert os.listdir(tmp_path / "new" / "run") == []
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"cannot write to checkpoint.save_dir .*file/run: Not a directory"):
        checkpoint_utils.verify_checkpoint_directory(str(tmp_path / "file" / "run"))
    with pytest.raises(CheckpointError, match="No such file or directory; the folder is gone"):
        writing.save({}, str(tmp_path / "gone" / "c.pt"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes on this system")
def test_a_pipe_or_device_is_written_to_and_stays(tmp_path):
    """Renaming would put a file in its place: a run as root that wrote to /dev/null replaced it."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        writing.save({"model": {"w": torch.ones(3)}}, str(path))
        content = os.read(reader, 1 << 20)
    finally:
        os.close(reader)
    assert path.is_fifo() and os.listdir(tmp_path) == ["pipe"]
    assert torch.load(io.BytesIO(content), weights_only=True)["model"]["w"].tolist() == [1, 1, 1]
