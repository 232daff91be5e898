"""Progress bars: choice, files, the terminal bar, and the trackers around them. Line layouts: test_meters.py."""

import logging
import re
import sys
import time
import types

import pytest
import torch
from logging_scenarios import Resumed

from fairseq.errors import ConfigError
from fairseq.logging import progress_bar, trackers
from fairseq.logging.meters import AverageMeter


@pytest.fixture(autouse=True)
def info_level(caplog):
    caplog.set_level(logging.INFO, logger=progress_bar.logger.name)
    trackers._warn_once.cache_clear()
    trackers._writer.cache_clear()
    yield
    for handler in progress_bar.logger.handlers[:]:
        progress_bar.logger.removeHandler(handler)


def test_formats():
    assert type(progress_bar.progress_bar([1], log_format="none")) is progress_bar.NoopProgressBar
    assert type(progress_bar.progress_bar([1], default_log_format="json")) is progress_bar.JsonProgressBar
    assert type(progress_bar.progress_bar([1])) is progress_bar.SimpleProgressBar  # stderr is no terminal here
    with pytest.raises(ConfigError, match=r"unknown log format .jsn. in .*; did you mean .json."):
        progress_bar.progress_bar([1], log_format="jsn")
    with pytest.raises(ConfigError, match="log_interval=0"):
        progress_bar.progress_bar([1], log_interval=0)


def test_logger_keeps_its_name_after_a_line():
    bar = progress_bar.progress_bar([1], log_format="simple")
    bar.print({}, tag="train")
    assert progress_bar.logger.name == "fairseq.logging.progress_bar"


def test_log_file_gets_every_line_once(tmp_path):
    path = tmp_path / "log.txt"
    for epoch in (1, 2):
        bar = progress_bar.progress_bar([0], log_format="json", epoch=epoch, log_file=str(path))
        bar.print({"loss": 1.0}, tag="train")
    assert path.read_text().splitlines() == [
        '{"epoch": 1, "train_loss": "1"}',
        '{"epoch": 2, "train_loss": "1"}',
    ]


def test_terminal_bar_shows_time_left(monkeypatch, capsys, caplog):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    bar = progress_bar.progress_bar(Resumed(6, 2), epoch=3)
    assert isinstance(bar, progress_bar.TqdmProgressBar)
    items = []
    for item in bar:
        bar.log({"loss": 1.5}, tag="train_inner", step=item)
        items.append(item)
        time.sleep(0.11)  # tqdm draws at most every 0.1 s
    bar.print({"loss": 2.0}, tag="train")
    shown = capsys.readouterr().err
    assert items == [2, 3, 4, 5]
    assert "epoch 003:" in shown and "loss=1.5" in shown
    assert re.search(r"[345]/6 \[00:00<00:00, ", shown)  # elapsed < left
    assert caplog.messages == ["epoch 003 | loss 2"]


def test_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    average = AverageMeter()
    average.update(3.0)
    for epoch in (1, 2):
        bar = progress_bar.progress_bar([0], log_format="none", epoch=epoch, tensorboard_logdir=str(tmp_path))
        bar.update_config({"lr": [0.1]})
        assert list(bar) == [0] and len(bar) == 1
        bar.log({"loss": torch.tensor(float(epoch)), "avg": average, "num_updates": 7}, tag="train_inner", step=epoch)
        bar.print({"loss": 0.5 * epoch, "num_updates": 10 * epoch, "names": ["skipped"]}, tag="valid")
    trackers._writer(str(tmp_path / "valid")).close()
    inner = EventAccumulator(str(tmp_path / "train_inner")).Reload()
    valid = EventAccumulator(str(tmp_path / "valid")).Reload()
    assert [(e.step, e.value) for e in inner.Scalars("loss")] == [(1, 1.0), (2, 2.0)]
    assert sorted(inner.Tags()["scalars"]) == ["avg", "loss"] and inner.Scalars("avg")[0].value == 3.0
    assert [(e.step, e.value) for e in valid.Scalars("loss")] == [(10, 0.5), (20, 1.0)]
    assert len(list((tmp_path / "valid").glob("events*"))) == 1  # one file a run, not one an epoch


def test_wandb(monkeypatch):
    calls = []
    wandb = types.ModuleType("wandb")
    wandb.run = None

    def init(**kwargs):
        calls.append(("init", kwargs))
        wandb.run = object()

    wandb.init = init
    wandb.log = lambda values, step: calls.append(("log", values, step))
    wandb.config = types.SimpleNamespace(update=lambda config, allow_val_change: calls.append(("config", config)))
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    for _ in range(2):
        bar = progress_bar.progress_bar([0], log_format="none", wandb_project="p", wandb_run_name="r")
    assert type(bar) is progress_bar.WandBProgressBarWrapper
    bar.update_config({"a": 1})
    bar.log({"loss": 2.0}, tag="train_inner", step=3)
    bar.print({"loss": 1.0, "num_updates": 9}, tag="valid")
    assert calls == [
        ("init", {"project": "p", "name": "r"}),
        ("config", {"a": 1}),
        ("log", {"train_inner/loss": 2.0}, 3),
        ("log", {"valid/loss": 1.0}, 9),
    ]


@pytest.mark.parametrize(
    ("package", "setting"), [("tensorboard", "tensorboard_logdir"), ("wandb", "wandb_project"), (None, "aim_repo")]
)
def test_a_setting_without_effect_is_said_once(package, setting, monkeypatch, caplog, tmp_path):
    if package:
        monkeypatch.setitem(sys.modules, package, None)  # importing it raises ImportError
    for _ in range(2):
        bar = progress_bar.progress_bar([0], log_format="simple", **{setting: str(tmp_path)})
        assert type(bar) is progress_bar.SimpleProgressBar
    (message,) = caplog.messages
    assert f"common.{setting} has no effect" in message
    assert package is None or f"pip install {package}" in message
