"""`checkpoint.write_checkpoints_asynchronously`: the same files, written while training goes on."""

import os
from argparse import Namespace
from types import SimpleNamespace

import pytest
import torch

from fairseq import checkpoint_utils
from fairseq.errors import CheckpointError
from fairseq.file_io import PathManager


class Trainer:
    checkpoint_suffix = ""
    should_save_checkpoint_on_current_rank = True
    task = None
    best_score = None

    def __init__(self, in_background):
        self.in_background = in_background
        self.weights = torch.zeros(3)

    def consolidate_optimizer(self):
        pass

    def get_num_updates(self):
        return 7

    def save_checkpoint(self, path, extra_state):
        state = {"weights": self.weights, **extra_state}
        checkpoint_utils.torch_persistent_save(state, path, async_write=self.in_background)


@pytest.mark.parametrize("in_background", [False, True])
def test_same_files(tmp_path, in_background):
    trainer = Trainer(in_background)
    cfg = Namespace(save_dir=str(tmp_path), keep_last_epochs=2, write_checkpoints_asynchronously=in_background)
    for epoch, loss in ((1, 3.0), (2, 2.0), (3, 2.5)):
        epochs = SimpleNamespace(
            epoch=epoch, end_of_epoch=lambda: True, state_dict=lambda epoch=epoch: {"epoch": epoch}
        )
        checkpoint_utils.save_checkpoint(cfg, trainer, epochs, loss)
        trainer.weights += 1  # what is written is what was there when it was saved
    checkpoint_utils.finish_writing()
    names = ["checkpoint2.pt", "checkpoint3.pt", "checkpoint_best.pt", "checkpoint_last.pt"]
    assert sorted(os.listdir(tmp_path)) == names
    states = [torch.load(tmp_path / name) for name in names]
    assert [state["weights"].tolist() for state in states] == [[1] * 3, [2] * 3, [1] * 3, [2] * 3]
    assert [state["train_iterator"]["epoch"] for state in states] == [2, 3, 2, 3]


def test_failure_is_reported(tmp_path, caplog):
    checkpoint_utils.torch_persistent_save({}, str(tmp_path / "missing" / "x.pt"), async_write=True)
    with pytest.raises(CheckpointError, match="could not be written in the background; the log says why"):
        checkpoint_utils.finish_writing()
    assert "No such file" in caplog.text
    checkpoint_utils.finish_writing()  # reported once


def test_half_a_file_replaces_nothing(tmp_path):
    (tmp_path / "x").write_text("before")
    with pytest.raises(RuntimeError), PathManager.opena(str(tmp_path / "x"), "wb") as file:
        file.write(b"half")
        raise RuntimeError
    assert PathManager.async_close() and (tmp_path / "x").read_text() == "before"


def test_text_in_the_background(tmp_path):
    with PathManager.opena(str(tmp_path / "x"), "w") as file:
        file.write("é")
    assert PathManager.async_close() and (tmp_path / "x").read_bytes() == "é".encode()
    with pytest.raises(ValueError, match="mode w or wb"):
        PathManager.opena(str(tmp_path / "x"), "r")
