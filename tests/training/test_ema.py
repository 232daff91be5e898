"""The moving average of the weights: its arithmetic, where it is stored, and that a resumed run goes on with it."""

import torch

from fairseq.checkpoint_utils import load_checkpoint_to_cpu, load_model_ensemble_and_task, save_ema_as_checkpoint

EMA = ("--store-ema", "--ema-decay", "0.5")


def weights_after(runs, name: str, updates: int) -> dict:
    """The weights after each of the first `updates` updates."""
    runs.trained(name, "--max-update", str(updates), "--save-interval-updates", "1", "--dropout", "0")
    return {i: runs.checkpoint(name, f"checkpoint_1_{i}.pt")["model"] for i in range(1, updates + 1)}


def test_it_averages_the_weights_of_every_update(runs):
    weights = weights_after(runs, "plain", 3)
    flags = ("--max-update", "3", "--dropout", "0", *EMA)
    assert "| ema_decay 0.5" in runs.trained("ema", *flags, "--ema-start-update", "2").out
    average = runs.checkpoint("ema")["extra_state"]["ema"]
    assert average.keys() == weights[3].keys()
    moved = 0
    for key, value in average.items():
        # a copy at update 1, averaged from update 2 on
        expected = 0.25 * weights[1][key] + 0.25 * weights[2][key] + 0.5 * weights[3][key]
        torch.testing.assert_close(value, expected.to(value.dtype), rtol=1e-5, atol=1e-7)
        moved += int(not torch.equal(value, weights[3][key]))
    assert moved > 5


def test_every_other_update(runs):
    weights = weights_after(runs, "plain", 3)
    runs.trained(
        "ema", "--max-update", "3", "--dropout", "0", *EMA, "--ema-update-freq", "2", "--ema-start-update", "3"
    )
    average = runs.checkpoint("ema")["extra_state"]["ema"]
    for key, value in average.items():
        assert torch.equal(value, weights[2][key]), key


def test_a_resumed_run_has_the_same_average(runs):
    runs.trained("whole", *EMA)
    runs.trained("halves", *EMA, "--max-epoch", "1")
    runs.trained("halves", *EMA)
    whole, halves = (runs.checkpoint(name)["extra_state"]["ema"] for name in ("whole", "halves"))
    assert all(torch.equal(value, halves[key]) for key, value in whole.items())


def test_it_can_be_loaded_as_a_model(runs, tmp_path):
    runs.trained("run", *EMA, "--ema-fp32", "--max-epoch", "1")
    saved = runs.checkpoint("run")
    assert saved["extra_state"]["ema_fp32_params"].keys() == saved["model"].keys()
    save_ema_as_checkpoint(str(runs.folder / "run" / "checkpoint_last.pt"), str(tmp_path / "ema.pt"))
    (model,), _, _ = load_model_ensemble_and_task([str(tmp_path / "ema.pt")])
    loaded = model.state_dict()
    assert all(torch.equal(value, loaded[key]) for key, value in saved["extra_state"]["ema"].items())
    assert load_checkpoint_to_cpu(str(tmp_path / "ema.pt"))["cfg"].ema.store_ema


def test_a_checkpoint_without_an_average(runs):
    runs.trained("run", "--max-epoch", "1")
    out = runs.trained("run", *EMA, "--max-epoch", "2").out
    assert out.count("holds no averaged weights") == 1
    assert "ema" in runs.checkpoint("run")["extra_state"]


def test_a_decay_out_of_range(runs):
    result = runs.train("run", "--store-ema", "--ema-decay", "1.5")
    assert result.code != 0 and "--ema-decay: must be between 0 and 1, not '1.5'" in result.err


def test_a_seed_model(runs):
    runs.trained("seed", "--max-epoch", "1")
    seed = runs.folder / "seed" / "checkpoint_last.pt"
    runs.trained("run", "--store-ema", "--ema-decay", "1.0", "--ema-seed-model", str(seed), "--max-epoch", "1")
    average = runs.checkpoint("run")["extra_state"]["ema"]
    assert all(torch.equal(value, average[key]) for key, value in torch.load(seed, weights_only=False)["model"].items())
