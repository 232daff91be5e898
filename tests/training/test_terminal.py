"""What a run looks like on an interactive terminal: a real one (a pty of a given width), read back as a screen."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest

pytestmark = pytest.mark.skipif(not hasattr(termios, "TIOCSWINSZ"), reason="needs a terminal of a given width")

TIME = re.compile(r"\d\d:\d\d:\d\d ")
QUANTIZED = ("--quantization", "cpt_4_8", "--precision-cycles", "2")


def interactive(argv, width: int, folder) -> tuple[str, int]:
    """Run a command on a terminal `width` columns wide; everything that it wrote, and its exit code."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    environ = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "LOGLEVEL")}
    process = subprocess.Popen(
        argv, stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, env={**environ, "TERM": "xterm"}
    )
    os.close(theirs)
    written = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # Linux's way to say that nobody holds the other end any more
            break
        if not piece:
            break
        written += piece
    os.close(ours)
    return written.decode(), process.wait()


def screen(written: str, width: int) -> list[str]:
    """The lines that a terminal of this width, and without a lower end, shows after `written`."""
    rows, row, column = [[]], 0, 0
    for token in re.findall(r"\x1b\[\d*[A-Za-z]|.|\n", written.replace("\r\n", "\n\r")):
        if token == "\r":
            column = 0
        elif token == "\n":
            row += 1
        elif token.startswith("\x1b"):
            assert token.endswith("A"), f"unknown to this terminal: {token!r}"
            row -= int(token[2:-1] or 1)
        else:
            if column == width:
                row, column = row + 1, 0
            rows += [[] for _ in range(row + 1 - len(rows))]
            rows[row] += [" "] * (column + 1 - len(rows[row]))
            rows[row][column] = token
            column += 1
        rows += [[] for _ in range(row + 1 - len(rows))]
    return ["".join(cells).rstrip() for cells in rows]


def train_command(runs, *flags: str) -> list[str]:
    """fairseq-train with the format of its own choice, on short paths relative to `runs.folder`."""
    argv = runs.argv("run", *flags, data=os.path.relpath(runs.data, runs.folder))
    at = argv.index("--log-format")
    argv[at : at + 4] = ["--log-interval", "1000"]
    argv[argv.index("--save-dir") + 1] = "run"
    return [sys.executable, "-m", "fairseq_cli.train", *argv]


@pytest.mark.parametrize("width", [80, 120])
def test_a_run_on_a_terminal(runs, width):
    written, code = interactive(train_command(runs, *QUANTIZED), width, runs.folder)
    assert code == 0, written
    lines = [line for line in screen(written, width) if line]
    assert max(map(len, lines)) <= width
    # no line and no bar stands beside another one
    assert [line for line in lines if len(TIME.findall(line)) > 1 or "updates/s" in line] == []
    assert all(TIME.match(line) or line.startswith("  ") for line in lines)
    # what took pages takes a screen
    started = next(index for index, line in enumerate(lines) if "Loaded train" in line)
    assert started < 50
    results = [line[9:] for line in lines if line[9:].startswith("epoch")]
    assert [" ".join(line.split()[:5]) for line in results] == [
        f"epoch {epoch} @ {7 * epoch} {tag}" for epoch in (1, 2) for tag in ("valid", "train")
    ]
    assert all(re.search(r"loss [\d.]+ .* lr [\d.e-]+  bits [4-8]", line) for line in results[1::2])
    assert re.search(r"accuracy [\d.]+  best_accuracy [\d.]+", results[2])
    assert "done training" in lines[-1]
    # the bar counts the run, and metric, rate and bits are there from the first update on, long before log_interval
    bars = re.findall(r"\| (\d+)/14 \[", written)
    assert bars[0] == "0" and "1" in bars
    numbers = re.findall(r"epoch 1/2  loss [\d.]+  accuracy [\d.]+  lr [\d.e-]+  bits \d[^\r\n\x1b]*", written)
    assert numbers and all(len(line.rstrip()) <= width for line in numbers)


def test_warnings_are_named_and_the_whole_plan_is_in_its_file(runs):
    written, code = interactive(train_command(runs, *QUANTIZED, "--fp16"), 80, runs.folder)
    assert code == 0, written
    text = " ".join(screen(written, 80))
    assert re.search(r"\d\d:\d\d:\d\d warning: common.fp16 needs a GPU", text)
    plan = json.loads((runs.folder / "run" / "quantization_plan.json").read_text())["plan"]
    assert "quantization_plan.json" in text and len(plan) > 20
    assert not any(row["quantizer"] in text for row in plan)


