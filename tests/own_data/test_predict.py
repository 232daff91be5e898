"""From a CSV file that the project never saw to predictions, by four commands; and what lines of input may be."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading

import pytest
import torch
from reviews_table import TINY, commands, write_reviews

from fairseq.checkpoint_utils import load_checkpoint_to_cpu
from fairseq.errors import CheckpointError, ConfigError, DataError
from fairseq.models.roberta import RobertaModel
from fairseq.own_data.prepare import SubwordOptions, TableOptions, prepare
from fairseq.own_data.splits import held_out
from fairseq.prediction.lines import LineParser, waiting_lines
from fairseq.prediction.predictor import Predictor
from fairseq.studies.one_run import run_training


@pytest.fixture
def command(monkeypatch, capfd):
    return commands(monkeypatch, capfd)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with reviews.csv, reviews-bin and reviews-run, as the first two commands make them."""
    folder = tmp_path_factory.mktemp("four commands")
    write_reviews(folder / "reviews.csv", 160)
    prepare(folder / "reviews.csv", folder / "reviews-bin", TableOptions(["review"], "verdict"))
    words = [*TINY, f"task.data={folder / 'reviews-bin'}"]
    run_training(words, config_dir=folder / "reviews-bin", config_name="train", folder=folder / "reviews-run")
    return folder


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """A checkpoint for pairs, not trained to any end, whose regression reads at most 12 tokens."""
    folder = tmp_path_factory.mktemp("pairs")
    (folder / "t.csv").write_text("q,a,y\n" + "".join(f"q{i},a{i},{i}\n" for i in range(20)))
    prepare(folder / "t.csv", folder / "bin", TableOptions(["q", "a"], "y", regression=True), SubwordOptions(size=256))
    words = [*TINY, f"task.data={folder / 'bin'}", "task.max_positions=12", "task.shorten_method=none"]
    run_training(words, config_dir=folder / "bin", config_name="train", folder=folder / "run")
    return folder / "run" / "checkpoint_last.pt"


def predicted(command, *words):
    done = command("predict", *words)
    return done, [json.loads(line) for line in done.out.splitlines()]


