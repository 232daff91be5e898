"""Folders of studies, as others read them."""

import json

import pytest

from fairseq.errors import DataError
from fairseq.studies.study_folder import FINISHED, Cell, Step, read_cell, read_study


def write_study(folder):
    (folder / "study.yaml").write_text("metric: accuracy\nrows:\n  a: [x=2:4]\ncells: [b-seed1, a-seed1, a-seed2]\n")
    for row, seed in (("a", 1), ("a", 2), ("b", 1)):
        name = f"{row}-seed{seed}"
        step = Step("train", "fairseq-hydra-train", ["x=a b"], config_dir="conf", config_name="tiny")
        cell = Cell(name, row, seed, {"task": "rte"}, "accuracy", steps=[step], folder=folder / "cells" / name)
        cell.status, cell.metrics = (FINISHED, {"accuracy": 71.5, "loss": None}) if row == "a" else ("failed", {})
        cell.write()


def test_reading(tmp_path):
    write_study(tmp_path)
    study = read_study(tmp_path)
    assert study.config["rows"] == {"a": ["x=2:4"]}  # YAML would make 124 of it
    assert [cell.name for cell in study.cells] == ["b-seed1", "a-seed1", "a-seed2"]
    assert [cell.name for cell in study.failed] == ["b-seed1"]
    assert study.rows == ["b", "a"]
    assert study.dimensions == {"task": ["rte"]}
    assert [len(cells) for cells in study.groups().values()] == [1, 2]
    assert study.finished[0].value == 71.5
    assert study.finished[0].metrics["loss"] is None
    line = "fairseq-hydra-train --config-dir conf --config-name tiny 'x=a b'"
    assert study.finished[0].steps[0].line() == line


def test_log_and_history(tmp_path):
    write_study(tmp_path)
    cell = read_study(tmp_path).finished[0]
    assert cell.log_tail() == [] and cell.history() == []
    (cell.folder / "train.log").write_text("".join(f"line {number}\n" for number in range(1000)))
    (cell.folder / "history.jsonl").write_text('{"tag": "valid", "epoch": 1, "num_updates": 3, "loss": 0.5}\n')
    assert cell.log_tail(2) == ["line 998", "line 999"]
    assert cell.history()[0]["loss"] == 0.5


def test_cells_that_a_newer_version_has_written(tmp_path):
    write_study(tmp_path)
    path = tmp_path / "cells/a-seed1/cell.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "colour": "red"}))
    assert read_cell(path.parent).row == "a"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"name": "a", "row": "a", "steps": [1]}'])
def test_damaged_cells(tmp_path, text):
    (tmp_path / "cell.json").write_text(text)
    with pytest.raises(DataError, match=r"cannot read .*cell.json"):
        read_cell(tmp_path)


@pytest.mark.parametrize("text", [None, "a: [", "- 1"])
def test_no_study(tmp_path, text):
    if text is not None:
        (tmp_path / "study.yaml").write_text(text)
    with pytest.raises(DataError, match="no study at"):
        read_study(tmp_path)
