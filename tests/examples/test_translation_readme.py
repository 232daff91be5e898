"""The commands of examples/translation/README.md run on tiny data with tiny models."""

import importlib
import logging
import random
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[2] / "examples" / "translation" / "README.md"
TINY = """
    --encoder-embed-dim 16 --encoder-ffn-embed-dim 16 --encoder-layers 1 --encoder-attention-heads 2
    --decoder-embed-dim 16 --decoder-ffn-embed-dim 16 --decoder-layers 1 --decoder-attention-heads 2
    --max-update 14 --max-tokens 120 --warmup-updates 2 --num-workers 0 --cpu
"""
ADDED = {"train": TINY, "preprocess": "", "score": ""}
GENERATES = "--cpu --num-workers 0 --max-len-b 6"


def commands() -> list[list[str]]:
    """The README's command lines; its script has tests in test_multi30k.py."""
    blocks = re.findall(r"^```bash\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines if not line.startswith("examples/")]


def write_text(folder: Path) -> None:
    draw = random.Random(0)
    folder.mkdir()
    for split, count in (("train", 40), ("valid", 6), ("test", 6)):
        pairs = [[f"w{draw.randrange(9)}@@ x" for _ in range(draw.randrange(2, 7))] for _ in range(count)]
        (folder / f"{split}.de").write_text("".join(f"{' '.join(pair)}\n" for pair in pairs))
        (folder / f"{split}.en").write_text("".join(f"{' '.join(pair[::-1])}\n" for pair in pairs))
    (folder / "typed.de").write_text("w1@@ x w2@@ x\nw3@@ x\tw4@@ x\n")


@pytest.fixture
def run(tmp_path, monkeypatch, capfd, repository):
    """Runs a command line of the README in this process, made small; returns what it printed."""
    monkeypatch.chdir(tmp_path)
    write_text(tmp_path / "text")

    def call(line: list[str]) -> str:
        root = logging.getLogger()
        handlers, level = root.handlers[:], root.level
        root.handlers[:] = []
        capfd.readouterr()
        try:
            if line[0] == "python":
                monkeypatch.setattr(sys, "argv", line[1:])
                runpy.run_path(str(repository / line[1]), run_name="__main__")
            else:
                name = line[0].removeprefix("fairseq-")
                monkeypatch.setattr(sys, "argv", [*line, *shlex.split(ADDED.get(name, GENERATES))])
                importlib.import_module(f"fairseq_cli.{name}").cli_main()
        finally:
            root.handlers[:] = handlers
            root.setLevel(level)
        return capfd.readouterr().out

    return call


@pytest.mark.slow
def test_commands_of_the_readme(run, tmp_path):
    printed = {" ".join(line): run(line) for line in commands()}

    def of(beginning):
        return next(text for line, text in printed.items() if line.startswith(beginning))

    assert re.search(r'"valid_bleu": |\| bleu ', of("fairseq-train de-en-bin"))
    assert "quantization=cpt_4_8" in of("fairseq-generate de-en-bin --path cpt48")
    assert re.search(r"Generate test with beam=5: BLEU = \d", of("fairseq-generate de-en-bin --path cpt48"))
    results = (tmp_path / "fp32" / "results" / "generate-test.txt").read_text()
    assert len(re.findall(r"^H-\d+\t", results, re.MULTILINE)) == 6
    typed = of("fairseq-interactive")
    assert "C-1\tw4x" in typed and re.search(r"^H-1\t.*w4x", typed, re.MULTILINE)
    assert "BLEU4 = 100.00" in of("fairseq-score")
    (program,) = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    names: dict = {}
    exec(program.replace("de_en.translate(", "text = de_en.translate("), names)
    assert isinstance(names["text"], str)
