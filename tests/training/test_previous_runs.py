"""A run that begins anew where a finished one lies moves that one's files; nothing else is ever moved."""

import os
import signal

import pytest

from fairseq.checkpoint_utils import load_checkpoint_to_cpu
from fairseq.logging.history import read_history
from fairseq.studies.records import find_runs
from fairseq.training import previous_runs
from fairseq.training.quantized import PLAN_FILE

RESETS = ("--reset-optimizer", "--reset-dataloader", "--reset-meters", "--reset-lr-scheduler")
SHORT = ("--max-epoch", "1", "--quantization", "int8")


@pytest.fixture
def again(runs):
    """A finished run in `run`, and a function that starts the same command again from other weights, all reset."""
    runs.trained("pretrained", "--max-epoch", "1", "--quantization", "int8")
    start = runs.folder / "pretrained" / "checkpoint_last.pt"

    def command(*flags):
        return runs.train("run", *SHORT, "--restore-file", start, *RESETS, *flags)

    command.folder = runs.folder / "run"
    return command


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_finished_run_is_moved_and_said_in_one_line(again):
    assert "previous" not in again().out
    (again.folder / "curves.png").write_bytes(b"picture")
    (again.folder / "notes.txt").write_text("the user's own")
    first = contents(again.folder)
    assert {"checkpoint_best.pt", "checkpoint_last.pt", "history.jsonl", PLAN_FILE} < set(first)
    result = again("--seed", "2")
    assert result.code == 0, result.err
    said = [line for line in result.out.splitlines() if "previous-1" in line]
    assert len(said) == 1 and "holds a finished run, which this one would replace: its 6 files are in" in said[0]
    notes = first.pop("notes.txt")
    assert contents(again.folder / "previous-1") == first
    now = contents(again.folder)
    assert now.pop("notes.txt") == notes and set(now) == set(first) - {"curves.png"}
    assert now["checkpoint_last.pt"] != first["checkpoint_last.pt"]
    again()
    assert (again.folder / "previous-2" / "history.jsonl").read_bytes() == now["history.jsonl"]
    assert [len(find_runs(path)) for path in (again.folder, again.folder / "previous-1")] == [1, 1]


def test_what_was_interrupted_is_no_result(again, monkeypatch):
    from fairseq.trainer import Trainer

    step = Trainer.train_step

    def stopped(self, samples):
        if self.get_num_updates() == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, samples)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", stopped)
        assert again("--max-epoch", "3").code == 128 + signal.SIGTERM
    assert again("--max-epoch", "3").code == 0
    assert not (again.folder / "previous-1").exists()


def test_resuming_moves_nothing(runs):
    runs.trained("run", *SHORT)
    assert {"tag": "done", "epoch": None, "num_updates": 7}.items() <= read_history(runs.folder / "run")[-1].items()
    runs.trained("run", *SHORT)  # nothing to do
    runs.trained("run", *SHORT, "--max-epoch", "2")
    tags = [record["tag"] for record in read_history(runs.folder / "run")]
    assert tags.count("done") == 1 and tags[-1] == "done" and tags.count("train") == 2
    assert not (runs.folder / "run" / "previous-1").exists()


def test_no_save_moves_nothing(again):
    again()
    first = contents(again.folder)
    assert again("--no-save").code == 0
    assert contents(again.folder) == first and not (again.folder / "previous-1").exists()


def test_the_checkpoint_to_start_from_stays_too(runs):
    """The run starts anew from a file of the finished one; if it dies at once, the same command works again."""
    runs.trained("run", *SHORT)
    last = runs.folder / "run" / "checkpoint_last.pt"
    before = last.read_bytes()
    runs.trained("run", *SHORT, *RESETS, "--max-update", "3")
    assert (last.parent / "previous-1" / "checkpoint_last.pt").read_bytes() == before != last.read_bytes()


def test_killed_in_between(again, monkeypatch):
    """Half of the files moved: nothing is lost, and the next start moves the rest into the same folder."""
    again()
    first = contents(again.folder)
    rename, moved = os.rename, []

    def dies(source, target):
        if len(moved) == 2:
            raise KeyboardInterrupt
        moved.append(source)
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(previous_runs.os, "rename", dies)
        assert again().code == 130
    assert {**contents(again.folder), **contents(again.folder / "previous-1")} == first
    assert again().code == 0
    assert contents(again.folder / "previous-1") == first and not (again.folder / "previous-2").exists()


def test_a_history_of_an_older_build_counts_by_the_limits(again):
    again()
    history = again.folder / "history.jsonl"
    lines = history.read_text().splitlines()
    history.write_text("".join(f"{line}\n" for line in lines if '"done"' not in line))
    assert "previous" not in again("--max-epoch", "5").out  # 1 of 5 epochs: not finished
    history.write_text("".join(f"{line}\n" for line in lines if '"done"' not in line))
    assert "previous-1" in again().out
    assert load_checkpoint_to_cpu(str(again.folder / "previous-1" / "checkpoint_last.pt"))["cfg"].common.seed == 1
