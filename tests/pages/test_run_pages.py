"""The page of runs as text: nothing of a run is taken for HTML, and what is missing or damaged is said."""

import base64
import hashlib
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from page_runs import HOSTILE, make_run

from fairseq.errors import DataError
from fairseq.pages.document import asset
from fairseq.pages.run_data import find_run_folders, read_run
from fairseq.pages.run_page import run_page
from fairseq_cli.report import cli_main

FILES = ("history.jsonl", "run.json", "train.log", "quantization_plan.json", "point_errors.jsonl")
DAMAGES = [b"", b"\xff\xfe\x00", b"[" * 100_000, b'{"a": 1}\n', b"null\n", b'{"tag": 1}']


class Elements(HTMLParser):
    """Every element of a page with its attributes; checks that each is closed."""

    VOID = ("meta", "input", "br", "link")

    def __init__(self, text):
        super().__init__()
        self.found, self.open = [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, name, attributes):
        self.found.append((name, dict(attributes)))
        if name not in self.VOID:
            self.open.append(name)

    def handle_endtag(self, name):
        assert self.open.pop() == name


def report(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["fairseq-report", *map(str, words)])
    cli_main()


def test_text_of_a_run_is_text(tmp_path):
    runs = [read_run(HOSTILE, make_run(tmp_path / "a", text=HOSTILE)), read_run("b", make_run(tmp_path / "b", False))]
    text = run_page(runs, title=HOSTILE)
    elements = Elements(text).found
    assert "img" not in [name for name, _ in elements]
    scripts = [attributes for name, attributes in elements if name == "script"]
    programs = [attributes for attributes in scripts if attributes.get("type") != "application/json"]
    assert programs == [{}] and len(scripts) > 3
    assert not any(key.startswith("on") for _, attributes in elements for key in attributes)
    digest = base64.b64encode(hashlib.sha256(asset("page.js").encode()).digest()).decode()
    (policy,) = [attributes["content"] for _, attributes in elements if "http-equiv" in attributes]
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy
    assert not re.search(r'(src|href)="(?!#)', text)  # nothing is loaded from anywhere


def test_a_report_of_two_runs_has_everything(tmp_path, monkeypatch, capsys):
    make_run(tmp_path / "fp32" / "checkpoints", quantized=False)
    make_run(tmp_path / "cpt" / "checkpoints", state="failed", text="the disk is full")
    report(monkeypatch, tmp_path / "fp32", tmp_path / "cpt", "--out", tmp_path / "r.html")
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'r.html'}: 2 runs, 0.")
    text = (tmp_path / "r.html").read_text()
    Elements(text)
    for part in (
        ">fp32<", ">cpt<", "TrainingError: the disk is full", "line 59 the disk is full", "340.0 MiB", "471,939",
        "30.0 % of quantized products", ">4-8<", "SQNR", "clipped", "checkpoint_last.pt", "quantization.preset",
        "BitOPs", "2.00x",
    ):  # fmt: skip
        assert part in text, part
    assert "line 19 " not in text and "What is missing" not in text  # the end of the log only
    differing = re.findall(r'<tr data-differs><th scope="row"><code>([\w.]+)', text)
    assert set(differing) == {"common.user_dir", "quantization.preset"}


@pytest.mark.parametrize("name", FILES)
def test_what_is_damaged_is_said_and_the_rest_is_shown(name, tmp_path):
    for number, damage in enumerate(DAMAGES):
        folder = make_run(tmp_path / str(number))
        (folder / name).write_bytes(damage)
        run = read_run("run", folder)
        text = run_page([run])
        Elements(text)
        if name != "train.log":  # any bytes are a log
            assert any(name in line for line in run.missing), (damage, run.missing)
            assert "What is missing" in text


