"""fairseq-study as a command: its words, its exit codes, its one-line errors."""

import pytest

from fairseq_cli.study import cli_main

STUDY = "{rows: {a: [quantization=none], b: [quantization=int8]}, seeds: [1, 2], config_name: tiny}"


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text(STUDY)
    return tmp_path


def test_list(study, capsys):
    cli_main(["study.yaml", "--list", "--out", "x", "seeds=[7]"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["a-seed7", "  fairseq-hydra-train --config-name tiny quantization=none common.seed=7"]
    assert len(lines) == 4
    assert not (study / "x").exists()


@pytest.mark.parametrize(
    "words, message",
    [
        (["missing.yaml"], "error: cannot read the study missing.yaml: No such file or directory"),
        (["study.yaml", "--jobs", "0"], "error: --jobs must be at least 1, got 0"),
        (["study.yaml", "sedes=[1]"], "error: study.yaml: unknown key 'sedes'; did you mean 'seeds'?"),
        (["study.yaml"], "error: a-seed1: "),  # there is no tiny.yaml
    ],
)
def test_errors_are_one_line(study, capsys, words, message):
    with pytest.raises(SystemExit) as exit:
        cli_main(words)
    err = capsys.readouterr().err
    assert exit.value.code == 2
    assert err.startswith(message) and err.count("\n") == 1


def test_failed_cells_give_an_exit_code(study, capsys, monkeypatch):
    from fairseq.studies import study as module
    from fairseq.studies.study_folder import Cell

    cell = Cell("a-seed1", "a", last_line="no data", folder=study / "cells/a-seed1")
    monkeypatch.setattr(module, "run_study", lambda *args, **options: [cell])
    with pytest.raises(SystemExit) as exit:
        cli_main(["study.yaml", "--out", "OUT"])
    assert exit.value.code == 1
    assert "failed: a-seed1: no data" in capsys.readouterr().err
