"""Recipes of few bits from the command line: they train, resume to the bit, and start in full precision if told to."""

import pytest
import torch

from fairseq.logging.history import read_history


@pytest.mark.parametrize("recipe", ["binary_irnet", "binary_bit", "quest_w4a4", "paretoq_2", "nvfp4_recipe"])
def test_recipes_train_and_resume(runs, recipe):
    flags = ("--quantization", recipe, "--save-interval-updates", "3", "--max-update", "6", "--disable-validation")
    runs.trained("whole", *flags)
    runs.trained("parts", *flags)
    folder = runs.folder / "parts"
    (folder / "checkpoint_1_3.pt").rename(folder / "checkpoint_last.pt")
    runs.trained("parts", *flags)
    runs.assert_same_run("whole", "parts")
    whole, parts = (runs.checkpoint(name)["quantization"]["state"] for name in ("whole", "parts"))
    assert whole.keys() == parts.keys() and all(torch.equal(value, parts[key]) for key, value in whole.items())


def test_a_start_in_full_precision(runs):
    flags = ("--max-update", "10", "--validate-interval-updates", "2", "--save-interval-updates", "2")
    runs.trained("float", *flags)
    waits = ("--quantization", "binary_bit", "--full-precision-epochs", "1")
    runs.trained("late", *flags, *waits)
    float_losses, losses = runs.losses("float"), runs.losses("late")
    same = [float_losses[update] == losses[update] for update in range(1, 11)]
    assert same == [True] * 7 + [False] * 3  # an epoch has 7 updates
    records = [record for record in read_history(runs.folder / "late") if record["tag"] == "bits"]
    assert [(record["num_updates"], record["num_bits"]) for record in records] == [(1, 32), (8, 1)]
    best = runs.checkpoint("late", "checkpoint_best.pt")
    assert best["optimizer_history"][-1]["num_updates"] > 7
    (runs.folder / "late" / "checkpoint_1_4.pt").rename(runs.folder / "late" / "checkpoint_last.pt")
    runs.trained("late", *flags, *waits)
    assert runs.losses("late") == losses


def test_a_start_beyond_the_run_is_one_line(runs):
    result = runs.train("run", "--max-update", "5", "--quantization", "w4", "--full-precision-epochs", "1")
    assert result.code != 0 and result.err.count("\n") == 1
    assert "full_precision_epochs=1: the run ends before anything is rounded" in result.err
