"""The pre-training commands of examples/roberta/README.md and those of examples/bart/README.md run on tiny data."""

import importlib
import logging
import random
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SIZE = {"layers": 1, "embed_dim": 16, "ffn_embed_dim": 16, "attention_heads": 2}
ENCODER = " ".join(f"--encoder-{key.replace('_', '-')} {value}" for key, value in SIZE.items())
ADDED = {
    "hydra_train": " ".join(f"model.encoder_{key}={value}" for key, value in SIZE.items())
    + " optimization.max_update=2 optimization.update_freq=[1] common.cpu=true task.tokens_per_sample=32",
    "train": f"{ENCODER} {ENCODER.replace('encoder', 'decoder')} --max-update 3 --warmup-updates 0 --cpu"
    " --num-workers 0 --update-freq 1 --lr 0.01",
    "generate": "--cpu --num-workers 0 --max-len-b 5",
    "preprocess": "",
}
WORDS = ["hello", "world", "the", "cat", "sat", "there", "worldly", "."]


def commands(text: str) -> list[list[str]]:
    """The command lines in the bash blocks of a README."""
    blocks = re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [shlex.split(line) for line in "".join(blocks).replace("\\\n", " ").splitlines()]


def write_text(folder: Path) -> None:
    """A BPE of a few merges, text, pairs of texts, and sentences with labels."""
    from hub_cases import write_folder

    write_folder(folder / "gpt2_bpe")
    draw = random.Random(0)

    def line() -> str:
        return " ".join(draw.choices(WORDS, k=draw.randrange(3, 7)))

    for split, count in (("train", 30), ("valid", 9)):
        lines = [line() if number % 5 else "" for number in range(count)]
        (folder / f"wiki.{split}.raw").write_text("".join(f"{each}\n" for each in lines))


def write_pairs(folder: Path) -> None:
    """Articles and summaries, and pairs of sentences with labels, in the BPE of `wiki.train.bpe`."""
    from fairseq import options
    from fairseq_cli import preprocess

    lines = [line for line in (folder / "wiki.train.bpe").read_text().splitlines() if line][:12]
    parts = {"source": lines, "target": [line.split()[0] for line in lines]}
    parts |= {"input0": lines, "input1": lines[::-1], "label": [str(number % 2) for number in range(12)]}
    for part, texts in parts.items():
        for split in ("train", "valid", "test"):
            (folder / f"cnn.{split}.{part}").write_text("".join(f"{text}\n" for text in texts))
    for part in ("input0", "input1", "label"):
        words = ["--only-source", f"--destdir={folder}/RTE-bin/{part}", "--workers=1"]
        words += [f"--{split}pref={folder}/cnn.{split}.{part}" for split in ("train", "valid")]
        words += [] if part == "label" else [f"--srcdict={folder}/gpt2_bpe/dict.txt"]
        preprocess.main(options.get_preprocessing_parser().parse_args(words))


@pytest.fixture
def run(tmp_path, monkeypatch, capfd, repository):
    """Runs a command line of a README in this process, made small; returns what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(repository / "tests" / "conformance"))
    monkeypatch.syspath_prepend(str(repository))
    (tmp_path / "examples").symlink_to(repository / "examples")
    write_text(tmp_path)

    def call(line: list[str]) -> str:
        root = logging.getLogger()
        handlers, level = root.handlers[:], root.level
        root.handlers[:] = []
        capfd.readouterr()
        try:
            if line[:2] == ["python", "-m"]:
                monkeypatch.setattr(sys, "argv", line[2:])
                runpy.run_path(str(repository / f"{line[2].replace('.', '/')}.py"), run_name="__main__")
            else:
                name = line[0].removeprefix("fairseq-").replace("-", "_")
                monkeypatch.setattr(sys, "argv", [*line, *shlex.split(ADDED[name])])
                importlib.import_module(f"fairseq_cli.{name}").cli_main()
        finally:
            root.handlers[:] = handlers
            root.setLevel(level)
        return capfd.readouterr().out

    return call


def section(readme: str, title: str) -> str:
    """What stands below a heading of a README."""
    text = (EXAMPLES / readme / "README.md").read_text(encoding="utf-8")
    return re.split(r"^## ", text.partition(f"## {title}\n")[2], flags=re.MULTILINE)[0]


@pytest.mark.slow
def test_commands_of_the_readmes(run, tmp_path):
    roberta = commands(section("roberta", "Pre-training"))
    assert len(roberta) == 6
    printed = [run(line) for line in roberta]
    assert "whole-words" in printed[4] and "quantization=cpt_4_8" in printed[5]
    for folder in ("pretrained", "whole-words", "cpt"):
        assert (tmp_path / folder / "checkpoint_best.pt").exists()

    write_pairs(tmp_path)
    bart = commands(section("bart", "Pre-training"))[1:] + commands(
        section("bart", "Fine-tuning")
    )  # the data are there
    assert len(bart) == 5
    printed = [run(line) for line in bart]
    assert "samples of denoising_dataset" in printed[0]
    assert re.search(r"Loaded checkpoint \S*bart/checkpoint_best.pt", printed[2])
    assert len(re.findall(r"^H-\d+\t", printed[3], re.MULTILINE)) == 12
    assert "accuracy" in printed[4]
    (program,) = re.findall(r"^```python\n(.*?)^```", section("bart", "From Python"), re.MULTILINE | re.DOTALL)
    names: dict = {}
    program = program.replace("The cat <mask> on the <mask>.", "the <mask> cat <mask>")
    exec(program.replace("bart.fill", "filled = bart.fill").replace("\ntuned.pre", "\nlabels = tuned.pre"), names)
    assert len(names["filled"][0]) == 3 and names["labels"].shape == (1, 2)
