"""`load_checkpoint`: which file a run starts from, what is reset, where training goes on. Rules as fairseq 0.12 where
not said.
"""

import types

import pytest

from fairseq import checkpoint_utils
from fairseq.errors import CheckpointError, ConfigError

EXTRA = {"train_iterator": {"epoch": 3, "iterations_in_epoch": 4}, "best": 0.5, "val_loss": 0.6}
DEFAULTS = {
    "restore_file": "checkpoint_last.pt",
    "continue_once": None,
    "finetune_from_model": None,
    "reset_dataloader": False,
    "reset_lr_scheduler": False,
    "reset_meters": False,
    "reset_optimizer": False,
    "optimizer_overrides": "{}",
    "write_checkpoints_asynchronously": False,
}


class Trainer:
    checkpoint_suffix = ""
    is_data_parallel_master = True
    best_score = None

    def __init__(self, extra_state, suffix):
        self.extra_state, self.checkpoint_suffix = extra_state, suffix
        self.loaded = self.position = self.epoch = self.stepped = None

    def load_checkpoint(
        self, filename, reset_optimizer, reset_lr_scheduler, optimizer_overrides, reset_meters
    ):  # the names are fairseq's
        self.loaded = (filename, reset_optimizer, reset_lr_scheduler, reset_meters)
        self.overrides = optimizer_overrides
        return self.extra_state

    def get_train_iterator(self, epoch, load_dataset, disable_iterator_cache):
        assert load_dataset and disable_iterator_cache
        self.epoch = epoch
        return types.SimpleNamespace(epoch=epoch, load_state_dict=lambda state: setattr(self, "position", state))

    def lr_step(self, epoch):
        self.stepped = epoch


@pytest.fixture
def start(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ck").mkdir()
    (tmp_path / "other.pt").write_text("")

    def start(extra_state=None, last=False, suffix="", **settings):
        if last:
            (tmp_path / "ck" / f"checkpoint_last{suffix}.pt").write_text("")
        trainer = Trainer(extra_state, suffix)
        cfg = types.SimpleNamespace(save_dir="ck", **{**DEFAULTS, **settings})
        returned, itr = checkpoint_utils.load_checkpoint(cfg, trainer, disable_iterator_cache=True)
        assert returned is extra_state and itr.epoch == trainer.stepped
        return trainer

    return start


def test_from_scratch(start):
    trainer = start()
    assert trainer.loaded == ("ck/checkpoint_last.pt", False, False, False)
    assert (trainer.epoch, trainer.position, trainer.best_score, trainer.overrides) == (1, None, None, {})


def test_resume(start):
    trainer = start(EXTRA, last=True)
    assert trainer.loaded == ("ck/checkpoint_last.pt", False, False, False)
    assert (trainer.epoch, trainer.position, trainer.best_score) == (3, EXTRA["train_iterator"], 0.5)


@pytest.mark.parametrize(
    ("setting", "resets", "position", "best"),
    [
        ("reset_dataloader", (False, False, False), None, 0.5),
        ("reset_lr_scheduler", (False, True, False), EXTRA["train_iterator"], 0.5),
        ("reset_meters", (False, False, True), EXTRA["train_iterator"], None),
        ("reset_optimizer", (True, False, False), EXTRA["train_iterator"], None),
    ],
)
def test_resets(start, setting, resets, position, best):
    trainer = start(EXTRA, last=True, **{setting: True})
    assert trainer.loaded[1:] == resets
    assert (trainer.position, trainer.best_score) == (position, best)
    assert trainer.epoch == (1 if position is None else 3)


def test_another_file(start, tmp_path):
    assert start(EXTRA, restore_file="other.pt", last=True).loaded[0] == "other.pt"
    (tmp_path / "other-shard0.pt").write_text("")
    assert start(EXTRA, restore_file="other.pt", suffix="-shard0").loaded[0] == "other-shard0.pt"
    assert start(EXTRA, last=True, suffix="-shard0").loaded[0] == "ck/checkpoint_last-shard0.pt"


def test_finetune(start):
    trainer = start(EXTRA, finetune_from_model="other.pt")
    assert trainer.loaded == ("other.pt", True, True, True)
    assert (trainer.epoch, trainer.position, trainer.best_score) == (1, None, None)
    trainer = start(EXTRA, finetune_from_model="other.pt", last=True)  # the run itself goes first
    assert trainer.loaded == ("ck/checkpoint_last.pt", False, False, False) and trainer.epoch == 3


def test_continue_once(start):
    assert start(EXTRA, continue_once="other.pt", finetune_from_model="other.pt").loaded == ("other.pt",) + 3 * (False,)
    assert start(EXTRA, continue_once="other.pt", last=True).loaded[0] == "ck/checkpoint_last.pt"


@pytest.mark.parametrize("setting", ["restore_file", "finetune_from_model", "continue_once"])
def test_a_named_file_must_exist(start, setting, tmp_path):
    """fairseq starts from scratch without a word, which can cost days."""
    with pytest.raises(
        CheckpointError, match=rf"checkpoint.{setting}: nope.pt does not exist \(started in {tmp_path}\)"
    ):
        start(**{setting: "nope.pt"})
    (tmp_path / "ck" / "nope.pt").write_text("")
    with pytest.raises(CheckpointError, match=r"does not exist; did you mean ck/nope.pt\?"):
        start(**{setting: "nope.pt"})


def test_contradictions(start):
    with pytest.raises(ConfigError, match=r"finetune_from_model and checkpoint.restore_file cannot both"):
        start(finetune_from_model="other.pt", restore_file="other.pt")
    with pytest.raises(ConfigError, match=r"resets everything already; leave checkpoint.reset_meters out"):
        start(finetune_from_model="other.pt", reset_meters=True)


def test_optimizer_overrides(start):
    assert start(optimizer_overrides="{'lr': [0.1]}").overrides == {"lr": [0.1]}
    assert start(optimizer_overrides='{"amsgrad": true}').overrides == {"amsgrad": True}
    for text in ("{'lr'", "[1]", "__import__('os').system('touch ran')"):
        with pytest.raises(ConfigError, match=r"checkpoint.optimizer_overrides=.*expected a dictionary"):
            start(optimizer_overrides=text)