def test_what_is_not_there_is_said(tmp_path):
    for name in FILES:
        folder = make_run(tmp_path / name)
        (folder / name).unlink()
        missing = read_run("run", folder).missing
        assert name == "point_errors.jsonl" or any(name in line for line in missing), missing
    empty = tmp_path / "partial"
    empty.mkdir()
    (empty / "checkpoint_best.pt").write_bytes(b"no checkpoint")
    run = read_run("partial", empty)
    assert len(run.missing) >= 3 and any("checkpoint_best.pt" in line for line in run.missing)
    Elements(run_page([run]))


@pytest.mark.parametrize("value", [None, "text", [[1]], {"a": []}, 1e400])
def test_values_of_any_type_in_run_json(value, tmp_path):
    folder = make_run(tmp_path / "run")
    record = json.loads((folder / "run.json").read_text())
    for key in record:
        (folder / "run.json").write_text(json.dumps({**record, key: value}))
        Elements(run_page([read_run("run", folder)]))
    for key in record["config"]:
        (folder / "run.json").write_text(json.dumps({**record, "config": {key: value, key * 2: {"x": value}}}))
        Elements(run_page([read_run("run", folder)]))
    plan = {"quantizer": "a.weight", "role": value, "bits": value, "format": value}
    (folder / "quantization_plan.json").write_text(json.dumps({"version": 2, "config": {"rules": []}, "plan": [plan]}))
    Elements(run_page([read_run("run", folder)]))


def test_settings_of_a_run_without_run_json_are_those_of_its_checkpoint(tmp_path, monkeypatch):
    """Runs of older builds."""
    import torch

    from fairseq.dataclass.typed import typed_config
    from fairseq.dataclass.utils import to_container

    folder = make_run(tmp_path / "run")
    (folder / "run.json").unlink()
    cfg = to_container(typed_config({"dataset": {"batch_size": 4}, "quantization": {"preset": "int8"}}))
    torch.save({"cfg": cfg, "model": {"w": torch.zeros(2)}, "args": None}, folder / "checkpoint_last.pt")
    run = read_run("run", folder)
    assert run.config["quantization.preset"] == "int8" and run.usual["dataset.batch_size"] is None, run.missing
    assert [line.partition(":")[0] for line in run.missing] == ["run.json"]


def test_folders_of_runs(tmp_path):
    for name in ("a/checkpoints", "b", "b/previous-1"):
        make_run(tmp_path / "all" / name)
    found = find_run_folders(tmp_path / "all")
    assert found == [("all/a", tmp_path / "all/a/checkpoints"), ("all/b", tmp_path / "all/b")]
    assert find_run_folders(tmp_path / "all/a/checkpoints") == [("a", tmp_path / "all/a/checkpoints")]
    assert find_run_folders(tmp_path / "all/b/previous-1")[0][1] == tmp_path / "all/b/previous-1"
    for path in (tmp_path / "none", tmp_path / "all/b/run.json", tmp_path / "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(DataError, match=r"save_dir|give the folder"):
            find_run_folders(path)


def test_a_report_may_be_made_again_and_nothing_else_is_replaced(tmp_path, monkeypatch, capsys):
    folder = make_run(tmp_path / "run")
    for _ in range(2):
        report(monkeypatch, folder)
    assert (folder / "report.html").stat().st_size > 50_000
    (tmp_path / "notes.html").write_text("my own")
    with pytest.raises(SystemExit):
        report(monkeypatch, folder, "--out", tmp_path / "notes.html")
    assert (tmp_path / "notes.html").read_text() == "my own"
    with pytest.raises(SystemExit):
        report(monkeypatch, folder, "--out", tmp_path / "page.txt")
    assert ".html" in capsys.readouterr().err and not (tmp_path / "page.txt").exists()


def test_states(tmp_path):
    folder = make_run(tmp_path / "run", state="running")
    record = json.loads((folder / "run.json").read_text())
    assert read_run("run", folder).state() == "running"  # on another machine
    import platform

    record["process"] = {"host": platform.node(), "pid": 2**22 + 1}  # more than Linux gives
    (folder / "run.json").write_text(json.dumps(record))
    assert read_run("run", folder).state() == "killed"
    Path(folder / "run.json").unlink()
    assert read_run("run", folder).state() == "unknown"
