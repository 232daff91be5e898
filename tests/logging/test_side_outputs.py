"""Side outputs that cannot be written: one warning with their name, and the run goes on."""

import json
import logging
import os
import signal
import subprocess
import sys
import time

import pytest

from fairseq.errors import DataError
from fairseq.logging import progress_bar, trackers
from fairseq.logging.history import History, read_history
from fairseq.logging.side_outputs import LogFile, report_all_once, report_once

FULL = "/dev/full"  # every write to it fails as on a full disk
needs_full = pytest.mark.skipif(not os.path.exists(FULL), reason="no /dev/full on this system")


def warnings(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


@needs_full
def test_history_on_a_full_disk(tmp_path, caplog):
    path = tmp_path / "history.jsonl"
    path.symlink_to(FULL)
    history = History(path)
    for step in (1, 2, 3):
        history.append("train", {"loss": 1.0}, step)
    (warning,) = warnings(caplog)
    assert str(path) in warning and "No space left" in warning


def test_history_goes_on_when_there_is_space_again(tmp_path, caplog):
    (tmp_path / "run").write_text("a file where the folder should be")
    history = History.in_folder(tmp_path / "run")
    history.append("train", {"loss": 1.0}, 1)
    (tmp_path / "run").unlink()
    history.append("train", {"loss": 2.0}, 2)
    assert [record["loss"] for record in read_history(history.path)] == [2.0]
    assert len(warnings(caplog)) == 1


@pytest.mark.parametrize(
    "line",
    [
        b"\xff\xfe",
        b"[" * 100_000,
        b"{" * 100_000,
        b'{"tag": [], "num_updates": 1}',
        b'{"tag": "x", "num_updates": 1e999}',
    ],
    ids=["not UTF-8", "deep list", "deep object", "no tag", "infinite update"],
)
def test_lines_that_are_no_records_do_not_block_a_resume(line, tmp_path, caplog):
    history = History(tmp_path / "h.jsonl")
    history.append("train", {"loss": 1.0}, 1)
    with open(history.path, "ab") as file:
        file.write(line + b"\n")
    history.append("train", {"loss": 3.0}, 3)
    assert [record["num_updates"] for record in read_history(history.path)] == [1, 3]
    history.truncate(2)
    assert history.path.read_bytes() == b'{"tag": "train", "epoch": null, "num_updates": 1, "loss": 1.0}\n'
    assert not warnings(caplog)


def test_truncating_what_cannot_be_written(tmp_path, caplog):
    history = History(tmp_path / "h.jsonl")
    history.append("train", {"loss": 1.0}, 1)
    (tmp_path / "h.jsonl.tmp").mkdir()
    history.truncate(2)
    (warning,) = warnings(caplog)
    assert "h.jsonl" in warning and len(read_history(history.path)) == 1


def test_a_history_that_cannot_be_read(tmp_path):
    (tmp_path / "h.jsonl" / "history.jsonl").mkdir(parents=True)
    with pytest.raises(DataError, match=r"cannot read .*: it is not a file"):
        read_history(tmp_path / "h.jsonl")


@needs_full
def test_log_file_on_a_full_disk(caplog, capsys):
    handler, logger = LogFile(FULL), logging.getLogger("a run")
    logger.addHandler(handler)
    try:
        for _ in range(3):
            logger.warning("a line")
    finally:
        logger.removeHandler(handler)
        handler.close()
    assert warnings(caplog).count("a line") == 3
    (warning,) = (text for text in warnings(caplog) if text != "a line")
    assert FULL in warning and "No space left" in warning
    assert "Traceback" not in capsys.readouterr().err


def test_log_file_that_cannot_be_opened(tmp_path, caplog):
    bar = progress_bar.progress_bar([0], log_format="simple", epoch=1, log_file=str(tmp_path / "no" / "folder.log"))
    caplog.set_level(logging.INFO)
    try:
        for step in (1, 2):
            bar.print({"loss": 1.0}, step=step)
    finally:
        for handler in [h for h in progress_bar.logger.handlers if isinstance(h, LogFile)]:
            progress_bar.logger.removeHandler(handler)
    (warning,) = warnings(caplog)
    assert "folder.log" in warning


def test_a_mistake_in_a_log_call_is_still_shown(capsys):
    handler = logging.StreamHandler(sys.stderr)
    report_all_once([handler])
    handler.handle(logging.LogRecord("name", logging.INFO, "file.py", 1, "%d", ("no number",), None))
    assert "TypeError" in capsys.readouterr().err


def test_tensorboard_that_fails(tmp_path, caplog, capfd):
    pytest.importorskip("tensorboard")
    (tmp_path / "tb").write_text("a file where the folder should be")
    for epoch in (1, 2):
        bar = progress_bar.progress_bar([0], log_format="none", epoch=epoch, tensorboard_logdir=str(tmp_path / "tb"))
        bar.update_config({"lr": 0.1})
        bar.print({"loss": 1.0}, tag="train", step=epoch)
    (warning,) = warnings(caplog)
    assert "TensorBoard" in warning and str(tmp_path / "tb") in warning
    assert "Traceback" not in capfd.readouterr().err


def test_tensorboard_on_a_disk_that_fills_up(tmp_path, caplog, capfd, monkeypatch):
    pytest.importorskip("tensorboard")
    bar = progress_bar.progress_bar([0], log_format="none", epoch=1, tensorboard_logdir=str(tmp_path))
    bar.print({"loss": 1.0}, tag="train", step=1)
    writer = (
        trackers._writer(str(tmp_path / "train"))._get_file_writer().event_writer._async_writer._worker._record_writer
    )

    def full(data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer, "write", full)
    for step in (2, 3, 4):
        bar.print({"loss": 1.0}, tag="train", step=step)
    (warning,) = warnings(caplog)
    assert "TensorBoard" in warning and "No space left" in warning
    assert "Traceback" not in capfd.readouterr().err


def test_wandb_that_fails(monkeypatch, caplog):
    wandb = type(sys)("wandb")
    wandb.run = None

    def init(**kwargs):
        raise RuntimeError("no\nnetwork")

    wandb.init = init
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    for epoch in (1, 2):
        bar = progress_bar.progress_bar([0], log_format="none", epoch=epoch, wandb_project="a project of this test")
        bar.update_config({})
        bar.print({"loss": 1.0}, tag="train", step=epoch)
    (warning,) = warnings(caplog)
    assert "wandb's project a project of this test" in warning and "(no network)" in warning


def test_plot_that_cannot_be_written(tmp_path):
    pytest.importorskip("matplotlib")
    from fairseq.studies.plots import plot
    from fairseq.studies.records import Run

    run = Run(
        "run", [{"tag": "train", "num_updates": 1, "loss": 10**400}, {"tag": "train", "num_updates": 2, "loss": 1}]
    )
    (tmp_path / "out.png").mkdir()
    with pytest.raises(DataError, match=r"cannot write .*out\.png"):
        plot([run], tmp_path / "out.png")
    assert [path.name for path in tmp_path.iterdir()] == ["out.png"]
    plot([run], tmp_path / "fine.png")
    assert (tmp_path / "fine.png").read_bytes().startswith(b"\x89PNG")


@needs_full
def test_standard_output_on_a_full_disk():
    code = """
import logging
from fairseq.logging.side_outputs import report_all_once
from fairseq_cli.train import setup_logging
setup_logging()
report_all_once(logging.getLogger().handlers)
for _ in range(5):
    logging.getLogger("run").info("a line")
"""
    with open(FULL, "wb") as full:
        done = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.stderr.count("warning: cannot write the log <stdout> (No space left on device)") == 1
    assert "Traceback (most recent call last)" not in done.stderr.replace("Exception ignored", "")


def test_records_are_json_for_any_reader(tmp_path):
    history = History(tmp_path / "h.jsonl")
    history.append("train", {"name": "a\u2028b\x0bc"}, 1)
    assert read_history(history.path) == [json.loads(history.path.read_text())]


@pytest.mark.parametrize("kind", ["a log file", "the console"])
def test_a_signal_may_log_while_a_line_is_written(kind, tmp_path):
    path = tmp_path / "log"
    with open(path, "w") as stream:
        handler = LogFile(str(path)) if kind == "a log file" else logging.StreamHandler(stream)
        report_once(handler)

        def log(text):
            handler.handle(logging.LogRecord("x", logging.INFO, "", 0, text, (), None))

        received = []
        before = signal.signal(signal.SIGALRM, lambda *_: (received.append(1), log("signal")))
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
            deadline = time.monotonic() + 20
            while len(received) < 300 and time.monotonic() < deadline:
                log("line" * 30)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        handler.close()
    assert path.read_text().count("signal\n") == len(received) >= 300
