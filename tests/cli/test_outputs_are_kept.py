"""Commands that write do not replace what is there, unless --overwrite says so; a picture may be drawn anew."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from fairseq.errors import ConfigError
from fairseq.output_files import PNG, check_output, check_picture, staged

# command -> the words that name what it writes, and what lies there already; its other words are not looked at before
COMMANDS = {
    "export_hf": (["model.pt", "--dest", "out"], "out/config.json"),
    "import_hf": (["roberta", "--dest", "out"], "out/model.pt"),
    "quantize_checkpoint": (["model.pt", "--out", "out/int8.pt"], "out/int8.pt"),
    "quant_report": (["model.pt", "--json", "out/report.json"], "out/report.json"),
    "plot": (["run", "--out", "out/model.png"], "out/model.png"),
    "report": (["run", "--out", "out/report.html"], "out/report.html"),
    "make_acceptability": (["--dest", "out"], "out/train.tsv"),
    "export_onnx": (["model.pt", "--out", "out/m.onnx"], "out/m.onnx"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_files_that_are_there_are_kept(
    name: str, tmp_path: Path, monkeypatch: Any, capsys: Any, fixtures: Path
) -> None:
    if name == "export_onnx":
        pytest.importorskip("onnx")
    words, file = COMMANDS[name]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "roberta").symlink_to(fixtures / "hf" / "roberta")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "history.jsonl").write_text('{"tag": "train", "num_updates": 1, "loss": 1.0}\n')
    (tmp_path / "out").mkdir()
    (tmp_path / file).write_text("valuable")
    monkeypatch.setattr(sys, "argv", [name, *words])
    with pytest.raises(SystemExit) as stop:
        import_module(f"fairseq_cli.{name}").cli_main()
    said = capsys.readouterr().err
    assert stop.value.code and said.count("\n") == 1 and "--overwrite" in said and "already" in said
    assert (tmp_path / file).read_text() == "valuable" and len(list((tmp_path / "out").iterdir())) == 1


def test_every_command_with_an_output_has_the_option() -> None:
    for name in (*COMMANDS, "precision_range_test", "prepare_glue"):
        options = import_module(f"fairseq_cli.{name}").get_parser()._option_string_actions
        assert "--overwrite" in options, name


def test_a_picture_is_drawn_anew(tmp_path: Path) -> None:
    path = tmp_path / "curves.png"
    path.write_bytes(PNG + b"...")
    check_picture(path)
    check_picture(tmp_path / "other.SVG")
    for name in ("curves.pn", "curves", "png"):
        with pytest.raises(ConfigError, match=f"cannot draw .*{name}: the name of a picture ends in .png"):
            check_picture(tmp_path / name, overwrite=True)
    path.write_bytes(b"weights")
    with pytest.raises(ConfigError, match="is there already"):
        check_picture(path)
    check_picture(path, overwrite=True)


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="it is a folder"):
        check_output(tmp_path)
    with pytest.raises(ConfigError, match="there is no folder"):
        check_output(tmp_path / "missing" / "x")
    (tmp_path / "broken").symlink_to(tmp_path / "gone")
    with pytest.raises(ConfigError, match="is there already"):
        check_output(tmp_path / "broken")


def test_a_folder_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    dest, owned = tmp_path / "dest", ("a", "b")
    with pytest.raises(RuntimeError), staged(dest, owned) as folder:
        (folder / "a").write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with staged(dest, owned) as folder:
        (folder / "a").write_text("1")
    (dest / "mine").write_text("not the command's")
    with pytest.raises(RuntimeError), staged(dest, owned, overwrite=True) as folder:
        (folder / "b").write_text("half")
        raise RuntimeError
    assert {path.name: path.read_text() for path in dest.iterdir()} == {"a": "1", "mine": "not the command's"}
    with staged(dest, owned, overwrite=True) as folder:
        (folder / "b").write_text("2")
    assert {path.name: path.read_text() for path in dest.iterdir()} == {"b": "2", "mine": "not the command's"}
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="it is a file"), staged(tmp_path / "file", owned):
        pass
