"""A job says how far it is once it has lasted: a bar on a terminal, lines in a pipe, nothing for what is short."""

import io
from itertools import pairwise

import pytest

from fairseq import job_progress
from fairseq.data.dictionary import Dictionary
from fairseq.data.dictionary_file import count_words
from fairseq.data.file_work import over_pieces
from fairseq.file_chunker_utils import find_offsets
from fairseq.job_progress import JobProgress, track
from fairseq.native import announce


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(job_progress.time, "monotonic", lambda: now[0])
    return now


def test_a_pipe_gets_a_line_each_ten_seconds(clock):
    stream = io.StringIO()
    with JobProgress("encoding", 400, "batch", stream) as progress:
        for _ in range(40):
            progress.advance(10)
            clock[0] += 0.6
    assert stream.getvalue() == (
        "encoding: 180 of 400 batches, 17.6/s, 12 s left\nencoding: 350 of 400 batches, 17.2/s, 3 s left\n"
    )


def test_a_terminal_gets_a_bar_after_two_seconds_that_is_gone_at_the_end(monkeypatch):
    monkeypatch.setattr(job_progress, "DELAY", 0)
    stream = Terminal()
    with JobProgress("encoding", 3, "text", stream) as progress:
        assert list(progress.through(range(3))) == [0, 1, 2]
    assert "encoding" in stream.getvalue() and "/3" in stream.getvalue() and stream.getvalue().endswith("\r")
    monkeypatch.setattr(job_progress, "DELAY", 60)
    stream = Terminal()
    with JobProgress("encoding", 3, "text", stream) as progress:
        progress.advance(3)
    assert stream.getvalue().strip() == ""


def test_short_jobs_say_nothing(capfd):
    assert list(track([1, 2], "work")) == [1, 2]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("workers", [1, 3])
def test_pieces_of_a_file_are_counted_to_the_last_byte(tmp_path, monkeypatch, workers):
    path = tmp_path / "text"
    path.write_text("Straße und Haus\n" * 500)
    seen = []

    class Recorder(JobProgress):
        def __exit__(self, *exc_info):
            seen.append((self.done, self.total))

    monkeypatch.setattr("fairseq.data.file_work.JobProgress", Recorder)
    offsets = find_offsets(str(path), workers)
    pieces = [(str(path), str.split, "</s>", *pair) for pair in pairwise(offsets)]
    counters = over_pieces(count_words, pieces, "counting")
    assert sum(counter["Haus"] for counter in counters) == 500
    size = path.stat().st_size
    assert seen[0][1] == size and (seen[0][0] == size if workers == 1 else seen[0][0] <= size)
    dictionary = Dictionary()
    Dictionary.add_file_to_dictionary(str(path), dictionary, str.split, workers)
    assert dictionary.count[dictionary.index("und")] == 500


def test_waiting_for_a_compiler_is_shown_on_a_terminal_only(monkeypatch):
    monkeypatch.setattr(announce, "PATIENCE", 0.0)
    for stream in (Terminal(), io.StringIO()):
        monkeypatch.setattr("sys.stderr", stream)
        with announce.waiting("compiling the norm kernel"):
            while isinstance(stream, Terminal) and "compiling the norm kernel ... 0 s" not in stream.getvalue():
                pass
        if isinstance(stream, Terminal):
            assert stream.getvalue().endswith("\r") and stream.getvalue().rsplit("\r", 2)[1].strip() == ""
        else:
            assert stream.getvalue() == ""


def test_the_innermost_wait_is_shown(monkeypatch):
    monkeypatch.setattr(announce, "PATIENCE", 0.0)
    monkeypatch.setattr(announce, "INTERVAL", 0.01)
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    with announce.waiting("outer"):
        while "outer ..." not in stream.getvalue():
            pass
        with announce.waiting("inner"):
            while stream.getvalue().count("inner ...") < 4:
                pass
            within = stream.getvalue().partition("inner ...")[2]
    assert "outer ..." not in within


def test_nothing_writes_colours(repository):
    """Terminals get no escape sequences at all, so there is nothing that NO_COLOR would have to turn off."""
    for package in ("fairseq", "fairseq_cli"):
        for path in (repository / package).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            assert "\\033[" not in text and "\\x1b[" not in text.replace("\\x1b\\\\[", ""), path
