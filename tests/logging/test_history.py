"""The run history on disk: what is written, resume, and a process killed inside a line."""

import json

import numpy as np
import pytest
import torch

from fairseq.errors import DataError
from fairseq.logging.history import History, read_history


def test_values(tmp_path):
    history = History.in_folder(tmp_path / "new" / "run")
    stats = {"loss": torch.tensor(0.5), "acc": np.float64(50.1), "n": np.int64(3), "nan": float("nan"), "epoch": 99}
    history.append("train_inner", {**stats, "list": [1], "matrix": torch.ones(2), "text": "x"}, step=7, epoch=2)
    (line,) = history.path.read_text().splitlines()
    assert json.loads(line) == {
        "tag": "train_inner",
        "epoch": 2,
        "num_updates": 7,
        "loss": 0.5,
        "acc": 50.1,
        "n": 3,
        "nan": None,
        "text": "x",
    }
    assert read_history(tmp_path / "new" / "run") == read_history(history.path)


def test_resume_drops_later_lines(tmp_path):
    history = History(tmp_path / "h.jsonl")
    history.truncate(5)  # nothing there yet
    for step in (1, 2, 3):
        history.append("train_inner", {"loss": 1.0 / step}, step)
    History(history.path).truncate(2)
    history.append("train_inner", {"loss": 9.0}, 3)
    assert [(r["num_updates"], r["loss"]) for r in read_history(history.path)] == [(1, 1.0), (2, 0.5), (3, 9.0)]
    assert [file.name for file in tmp_path.iterdir()] == ["h.jsonl"]


def test_line_cut_short_by_a_crash(tmp_path):
    history = History(tmp_path / "h.jsonl")
    history.append("train", {"loss": 1.0}, 1)
    with open(history.path, "a") as file:
        file.write('{"tag": "train", "num_up')
    assert len(read_history(history.path)) == 1
    history.append("train", {"loss": 2.0}, 2)
    assert [record["loss"] for record in read_history(history.path)] == [1.0, 2.0]


def test_a_device_is_not_read_to_its_end():
    with pytest.raises(DataError, match="cannot read /dev/zero: it is not a file"):
        read_history("/dev/zero")