def test_from_a_csv_file_to_predictions_in_four_commands(tmp_path, command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = write_reviews(tmp_path / "reviews.csv", 160)
    done = command(*["prepare_text", "reviews.csv", "--text", "review", "--label", "verdict", "--dest", "reviews-bin"])
    assert done.code == 0, done.err
    words = re.findall(r"(?<=  )fairseq-hydra-train (.*)", done.out)[0].split()
    done = command("hydra_train", *words, *TINY)
    assert done.code == 0, done.err
    best = tmp_path / "reviews-run" / "checkpoint_best.pt"
    done = command(
        *("quantize_checkpoint", best, "--out", "int8.pt"),
        *("--quantization", "int8", "--data", "reviews-bin", "--batches", 2),
    )
    assert done.code == 0, done.err
    texts, labels = [row["review"] for row in rows], [row["verdict"] for row in rows]
    held = held_out([(text,) for text in texts], labels, 0.1, 1)
    (tmp_path / "valid.jsonl").write_text("".join(json.dumps({"review": texts[row]}) + "\n" for row in held))
    shutil.move("reviews-bin", "elsewhere")  # a checkpoint needs neither its data nor its folder
    done, records = predicted(command, "int8.pt", "--json", "--input", "valid.jsonl", "--compute", "simulate")
    assert done.code == 0, done.err
    assert [record["line"] for record in records] == list(range(1, len(held) + 1))
    correct = sum(record["label"] == labels[row] for record, row in zip(records, held, strict=True))
    assert correct / len(held) > 0.9
    done = command(*["validate", "elsewhere", "--path", "int8.pt", "--log-format", "json", "--batch-size", "8"])
    accuracy = float(re.findall(r'"valid_accuracy": "?([0-9.]+)', done.out + done.err)[-1])
    assert accuracy == pytest.approx(100 * correct / len(held), abs=0.05)
    # and the same labels, one by one, from the model that was evaluated
    roberta = RobertaModel.from_pretrained(tmp_path, "int8.pt", data_name_or_path=None).eval()
    tokens = [roberta.encode(texts[row]) for row in held]
    head = "sentence_classification_head"
    assert [roberta.predict_label(head, each)[0] for each in tokens] == [record["label"] for record in records]


def test_batches_sorting_and_compute_change_no_label(trained):
    predictor = Predictor.from_checkpoint(str(trained / "reviews-run" / "checkpoint_best.pt"))
    examples = [("great film",), ("awful " * 9,), ("",), ("great " * 200,), ("awful",)]
    found = predictor.predict(examples)
    assert predictor.names == ["very good", "bad"] and predictor.columns == ["review"]
    assert [record["label"] for record in found[:2]] == ["very good", "bad"]
    assert max(map(len, predictor.encode(examples))) == 128  # what is longer is cut, as in the data folder
    for batch_size, by_length in ((1, True), (2, False)):
        other = predictor.predict(examples, batch_size, by_length)
        assert [record["label"] for record in other] == [record["label"] for record in found]
        assert all(abs(a["score"] - b["score"]) < 1e-5 for a, b in zip(found, other, strict=True))


def test_packed_weights_stay_integers(trained, command, tmp_path):
    best = trained / "reviews-run" / "checkpoint_best.pt"
    words = ["--quantization", "int8", "--data", trained / "reviews-bin", "--batches", 2]
    assert command("quantize_checkpoint", best, "--out", tmp_path / "int8.pt", *words).code == 0
    (tmp_path / "lines.txt").write_text("great film\nawful plot\n" * 20)
    labels = {}
    for compute in ("simulate", "integer", "auto"):
        predictor = Predictor.from_checkpoint(str(tmp_path / "int8.pt"), compute=compute)
        assert "weight" not in dict(predictor.model.encoder.sentence_encoder.layers[0].fc1.named_parameters())
        _, records = predicted(command, tmp_path / "int8.pt", "--input", tmp_path / "lines.txt", "--compute", compute)
        labels[compute] = [record["label"] for record in records]
    assert labels["simulate"] == labels["integer"] == labels["auto"] == ["very good", "bad"] * 20
    with pytest.raises(ConfigError, match="not quantized, so --compute integer has no effect"):
        Predictor.from_checkpoint(str(best), compute="integer")


def test_broken_lines_are_reported_and_the_others_predicted(trained, command, tmp_path):
    best = trained / "reviews-run" / "checkpoint_best.pt"
    lines = [
        b'{"review": "great film", "id": 3}',
        b"\xff",
        b'"awful plot"',
        b'{"text": "x"}',
        b"[1]",
        b"",
        b'["a", "b"]',
    ]
    (tmp_path / "lines.jsonl").write_bytes(b"\r\n".join(lines))
    done, records = predicted(command, best, "--json", "--input", tmp_path / "lines.jsonl", "--batch-size", 1)
    assert done.code == 1
    assert (
        "error: 5 of 7 lines had errors, which their records tell; the first is line 2: not UTF-8 (byte 0)" in done.err
    )
    assert [record.get("label") for record in records] == ["very good", None, "bad", None, None, None, None]
    assert "no 'review' in it, but text" in records[3]["error"] and "no JSON" in records[5]["error"]
    assert "2 texts, the model reads 1" in records[6]["error"]
    done, records = predicted(command, best, "--input", tmp_path / "lines.jsonl", "--batch-size", 0)
    assert (done.code, records) == (2, []) and "error: --batch-size 0" in done.err


def test_pairs_and_regression(pairs, command, tmp_path):
    (tmp_path / "lines.txt").write_text("q1\ta1\nq1 a1\nq1\ta1\tb\n" + "q" * 30 + "\ta\n")
    done, records = predicted(command, pairs, "--input", tmp_path / "lines.txt")
    assert done.code == 1 and isinstance(records[0]["value"], float)
    assert "1 texts, the model reads 2 with a tab between them" in records[1]["error"]
    assert "3 texts with tabs between them" in records[2]["error"]
    assert re.fullmatch(r"\d+ tokens, the model reads 12", records[3]["error"])
    predictor = Predictor.from_checkpoint(str(pairs))
    (row,) = predictor.encode([("q1", "a1")])
    task = predictor.task
    assert row[0] == 0 and row.count(task.dictionary.eos()) == 3  # <s> q1 </s> </s> a1 </s>


def test_lines_come_out_while_others_are_awaited():
    reading, writing = os.pipe()
    got, arrived = [], threading.Event()

    def consume():
        for lines in waiting_lines(reading, 100):
            got.append(lines)
            arrived.set()

    thread = threading.Thread(target=consume)
    thread.start()
    os.write(writing, b"one\ntwo\nthr")
    assert arrived.wait(20) and got == [[b"one", b"two"]]
    os.write(writing, b"ee")
    os.close(writing)
    thread.join()
    os.close(reading)
    assert got[1:] == [[b"three"]]


def test_at_most_so_many_lines_at_a_time(tmp_path):
    (tmp_path / "lines").write_bytes(b"a\n" * 5)
    with open(tmp_path / "lines", "rb") as file:
        assert [len(lines) for lines in waiting_lines(file.fileno(), 2)] == [2, 2, 1]


def test_a_checkpoint_without_columns_takes_one_text_or_a_pair():
    parser = LineParser(None, as_json=False)
    assert (parser.texts(b"a b"), parser.texts(b"a\tb")) == (("a b",), ("a", "b"))
    with pytest.raises(DataError, match="the checkpoint does not name its columns"):
        LineParser(None, as_json=True).texts(b'{"text": "a"}')


def test_checkpoints_that_cannot_predict(trained, tmp_path):
    state = load_checkpoint_to_cpu(str(trained / "reviews-run" / "checkpoint_last.pt"))
    described = state["task_state"].pop("text")
    torch.save(state, tmp_path / "without.pt")
    with pytest.raises(ConfigError, match="does not say how its texts are cut; give the folder of its tokenizer"):
        Predictor.from_checkpoint(str(tmp_path / "without.pt"))
    folder = trained / "reviews-bin" / "tokenizer"
    assert Predictor.from_checkpoint(str(tmp_path / "without.pt"), bpe_dir=folder).predict([("great",)])
    for damage in ({"files": {"../x": ""}}, {"bpe": {"_name": "none such"}}, {"columns": 7}, {"bpe": {"x": []}}):
        state["task_state"]["text"] = {**described, **damage}
        torch.save(state, tmp_path / "damaged.pt")
        with pytest.raises((DataError, CheckpointError), match=r"damaged\.pt"):
            Predictor.from_checkpoint(str(tmp_path / "damaged.pt"))
    state["cfg"].task._name = "masked_lm"
    torch.save(state, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="predictions are made by those of sentence_prediction"):
        Predictor.from_checkpoint(str(tmp_path / "other.pt"))


@pytest.mark.slow
def test_the_command_as_a_process(trained):
    """Standard input, output that is flushed, the exit code."""
    best = trained / "reviews-run" / "checkpoint_best.pt"
    words = [sys.executable, "-m", "fairseq_cli.predict", str(best)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write("great film\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["label"] == "very good"  # while the input is still open
        process.stdin.close()
    assert process.returncode == 0
