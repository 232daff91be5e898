"""SIGTERM and Ctrl-C: save, say so, exit with 128 + signal; the next start goes on to the same numbers."""

import os
import signal
import subprocess
import sys

import pytest
import torch


def interrupt(runs, number, flags, group=False):
    """Start `fairseq-train`, send `number` when its first update is logged; returns the ended process and its text."""
    process = subprocess.Popen(
        [sys.executable, "-m", "fairseq_cli.train", *runs.argv("parts", *flags)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
    )
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "| train_inner |" in line:
            (os.killpg if group else os.kill)(process.pid, number)
            break
    rest, _ = process.communicate(timeout=60)
    return process, "".join(lines) + rest


@pytest.mark.parametrize(
    ("number", "workers", "group", "more"),
    [
        (signal.SIGTERM, 0, False, []),
        (signal.SIGINT, 1, True, []),
        (signal.SIGTERM, 2, True, []),
        (signal.SIGINT, 0, False, ["--no-last-checkpoints"]),
    ],
    ids=["SIGTERM", "Ctrl-C with workers", "SIGTERM to workers too", "without last checkpoints"],
)
def test_signal(runs, number, workers, group, more):
    flags = ["--max-epoch", "40", "--num-workers", workers, *more]
    process, output = interrupt(runs, number, flags, group)
    assert process.returncode == 128 + number, output[-3000:]
    assert "Traceback" not in output, output[-3000:]
    assert output.count(f"{number.name} received") == 1 and f"stopped by {number.name} at update" in output
    assert (runs.folder / "parts" / "checkpoint_last.pt").exists()
    assert not [
        path for path in (runs.folder / "parts").iterdir() if path.suffix not in (".pt", ".jsonl", ".json", ".log")
    ]
    done = max(runs.losses("parts"))
    until = ["--max-epoch", "40", "--max-update", done + 5]
    runs.trained("whole", *until)
    runs.trained("parts", *until)
    runs.assert_same_run("whole", "parts")


def test_a_signal_in_an_epochs_last_update_loses_no_validation(runs, monkeypatch):
    from fairseq.trainer import Trainer

    runs.trained("whole")
    step = Trainer.train_step

    def stopped_in_update_7(self, samples):
        if self.get_num_updates() == 6:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, samples)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", stopped_in_update_7)
        assert runs.train("parts").code == 128 + signal.SIGTERM
    assert runs.checkpoint("parts")["extra_state"]["train_iterator"]["epoch"] == 2
    assert (runs.folder / "parts" / "checkpoint_best.pt").exists()
    runs.trained("parts")
    runs.assert_same_run("whole", "parts")