def test_formats_that_are_asked_for_keep_fairseqs_lines_on_a_terminal(runs):
    flags = train_command(runs, "--log-format", "simple", "--log-interval", "1")
    written, code = interactive(flags, 200, runs.folder)
    assert code == 0
    line = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \| INFO \| train_inner \| epoch 001:      1 / 7 loss=[\d.]+, nll_loss="
    assert re.search(line, written)
    assert re.search(r"\| INFO \| fairseq_cli.train \| \{'_name': None, 'common': ", written)
    assert "settings that differ" not in written and "updates/s" not in written


def test_log_files_get_fairseqs_lines_though_the_terminal_does_not(runs, tmp_path):
    words = [
        *("task=sentence_prediction", f"task.data={runs.data}", "task.num_classes=2", "criterion=sentence_prediction"),
        *("model=roberta", "model.encoder_layers=1", "model.encoder_embed_dim=16", "model.encoder_attention_heads=2"),
        *("optimizer=adam", "lr_scheduler=fixed", "dataset.batch_size=4", "optimization.max_update=3"),
        *("checkpoint.no_save=true", f"hydra.run.dir={tmp_path}/out", "dataset.num_workers=0", "quantization=int8"),
    ]
    written, code = interactive([sys.executable, "-m", "fairseq_cli.hydra_train", *words], 80, runs.folder)
    assert code == 0, written
    log = (tmp_path / "out" / "hydra_train.log").read_text()
    for part in (
        "[fairseq_cli.train][INFO] - {'_name': None, 'common'",
        "[fairseq_cli.train][INFO] - RobertaModel(\n",
        "num. shared model params: ",
        "[fairseq.training.quantized][INFO] - quantization plan\n",
        "layers.0.self_attn.q_proj.weight ",
        "[fairseq_cli.train][INFO] - Start iterating over samples",
        "[train][INFO] - epoch 001 | loss ",
    ):
        assert part in log
        assert part not in written


def test_validation_shows_every_number(runs):
    runs.trained("run", "--max-epoch", "1")
    data = os.path.relpath(runs.data, runs.folder)
    command = [sys.executable, "-m", "fairseq_cli.validate", data, "--task", "sentence_prediction"]
    written, code = interactive([*command, "--path", "run/checkpoint_best.pt", "--batch-size", "4"], 80, runs.folder)
    assert code == 0, written
    lines = [line for line in screen(written, 80) if line]
    assert all(TIME.match(line) or line.startswith("  ") for line in lines)
    assert re.search(r"valid on 'valid' subset:  loss .* accuracy .* wpb .* bsz ", " ".join(lines))


def test_a_failed_run_leaves_the_terminal_clean(runs):
    """The error is the last line, below everything else and not inside a bar."""
    flags = train_command(runs, "--lr", "1e30", "--max-epoch", "30", "--stop-min-lr", "-1")
    written, code = interactive(flags, 80, runs.folder)
    assert code == 1, written
    lines = [line for line in screen(written, 80) if line]
    assert any(line.startswith("error: ") for line in lines) and not any("updates/s" in line for line in lines)


def test_the_range_test_shows_the_bar_of_its_run(runs, repository, tmp_path):
    """Whatever the config's log format: its table is no line of fairseq's."""
    argv = [sys.executable, "-m", "fairseq_cli.precision_range_test", "--updates-per-bits", "3", "--all", "--low", "4"]
    argv += ["--config-dir", str(repository / "examples/roberta/config/finetuning"), "--config-name", "rte"]
    argv += [f"task.data={runs.data}", "task.max_positions=64", "model.max_positions=64", "dataset.num_workers=0"]
    argv += ["checkpoint.restore_file=checkpoint_last.pt", "quantization=int8", "quantization.num_bits=5"]
    argv += ["model.encoder_layers=1", "model.encoder_embed_dim=16", "model.encoder_ffn_embed_dim=32"]
    written, code = interactive([*argv, "model.encoder_attention_heads=2"], 80, tmp_path)
    assert code == 0, written
    assert re.findall(r"\| (\d+)/6 \[", written)[0] == "0" and re.search(r"epoch 1/10  loss .* bits [45]", written)
    lines = [line for line in screen(written, 80) if line]
    assert max(map(len, lines)) <= 80 and [line for line in lines if "updates/s" in line] == []
    header = next(index for index, line in enumerate(lines) if line.split() == ["bits", "first", "last", "gain"])
    rows = [line.split() for line in lines[header:] if re.match(r" +\d+ +0\.", line)]
    assert [row[0] for row in rows] == ["4", "5"]
