"""Pages of studies with damaged, partial and missing files: they name what is missing and show the rest."""

import json
import shutil
import sys

import pytest
from page_runs import make_study

from fairseq.errors import DataError
from fairseq.studies.study_folder import read_study
from fairseq_cli.report import cli_main

CELL = "cells/int8-rte-seed1"
DAMAGES = [b"", b"\xff\xfe\x00", b"[" * 100_000, b'{"a": 1}\n', b"null\n", b'{"name": "int8-rte-seed1", "ro']
OF_A_RUN = ("history.jsonl", "run.json", "quantization_plan.json", "train.log")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return make_study(tmp_path_factory.mktemp("whole") / "OUT")


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "OUT")


@pytest.fixture
def report(monkeypatch, tmp_path):
    """Makes the page as a user would; returns its text."""

    def make(folder):
        out = tmp_path / "page.html"
        monkeypatch.setattr(sys, "argv", ["fairseq-report", str(folder), "--out", str(out)])
        cli_main()
        return out.read_text()

    return make


def put(path, damage):
    """`damage` instead of the file: bytes, None for nothing, or a folder."""
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage is not None:
        path.write_bytes(damage)


@pytest.mark.parametrize("damage", [*DAMAGES, None, "folder"])
def test_a_damaged_cell_is_named_and_the_others_are_shown(folder, report, damage):
    put(folder / CELL / "cell.json", damage)
    text = report(folder)
    assert "What is missing (1)" in text and "int8-rte-seed1" in text
    assert "9 of 11 cells have finished" in text and "int8-rte-seed2" in text


@pytest.mark.parametrize("damage", [*DAMAGES, "folder"])
def test_a_damaged_study_file_is_named_and_every_cell_is_shown(folder, report, damage):
    put(folder / "study.yaml", damage)
    text = report(folder)
    if damage != b'{"a": 1}\n':  # which is a file of settings
        assert "What is missing (1)" in text and "study.yaml" in text
    assert "10 of 12 cells have finished" in text


@pytest.mark.parametrize("name", OF_A_RUN)
def test_a_damaged_file_of_a_finished_cell_is_named(folder, report, name):
    for damage in (*DAMAGES, None, "folder"):
        path = folder / CELL / name
        path.unlink() if path.is_file() else path.rmdir() if path.is_dir() else None
        path.touch()
        put(path, damage)
        text = report(folder)
        assert "10 of 12 cells have finished" in text
        if name != "train.log" or damage in (None, "folder"):  # any bytes are a log
            assert "What is missing" in text and name in text.split("What is missing")[1].split("</div>")[0], damage


@pytest.mark.parametrize("value", [None, "text", [[1]], {"a": [1]}, 10**400, True])
def test_values_of_any_type(folder, report, value):
    path = folder / CELL / "cell.json"
    cell = json.loads(path.read_text())
    for key in cell:
        path.write_text(json.dumps({**cell, key: value}))
        assert "of 11 cells" in (text := report(folder)) or "of 12 cells" in text
    path.write_text(json.dumps(cell))
    study = json.loads((folder / "study.yaml").read_text())
    for key in study:
        (folder / "study.yaml").write_text(json.dumps({**study, key: value}))
        assert "10 of 12 cells have finished" in report(folder)
    (folder / "study.yaml").write_text(json.dumps(study))
    records = [{"tag": "valid", "num_updates": 3, "accuracy": value, "num_bits": value, "loss": value}]
    (folder / CELL / "history.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    assert "10 of 12 cells have finished" in report(folder)


def test_a_cell_in_the_folder_of_another_is_named(folder, report):
    shutil.copy(folder / CELL / "cell.json", folder / "cells/int8-rte-seed2/cell.json")
    assert "is that of another cell, int8-rte-seed1" in report(folder)


def test_nothing_that_can_be_read_is_one_line(folder, report, capsys):
    for path in folder.glob("cells/*/cell.json"):
        path.write_bytes(b"{")
    with pytest.raises(SystemExit):
        report(folder)
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_study_does_not_run_past_a_damaged_cell(folder):
    """It would take the cell for one that is not there."""
    (folder / CELL / "cell.json").write_bytes(b"{")
    with pytest.raises(DataError, match="remove it to run this cell again"):
        read_study(folder)
