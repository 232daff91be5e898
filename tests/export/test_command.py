"""fairseq-export-onnx from the checkpoint to the file."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from fairseq.export import onnx_file
from fairseq_cli import export_onnx


def run(monkeypatch: pytest.MonkeyPatch, capsys: Any, *words: Any) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["fairseq-export-onnx", *map(str, words)])
    code = 0
    try:
        export_onnx.cli_main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    out, err = capsys.readouterr()
    return code, out + err


@pytest.fixture
def loads(classifier: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Whatever checkpoint is read holds this model; reading files is tested elsewhere."""

    def loads(model: Any) -> None:
        monkeypatch.setattr(onnx_file, "read_classifier", lambda checkpoint: model)

    return loads


def test_writes_a_file(
    loads: Any, classifier: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    pytest.importorskip("onnx")
    loads(classifier("int8", encoder_layers=1))
    out = tmp_path / "model.onnx"
    code, said = run(monkeypatch, capsys, "checkpoint.pt", "--out", out, "--head", "head")
    assert code == 0 and "head head, opset 21" in said and "codes of 10 quantizers within" in said
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    _, execute = onnx_file_runner(out)
    assert execute(torch.tensor([[0, 5, 2]]))["logits"].shape == (1, 3)


def onnx_file_runner(path: Path) -> Any:
    from fairseq.export.runtime import runner

    return runner(path.read_bytes())


@pytest.mark.parametrize("name", ["hydra.pt", "argparse.pt"])
def test_files_of_fairseq_without_their_data(
    name: str, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    pytest.importorskip("onnx")
    file = repository / "tests" / "fixtures" / "checkpoints" / name
    code, said = run(monkeypatch, capsys, file, "--out", tmp_path / "m.onnx")
    assert code == 0 and "head sentence_classification_head, opset 21" in said, said


def test_mistakes_are_one_line(
    loads: Any, classifier: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    pytest.importorskip("onnx")
    loads(classifier(encoder_layers=1))
    for words, said in (
        (["--out", tmp_path / "m.onnx"], "choose one with --head"),
        (["--out", tmp_path / "m.onnx", "--head", "heat"], "did you mean 'head'"),
        (["--out", tmp_path / "missing" / "m.onnx"], "no folder"),
        (["--out", tmp_path], "it is a folder"),
        (["--out", tmp_path / "m.onnx", "--opset", 5], "--opset 5"),
    ):
        code, found = run(monkeypatch, capsys, "checkpoint.pt", *words)
        assert code and said in found and found.startswith("error: ") and found.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_without_onnx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    code, said = run(monkeypatch, capsys, "checkpoint.pt", "--out", tmp_path / "m.onnx")
    assert code and said == "error: ONNX files need the package onnx: pip install onnx onnxruntime\n"
