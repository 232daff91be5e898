"""What a checkpoint says of itself is used; what does not fit is named by its setting, before a model is built."""

import pytest
import torch

from fairseq.tasks.sentence_prediction import SentencePredictionTask
from fairseq_cli.validate import cli_main


@pytest.fixture
def trained(runs):
    runs.trained("run", "--max-epoch", "1")
    return runs.folder / "run" / "checkpoint_last.pt"


def one_line(result):
    assert result.code != 0 and result.err.startswith("error: ") and result.err.count("\n") == 1, result.err
    return result.err.removeprefix("error: ").rstrip("\n")


@pytest.mark.parametrize(
    ("flags", "settings"),
    [
        (("--encoder-embed-dim", "32"), "model.encoder_embed_dim=32 (16 in the checkpoint)"),
        (("--encoder-layers", "3"), "model.encoder_layers=3 (1 in the checkpoint)"),
        (("--encoder-ffn-embed-dim", "8"), "model.encoder_ffn_embed_dim=8 (16 in the checkpoint)"),
    ],
)
def test_a_size_that_differs_is_named_before_the_model_is_built(runs, trained, monkeypatch, flags, settings):
    monkeypatch.setattr(SentencePredictionTask, "build_model", lambda *_, **__: pytest.fail("a model was built"))
    for more in ((), ("--restore-file", trained, "--save-dir", runs.folder / "new", "--reset-optimizer")):
        line = one_line(runs.train("run", *flags, *more))
        assert line == (
            f"checkpoint {trained} does not fit: {settings}; take its sizes, or start from another checkpoint"
        )


def validate(runs, *flags):
    return runs.call(cli_main, [runs.data, "--batch-size", "4", "--cpu", *flags])


def test_validation_takes_the_task_from_the_checkpoint(runs, trained):
    result = validate(runs, "--path", trained)
    assert result.code == 0, result.err
    assert (
        result.out.splitlines()[-1]
        == validate(runs, "--path", trained, "--task", "sentence_prediction").out.splitlines()[-1]
    )
    assert "nowhere.pt does not exist" in one_line(validate(runs, "--path", runs.folder / "nowhere.pt"))


def test_a_checkpoint_without_the_head_is_not_evaluated_with_a_random_one(runs, trained):
    state = torch.load(trained, weights_only=False)
    state["model"] = {key: value for key, value in state["model"].items() if "classification_heads" not in key}
    torch.save(state, trained.with_name("headless.pt"))
    line = one_line(validate(runs, "--path", trained.with_name("headless.pt")))
    assert (
        "has no classification head 'sentence_classification_head' with 2 outputs" in line and "its heads: none" in line
    )


def test_a_checkpoint_of_another_task(runs, trained, tmp_path):
    """It was a traceback of OmegaConf, 59 lines long."""
    state = torch.load(trained, weights_only=False)
    state["cfg"]["task"] = {"_name": "masked_lm", "data": "somewhere", "tokens_per_sample": 64}
    state["model"] = {key: value for key, value in state["model"].items() if "classification_heads" not in key}
    torch.save(state, trained.with_name("language.pt"))
    flags = ("--path", trained.with_name("language.pt"), "--task", "sentence_prediction")
    assert "has no classification head" in one_line(validate(runs, *flags, "--num-classes", "2"))
