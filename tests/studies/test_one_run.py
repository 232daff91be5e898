"""Runs inside one process: the numbers of the command line, and nothing left behind."""

import logging
import os
import random
import sys

import numpy as np
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

from fairseq.errors import ConfigError, DataError
from fairseq.logging import metrics
from fairseq.logging.history import read_history
from fairseq.studies.one_run import run_training

NOT_COMPARED = ("wall", "train_wall", "wps", "ups")


def numbers(folder):
    """What a run has reported, timings aside."""
    return [{k: v for k, v in record.items() if k not in NOT_COMPARED} for record in read_history(folder)]


@pytest.fixture
def run(config_dir, tmp_path):
    def call(name, *words, **options):
        folder = tmp_path / name
        return run_training(list(words), config_dir=config_dir, config_name="tiny", folder=folder, **options)

    return call


def state():
    """Everything global that a run touches."""
    return (
        random.getstate(),
        np.random.get_state()[1].tolist(),
        torch.get_rng_state().tolist(),
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        logging.getLogger().handlers[:],
        logging.getLogger().level,
        dict(os.environ),
        sys.argv[:],
        sys.stdout,
        os.getcwd(),
        GlobalHydra.instance().is_initialized(),
        {name: dict(aggregator) for name, aggregator in metrics._current.get().aggregators.items()},
    )


def test_the_same_numbers_as_the_command(run, config_dir, tmp_path, monkeypatch):
    """The command in this process, under Hydra; a subprocess would cost seconds and differ in nothing."""
    from fairseq_cli.hydra_train import cli_main

    words = ["quantization=int8", "model.dropout=0.2", "common.seed=7"]
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    monkeypatch.chdir(tmp_path)
    try:
        folders = [f"checkpoint.save_dir={tmp_path}/command", f"hydra.run.dir={tmp_path}/hydra"]
        cli_main(["--config-dir", str(config_dir), "--config-name", "tiny", *words, *folders])
    finally:
        logging.getLogger().handlers[:] = handlers
        logging.getLogger().setLevel(level)
    result = run("ours", *words)
    assert numbers(tmp_path / "ours") == numbers(tmp_path / "command")
    assert (tmp_path / "ours/checkpoint_best.pt").is_file()
    assert "| INFO | valid | " in (tmp_path / "ours/train.log").read_text()
    last = [record for record in numbers(tmp_path / "ours") if record["tag"] == "valid"][-1]
    assert result.metrics["accuracy"] == last["accuracy"]
    assert result.num_updates == last["num_updates"] == 4
    assert result.seconds > 0
    assert result.peak_memory is None or result.peak_memory > 1 << 26


def test_equal_runs_give_equal_numbers_whatever_ran_between(run, tmp_path):
    run("first", "quantization=none")
    run("other", "quantization=cpt_4_8", "common.seed=5", "model.dropout=0.3")
    run("second", "quantization=none")
    assert numbers(tmp_path / "first") == numbers(tmp_path / "second")


def test_unquantized_after_quantized(run, tmp_path):
    run("int4", "quantization=int8", "quantization.num_bits=4")
    run("none", "quantization=none")
    assert (tmp_path / "int4/quantization_plan.json").exists()
    assert not (tmp_path / "none/quantization_plan.json").exists()
    state = torch.load(tmp_path / "none/checkpoint_last.pt", weights_only=False)
    assert "quantization" not in state
    assert not [key for key in state["model"] if "quantizer" in key]
    assert "num_bits" not in {key for record in numbers(tmp_path / "none") for key in record}


def test_nothing_is_left_behind(run):
    before = state()
    run("a", "quantization=int8", "common.seed=3")
    assert state() == before


def test_nothing_is_left_behind_by_a_failure(run, tmp_path):
    before = state()
    with pytest.raises(DataError, match="missing-bin"):
        run("a", "task.data=missing-bin")
    with pytest.raises(ConfigError, match="dropuot"):
        run("b", "model.dropuot=0.1")
    assert state() == before


def test_an_interrupted_run_goes_on(run):
    whole = run("whole")
    run("parts", "optimization.max_update=2")
    result = run("parts")
    assert result.num_updates == 4
    assert result.metrics == whole.metrics


def test_flags(config_dir, tmp_path, run):
    words = """--task sentence_prediction --criterion sentence_prediction --num-classes 2 --init-token 0
        --separator-token 2 --arch roberta_base --encoder-layers 1 --encoder-embed-dim 16 --encoder-ffn-embed-dim 16
        --encoder-attention-heads 2 --max-positions 64 --optimizer adam --lr 0.01 --lr-scheduler fixed --max-update 4
        --batch-size 8 --required-batch-size-multiple 1 --num-workers 0 --cpu --best-checkpoint-metric accuracy
        --maximize-best-checkpoint-metric --log-interval 2 --no-epoch-checkpoints""".split()  # noqa: SIM905 - a command line
    result = run_training([str(config_dir / "data"), *words], folder=tmp_path / "flags", command="fairseq-train")
    assert result.metrics["accuracy"] == run("yaml").metrics["accuracy"]


@pytest.mark.parametrize(
    "words, message",
    [
        (["checkpoint.no_save=true"], "checkpoint.no_save leaves nothing to read"),
        (["hydra.run.dir=x"], "hydra.run.dir=x has no effect inside a study"),
    ],
)
def test_what_cannot_be_used(run, words, message):
    with pytest.raises(ConfigError, match=message):
        run("a", *words)


def test_unknown_command(run):
    with pytest.raises(ConfigError, match="did you mean 'fairseq-hydra-train'"):
        run("a", command="fairseq-hydra-trian")
