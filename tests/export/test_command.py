"""fairseq-export-onnx from the checkpoint to the file."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from fairseq.data.binarize import write_items
from fairseq.data.dictionary import Dictionary
from fairseq.export import on_data, onnx_file
from fairseq.export.reading import Classifier
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

    def loads(model: Any, labels: Any = None) -> None:
        monkeypatch.setattr(onnx_file, "read_classifier", lambda checkpoint: Classifier(model, labels))

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


def test_a_file_that_is_there_is_kept(
    loads: Any, classifier: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    pytest.importorskip("onnx")
    loads(classifier(encoder_layers=1))
    out = tmp_path / "m.onnx"
    out.write_text("an earlier export")
    code, said = run(monkeypatch, capsys, "checkpoint.pt", "--out", out, "--head", "head")
    assert code and "m.onnx is there already; give another --out, or --overwrite to replace it" in said
    assert out.read_text() == "an earlier export"
    assert run(monkeypatch, capsys, "checkpoint.pt", "--out", out, "--head", "head", "--overwrite")[0] == 0
    assert out.stat().st_size > 1000


def test_names_of_classes_are_metadata(
    loads: Any, classifier: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    onnx = pytest.importorskip("onnx")
    labels = Dictionary()
    for name in ("neutral", "entailment", "contradiction"):
        labels.add_symbol(name)
    loads(classifier(encoder_layers=1), labels)
    words = ("checkpoint.pt", "--out", tmp_path / "m.onnx", "--head")
    code, said = run(monkeypatch, capsys, *words, "head")
    assert code == 0 and "head head (classes neutral, entailment, contradiction), opset" in said
    notes = {note.key: note.value for note in onnx.load(tmp_path / "m.onnx").metadata_props}
    assert json.loads(notes["labels"]) == ["neutral", "entailment", "contradiction"]
    assert run(monkeypatch, capsys, *words, "other", "--overwrite")[0] == 0  # one number: no classes
    assert "labels" not in {note.key for note in onnx.load(tmp_path / "m.onnx").metadata_props}
    (tmp_path / "bin" / "label").mkdir(parents=True)
    (tmp_path / "bin" / "label" / "dict.txt").write_text("1 5\n0 4\n")
    code, said = run(monkeypatch, capsys, *words, "head", "--overwrite", "--data", tmp_path / "bin")
    assert code and "has the classes 1, 0, the checkpoint was trained with neutral, entailment" in said


def test_predictions_on_examples_are_counted(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Without data the line says that its figures are of made-up batches; with data, what differs on how many."""
    pytest.importorskip("onnx")
    folder = repository / "tests" / "fixtures" / "checkpoints"
    data, count = tmp_path / "bin", 7
    shutil.copytree(folder / "data", data)
    write_items(str(data / "input0" / "valid"), [[5 + i, 6, 7 + i % 2, 2] for i in range(count)], vocab_size=20)
    write_items(str(data / "label" / "valid"), [[4 + i % 2, 2] for i in range(count)], vocab_size=8)
    words = (folder / "hydra.pt", "--overwrite", "--out", tmp_path / "m.onnx")
    code, said = run(monkeypatch, capsys, *words)
    assert code == 0 and "beside PyTorch, on made-up batches: " in said and "--data DATA compares predictions" in said
    code, said = run(monkeypatch, capsys, *words, "--data", data, "--batch-size", 3)
    assert (
        code == 0
        and "(classes 1, 0), opset 21" in said
        and f"on {count} examples of valid: 0 predictions differ, logits within" in said
    ), said
    code, said = run(monkeypatch, capsys, *words, "--data", data, "--batches", 0)
    assert code and "--batches must be at least 1" in said
    # a file that predicts otherwise is counted, not hidden
    model = onnx_file.read_classifier(str(folder / "hydra.pt")).model
    found = on_data.compare_on_data(
        str(folder / "hydra.pt"), model.eval(), "sentence_classification_head",
        lambda tokens: {"logits": -model(tokens, classification_head_name="sentence_classification_head")[0]},
        data,
    )  # fmt: skip
    assert found.differing == found.examples == count
