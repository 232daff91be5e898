"""When checkpoints are written, under which names, and which go: as fairseq 0.12 (saving.json), and what we mend."""

import json
import os
import types

import pytest
import saving_scenarios

from fairseq import checkpoint_utils
from fairseq.checkpoint import names


@pytest.mark.parametrize("number", range(len(saving_scenarios.SCENARIOS)))
def test_as_fairseq(number, fixtures, tmp_path):
    expected = json.loads((fixtures / "checkpoints" / "saving.json").read_text())[number]
    seen = saving_scenarios.run(saving_scenarios.SCENARIOS[number], str(tmp_path))
    assert saving_scenarios.summary(seen) == expected


def one_call(tmp_path, trainer, val_loss, epoch=1, end=True, **config):
    cfg = types.SimpleNamespace(**{**saving_scenarios.DEFAULTS, "save_dir": str(tmp_path), **config})
    epoch_itr = types.SimpleNamespace(epoch=epoch, end_of_epoch=lambda: end, state_dict=lambda: {"epoch": epoch})
    checkpoint_utils.save_checkpoint(cfg, trainer, epoch_itr, val_loss)
    return sorted(os.listdir(tmp_path))


def test_best_score_of_a_resumed_run_counts(tmp_path):
    trainer = saving_scenarios.Trainer("")
    trainer.best_score = 0.5
    assert one_call(tmp_path, trainer, 0.7, no_epoch_checkpoints=True) == ["checkpoint_last.pt"]
    assert one_call(tmp_path, trainer, 0.5, no_epoch_checkpoints=True) == ["checkpoint_best.pt", "checkpoint_last.pt"]
    assert trainer.best_score == 0.5


def test_nan_is_never_best(tmp_path):
    trainer = saving_scenarios.Trainer("")
    one_call(tmp_path, trainer, float("nan"))
    assert trainer.best_score is None and not (tmp_path / "checkpoint_best.pt").exists()
    one_call(tmp_path, trainer, 2.0)
    assert trainer.best_score == 2.0 and (tmp_path / "checkpoint_best.pt").exists()
    one_call(tmp_path, trainer, float("nan"))
    assert trainer.best_score == 2.0


def test_negative_metrics_are_kept_and_expire(tmp_path):
    trainer = saving_scenarios.Trainer("")
    config = dict(keep_best_checkpoints=2, maximize_best_checkpoint_metric=True, best_checkpoint_metric="mcc")
    for epoch, value in enumerate([-0.5, -0.25, -0.125, 0.5], 1):
        found = one_call(tmp_path, trainer, value, epoch, **config)
    assert [name[:24] for name in found if "best_mcc" in name] == [
        "checkpoint.best_mcc_-0.1",
        "checkpoint.best_mcc_0.50",
    ]


def test_metric_names_are_no_patterns(tmp_path):
    trainer = saving_scenarios.Trainer("")
    (tmp_path / "checkpoint.best_lossx1_0.1000.pt").write_text("another metric's")
    found = one_call(tmp_path, trainer, 0.5, keep_best_checkpoints=1, best_checkpoint_metric="loss.1")
    assert "checkpoint.best_lossx1_0.1000.pt" in found


def test_no_save_still_tracks_the_best(tmp_path):
    trainer = saving_scenarios.Trainer("")
    assert one_call(tmp_path, trainer, 0.5, no_save=True) == []
    assert trainer.best_score == 0.5


def test_other_ranks_write_nothing_but_take_part(tmp_path):
    trainer = saving_scenarios.Trainer("")
    called = []
    trainer.should_save_checkpoint_on_current_rank = False
    trainer.always_call_state_dict_during_save_checkpoint = True
    trainer.state_dict = lambda: called.append("state")
    trainer.consolidate_optimizer = lambda: called.append("consolidate")
    assert one_call(tmp_path, trainer, 0.5) == [] and called == ["consolidate", "state"]


def test_a_failing_write_leaves_older_checkpoints(tmp_path):
    trainer = saving_scenarios.Trainer("")
    before = one_call(tmp_path, trainer, 0.5, epoch=1, keep_last_epochs=1)

    def fail(*args):
        raise OSError

    trainer.save_checkpoint = fail
    with pytest.raises(OSError):
        one_call(tmp_path, trainer, 0.4, epoch=2, keep_last_epochs=1)
    assert sorted(os.listdir(tmp_path)) == before


def test_checkpoint_paths(tmp_path):
    for name in ("checkpoint1.pt", "checkpoint10.pt", "checkpoint2.pt", "checkpoint_best.pt", "xcheckpoint3.pt"):
        (tmp_path / name).write_text("")
    folder = str(tmp_path)
    found = checkpoint_utils.checkpoint_paths(folder)
    assert [os.path.basename(path) for path in found] == ["checkpoint10.pt", "checkpoint2.pt", "checkpoint1.pt"]
    assert checkpoint_utils.checkpoint_paths(folder, keep_match=True)[0] == (
        os.path.join(folder, "checkpoint10.pt"),
        10,
    )
    assert checkpoint_utils.checkpoint_paths(folder, r".*best\.pt") == [os.path.join(folder, "checkpoint_best.pt")]
    assert names.checkpoint_paths(str(tmp_path / "none")) == []
