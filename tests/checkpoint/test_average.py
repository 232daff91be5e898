"""scripts/average_checkpoints.py: the mean of weights, and which checkpoints it takes."""

import runpy
import sys

import pytest
import torch

from fairseq.checkpoint.reading import read
from fairseq.checkpoint_tools.average import average_checkpoints, last_n_checkpoints
from fairseq.errors import CheckpointError, ConfigError

MODELS = ("model.pt", "other.pt")


@pytest.fixture
def run(repository, monkeypatch, capsys):
    def call(*words):
        monkeypatch.setattr(sys, "argv", ["average_checkpoints.py", *map(str, words)])
        runpy.run_path(str(repository / "scripts" / "average_checkpoints.py"), run_name="__main__")
        return capsys.readouterr().out

    return call


def test_the_mean_of_two_models_translates(run, fixtures, tmp_path):
    paths = [fixtures / "translate" / name for name in MODELS]
    printed = run("--inputs", *paths, "--output", tmp_path / "mean.pt")
    assert printed.splitlines()[-1] == f"Finished writing averaged checkpoint to {tmp_path / 'mean.pt'}"
    one, other, mean = (read(str(path))["model"] for path in (*paths, tmp_path / "mean.pt"))
    for key, weight in mean.items():
        torch.testing.assert_close(weight, (one[key] + other[key]) / 2)
        assert weight.dtype == one[key].dtype
    assert "last_optimizer_state" not in read(str(tmp_path / "mean.pt"))


NAMES = ["checkpoint1.pt", "checkpoint2.pt", "checkpoint10.pt", "checkpoint_1_50.pt", "checkpoint_2_100.pt"]
NAMES += [
    "checkpoint_best.pt",
    "checkpoint_last.pt",
    "checkpoint.best_loss_2.1000.pt",
    "checkpoint.best_loss_2.3000.pt",
]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"n": 2, "update_based": False}, ["checkpoint10.pt", "checkpoint2.pt"]),
        ({"n": 2, "update_based": False, "upper_bound": 9}, ["checkpoint2.pt", "checkpoint1.pt"]),
        ({"n": 1, "update_based": True}, ["checkpoint_2_100.pt"]),
        ({"n": 1, "update_based": True, "upper_bound": 60}, ["checkpoint_1_50.pt"]),
    ],
)
def test_the_last_ones(settings, expected, tmp_path):
    for name in NAMES:
        (tmp_path / name).touch()
    assert last_n_checkpoints([str(tmp_path)], **settings) == [str(tmp_path / name) for name in expected]


@pytest.mark.parametrize(("maximized", "expected"), [(False, "2.1000"), (True, "2.3000")])
def test_the_best_ones(maximized, expected, fixtures, tmp_path):
    state = read(str(fixtures / "translate" / "model.pt"))
    state["cfg"]["checkpoint"]["maximize_best_checkpoint_metric"] = maximized
    for name in NAMES[-2:]:
        torch.save(state, tmp_path / name)
    assert last_n_checkpoints([str(tmp_path)], 1, update_based=False, best=True) == [
        str(tmp_path / f"checkpoint.best_loss_{expected}.pt")
    ]


def test_what_cannot_be_averaged(fixtures, tmp_path):
    with pytest.raises(CheckpointError, match="0 checkpoints at epochs, 3 are wanted"):
        last_n_checkpoints([str(tmp_path)], 3, update_based=False)
    with pytest.raises(CheckpointError, match="no such folder"):
        last_n_checkpoints([str(tmp_path / "x")], 3, update_based=False)
    with pytest.raises(ConfigError, match="not of 2"):
        last_n_checkpoints(["a", "b"], 1, update_based=False)
    translation, classifier = fixtures / "translate" / "model.pt", fixtures / "training" / "pairs_by_flags.pt"
    with pytest.raises(CheckpointError, match="has other weights than"):
        average_checkpoints([str(translation), str(classifier)])
