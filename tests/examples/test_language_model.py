"""The commands of examples/language_model/README.md run on tiny data with tiny models, each at its precision."""

import importlib
import logging
import random
import re
import shlex
import sys
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[2] / "examples" / "language_model" / "README.md"
TINY = """
    model.decoder_embed_dim=16 model.decoder_ffn_embed_dim=16 "model.adaptive_input_cutoff='12,20'"
    "model.adaptive_softmax_cutoff='12,20'" optimization.max_update=3 common.cpu=true
"""
TINY_FLAGS = (
    "--decoder-embed-dim 16 --decoder-ffn-embed-dim 16 --adaptive-input-cutoff 12,20 --adaptive-softmax-cutoff 12,20 "
    "--max-update 3 --warmup-updates 0 --num-workers 0"
)
ADDED = {"hydra_train": TINY, "train": TINY_FLAGS, "eval_lm": "--num-workers 0 --cpu", "preprocess": ""}


def commands() -> list[list[str]]:
    """The README's command lines."""
    blocks = re.findall(r"^```bash\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [shlex.split(line) for line in "".join(blocks).replace("\\\n", " ").splitlines()]


def write_text(folder: Path) -> None:
    draw = random.Random(0)
    folder.mkdir()
    for split, count in (("train", 60), ("valid", 20), ("test", 20)):
        words = [f"w{int(draw.paretovariate(1)) % 30}" for _ in range(count * 12)]
        lines = [" ".join(words[start : start + 12]) for start in range(0, len(words), 12)]
        (folder / f"{split}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture
def run(tmp_path, monkeypatch, capfd, repository):
    """Runs a command line of the README in this process, made small; returns what it printed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(repository / "examples")
    write_text(tmp_path / "wikitext-2")

    def call(line: list[str], *more: str) -> str:
        name = line[0].removeprefix("fairseq-").replace("-", "_")
        monkeypatch.setattr(sys, "argv", [*line, *shlex.split(ADDED[name]), *more])
        root = logging.getLogger()
        handlers, level = root.handlers[:], root.level
        root.handlers[:] = []
        capfd.readouterr()
        try:
            importlib.import_module(f"fairseq_cli.{name}").cli_main()
        finally:
            root.handlers[:] = handlers
            root.setLevel(level)
        return capfd.readouterr().out

    return call


@pytest.mark.slow
def test_commands_of_the_readme(run, tmp_path):
    printed = {}
    for line in commands():
        save_dir = re.search(r"save[_-]dir[= ](\S+)", " ".join(line))
        printed[save_dir[1] if save_dir else " ".join(line)] = run(line)
    assert "quantization plan" not in printed["fp32"]
    for name, preset, schedule in (
        ("static8", "cpt_4_8", "CR"),
        ("cpt48", "cpt_4_8", "CR"),
        ("int8", "int8", ""),
    ):
        assert f"quantization={preset}" in printed[name] and f"schedule {schedule}" in printed[name]
        assert (tmp_path / name / "checkpoint_best.pt").exists()
    evaluated = [output for key, output in printed.items() if key.startswith("fairseq-eval-lm")]
    assert len(evaluated) == 2
    for output in evaluated:
        assert re.search(r"Loss \(base 2\): \d\.\d{4}, Perplexity: \d+", output)
    (program,) = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    names: dict = {}
    program = program.replace("the first of the", "w1 w2 w3")
    exec(program.replace("lm.sample(", "text = lm.sample(").replace("lm.score(", "perplexity = lm.score("), names)
    assert names["text"].startswith("w1 w2 w3") and names["perplexity"] > 1
