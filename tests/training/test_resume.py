"""A run that was stopped and resumed is the run that was not: every loss and every weight, bit for bit."""

import pytest

from fairseq.logging.history import read_history
from fairseq.training.early_stopping import EarlyStopping


@pytest.mark.parametrize(("workers", "stop_at"), [(0, 3), (0, 4), (0, 6), (1, 3)])
def test_stopped_and_resumed(runs, workers, stop_at):
    """Four updates an epoch: stopped within the first, at its end, within the second."""
    flags = ("--update-freq", "2", "--num-workers", workers)
    runs.trained("whole", *flags)
    runs.trained("parts", *flags, "--max-update", stop_at)
    assert max(runs.losses("parts")) == stop_at
    runs.trained("parts", *flags)
    assert len(runs.losses("whole")) == 8
    runs.assert_same_run("whole", "parts")


def test_from_a_checkpoint_in_the_middle_of_an_epoch(runs):
    """Validation within the epoch draws no random numbers and moves no position."""
    runs.trained("whole", "--save-interval-updates", "3")
    assert (runs.folder / "whole" / "checkpoint_1_3.pt").exists()
    runs.trained("again", "--save-interval-updates", "3", "--max-update", "3")
    (runs.folder / "again" / "checkpoint_last.pt").unlink()
    (runs.folder / "again" / "checkpoint_1_3.pt").rename(runs.folder / "again" / "checkpoint_last.pt")
    runs.trained("again", "--save-interval-updates", "3")
    runs.assert_same_run("whole", "again")


def epoch_lines(runs, name):
    records = read_history(runs.folder / name)
    return [(r["epoch"], r["num_updates"], r["loss"], r["accuracy"]) for r in records if r["tag"] == "train"]


@pytest.mark.parametrize("stop_at", [("--max-epoch", "1"), ("--max-update", "3")], ids=["end of epoch", "within"])
def test_an_epochs_line_is_about_that_epoch(runs, stop_at):
    """After the end of an epoch the next line averaged over both."""
    runs.trained("whole")
    runs.trained("parts", *stop_at)
    runs.trained("parts")
    assert epoch_lines(runs, "parts")[-1] == epoch_lines(runs, "whole")[-1]


def test_nan_of_the_first_validation_is_no_best_score():
    stopper = EarlyStopping(patience=1, maximize=True)
    assert [stopper.observe(score) for score in (0.5, 0.6)] == [None, None]
    for best in (None, float("nan")):  # a checkpoint of an older build may hold NaN
        stopper = EarlyStopping(patience=2, maximize=False)
        stopper.load_state_dict({"best": best, "num_runs": 0})
        assert [stopper.observe(score) for score in (float("nan"), 0.9, 0.8, 0.7)] == [None] * 4
        assert (stopper.best, stopper.num_runs) == (0.7, 0)
        assert stopper.observe(float("nan")) is None and stopper.observe(float("nan")).startswith("early stop")


def test_patience_and_best_score_survive(runs):
    """Learning rate 0: no validation improves on the first, so patience 2 ends the run with the third epoch."""
    flags = ("--lr", "0", "--patience", "2", "--max-epoch", "9", "--stop-min-lr", "-1")
    whole = runs.trained("whole", *flags)
    assert "early stop since valid performance hasn't improved for last 2 runs" in whole.out
    assert runs.checkpoint("whole")["extra_state"]["train_iterator"]["epoch"] == 4
    runs.trained("parts", *flags, "--max-epoch", "2")
    resumed = runs.trained("parts", *flags)
    assert "early stop since" in resumed.out and "best_accuracy" in resumed.out
    runs.assert_same_run("whole", "parts")


def test_retention_through_the_loop(runs):
    runs.trained("run", "--save-interval-updates", "2", "--keep-interval-updates", "2", "--keep-best-checkpoints", "1")
    names = sorted(path.name for path in (runs.folder / "run").glob("*.pt"))
    best = [name for name in names if name.startswith("checkpoint.best_accuracy_")]
    assert len(best) == 1
    assert [name for name in names if name not in best] == [
        "checkpoint_2_10.pt",
        "checkpoint_2_12.pt",
        "checkpoint_best.pt",
        "checkpoint_last.pt",
    ]
