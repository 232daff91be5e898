"""Short lines for an interactive terminal: what becomes of a record, which handlers write them, what the bar says."""

import ast
import io
import logging
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import fairseq
from fairseq.logging import terminal, trackers
from fairseq.logging.progress_bar import TqdmProgressBar
from fairseq.logging.run_bar import RunBar


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def shown(message, level=logging.INFO, **attributes):
    record = logging.makeLogRecord({"msg": message, "levelno": level, "levelname": logging.getLevelName(level)})
    vars(record).update(attributes)
    return terminal.ShortFormatter().format(record)


def test_what_a_record_shows():
    assert shown("Loaded train with #samples: 8")[8:] == " Loaded train with #samples: 8"
    assert shown("careful", logging.WARNING)[8:] == " warning: careful"
    assert shown("long", terminal="short")[8:] == " short"
    assert shown("long", terminal=lambda: "made when shown")[8:] == " made when shown"
    assert shown("long", terminal="") == ""
    assert shown("begin training epoch 1") == "" and "begin" in shown("begin training epoch 1", logging.WARNING)


def test_lines_are_broken_between_words():
    words = " ".join(["word"] * 30)
    assert all(len(line) <= 80 and line.strip("word 0123456789:") == "" for line in shown(words).splitlines())
    path = "x" * 100
    assert path in shown(f"saved {path}")
    first, second = shown(f"title\n    {words}").splitlines()[1:3]
    assert first.startswith("    word") and second.startswith("        word")


def test_the_lines_that_are_left_out_exist():
    """`REPEATED` goes by how fairseq's lines begin; one that nothing logs any more would be a dead entry."""
    texts = set()
    for path in Path(fairseq.__file__).parent.parent.glob("fairseq*/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "info" and node.args:
                first = node.args[0]
                first = first.values[0] if isinstance(first, ast.JoinedStr) else first
                if isinstance(first, ast.Constant):
                    texts.add(str(first.value))
    for start in terminal.REPEATED:
        assert any(text.startswith(start.rstrip()) for text in texts), start


def test_only_console_handlers_are_replaced_and_they_come_back(monkeypatch, tmp_path):
    root = logging.getLogger()
    stdout = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stdout)
    handlers = [
        logging.StreamHandler(stdout),
        logging.FileHandler(tmp_path / "log"),
        logging.StreamHandler(io.StringIO()),
    ]
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(levelname)s | %(message)s"))
    monkeypatch.setattr(root, "handlers", handlers[:])
    with pytest.raises(KeyError), terminal.session(True):
        assert root.handlers[1:] == handlers[1:]
        logging.getLogger("fairseq.x").warning("look", extra={"terminal": "short"})
        raise KeyError
    assert root.handlers == handlers
    with terminal.session(False):
        assert root.handlers == handlers
    assert stdout.getvalue()[8:] == " warning: short\n"
    assert (tmp_path / "log").read_text() == "WARNING | look\n" == handlers[2].stream.getvalue()


def test_no_session_where_output_goes_to_a_pipe_or_another_format_is_wanted(monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert terminal.is_interactive("tqdm") and not terminal.is_interactive("simple")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False, raising=False)
    assert not terminal.is_interactive("tqdm")


def test_loss_rate_bits_and_metric_come_first():
    stats = {"loss": "0.5", "nll_loss": "0.1", "wps": "100", "lr": "0.000123456", "gnorm": "1", "num_bits": "4"}
    stats["accuracy"] = "70"
    assert terminal.fit(stats, 60) == "loss 0.5  accuracy 70  lr 0.000123  bits 4  gnorm 1  wps 100"
    assert terminal.fit(stats, 30) == "loss 0.5  lr 0.000123  bits 4"
    assert terminal.fit(stats, 0) == ""


def test_the_bar_of_a_run(capsys):
    asked = []

    def stats():
        asked.append(1)
        return {"loss": 0.5, "accuracy": 70.0, "lr": 1e-3, "num_bits": 4}

    with RunBar(total=40, done=10, epochs=4, metric="accuracy") as bar:
        train = trackers._Wrapper(TqdmProgressBar([0], epoch=2, run_bar=bar))
        train.show(stats, 11)
        train.show(stats, 12)  # at once after the other: not drawn, and no numbers are computed
        valid = TqdmProgressBar([0], epoch=2, prefix="valid on 'valid' subset", run_bar=bar)
        valid.print({"accuracy": 75.0}, tag="valid")
        bar._drawn = 0.0
        train.show(stats, 13)
    written = capsys.readouterr().err
    assert len(asked) == 2 and "10/40" in written and "13/40" in written
    assert "epoch 2/4  loss 0.5  accuracy 70  lr 0.001  bits 4" in written
    assert "bits 4 | valid accuracy 75" in written


def test_missing_heads_are_one_line(caplog):
    from fairseq.models.roberta import upgrade

    model = nn.Module()
    model.classification_heads = nn.ModuleDict({"head": nn.Linear(2, 2)})
    model.encoder = nn.Module()
    model.encoder.lm_head = nn.Linear(2, 2)
    caplog.set_level(logging.INFO)
    state = {}
    upgrade.keep_missing_parts(model, state, "")
    assert len(caplog.records) == 4 == len(state) and torch.equal(
        state["encoder.lm_head.bias"], model.encoder.lm_head.bias
    )
    lines = [line for record in caplog.records if (line := terminal.ShortFormatter().format(record))]
    assert len(lines) == 1 and lines[0].endswith("classification_heads.head, encoder.lm_head")
