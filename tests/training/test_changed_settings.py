"""What differs between a checkpoint and the run that goes on from it is said by name."""

import pytest

from fairseq.checkpoint_utils import load_checkpoint_to_cpu

PART = ("--max-update", "3", "--max-epoch", "1", "--disable-validation")
WHOLE = ("--max-update", "8", "--disable-validation")


def said(result):
    assert result.code == 0, result.err
    start = "WARNING | fairseq.trainer | "
    lines = [line.removeprefix(start) for line in result.out.splitlines() if line.startswith(start)]
    return [line.replace(line.split("/checkpoint_last.pt")[0].split()[-1] + "/", "") for line in lines]


OTHER = "continuing from checkpoint_last.pt with other settings: "
REPEATS = (
    "checkpoint_last.pt was taken after batch 3 of epoch 1, and batches are made otherwise now: {}; "
    "in the rest of this epoch some examples come twice and others not at all"
)


@pytest.fixture
def resumed(runs):
    """Lines about the checkpoint of a run of three updates when it goes on with more flags."""

    def resume(*flags, first=()):
        runs.trained("run", *PART, *first)
        return said(runs.train("run", *WHOLE, *flags))

    return resume


def test_the_same_settings_are_silent(resumed):
    assert resumed() == []


def test_a_smaller_batch_in_the_middle_of_an_epoch(resumed):
    change = "dataset.batch_size=2 (was 4)"
    assert resumed("--batch-size", "2") == [OTHER + change, REPEATS.format(change)]


def test_at_the_end_of_an_epoch_nothing_repeats(resumed):
    assert resumed("--batch-size", "2", first=("--max-update", "7")) == [OTHER + "dataset.batch_size=2 (was 4)"]


def test_another_seed_orders_the_epoch_otherwise(resumed):
    change = "common.seed=5 (was 1)"
    assert resumed("--seed", "5") == [OTHER + change, REPEATS.format(change)]


def test_another_quantization(resumed):
    first = ("--quantization", "cpt_4_8", "--precision-cycles", "2")
    lines = resumed("--quantization", "int8", first=first)
    assert lines == [OTHER + "quantization.preset=int8 (was cpt_4_8), quantization.schedule.num_cycles=null (was 2)"]


def test_the_optimizers_own_settings_come_from_the_checkpoint(runs, resumed):
    lines = resumed("--weight-decay", "0.25", "--lr", "0.02")
    assert lines == [
        "optimizer.weight_decay=0.25 has no effect: the optimizer continues with 0.0, which checkpoint_last.pt holds; "
        "checkpoint.optimizer_overrides replaces that, checkpoint.reset_optimizer=true starts with a new optimizer",
        OTHER + "optimization.lr=[0.02] (was [0.01])",
    ]
    state = load_checkpoint_to_cpu(str(runs.folder / "run" / "checkpoint_last.pt"))
    assert state["last_optimizer_state"]["param_groups"][0]["weight_decay"] == 0.0


def test_another_learning_rate_schedule_starts_its_own_state(runs, monkeypatch):
    """It was a KeyError: the fixed schedule saves no `best`."""
    argv, at = runs.argv, runs.argv("run").index("--total-num-update")
    with monkeypatch.context() as patch:
        patch.setattr(runs, "argv", lambda *words, **_: [*argv(*words)[:at], *argv(*words)[at + 2 :]])
        runs.trained("run", *PART, "--lr-scheduler", "fixed")
    lines = said(runs.train("run", *WHOLE))
    assert lines == [OTHER + "lr_scheduler=polynomial_decay (was fixed)"]


def test_a_new_run_from_its_weights_says_nothing(resumed):
    assert resumed("--batch-size", "2", "--reset-optimizer", "--reset-dataloader", "--reset-meters") == []
