"""A tiny sentence-pair task and runs of `fairseq-train` on it, inside the test's process."""

import logging
import random
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from fairseq.data import Dictionary, indexed_dataset
from fairseq.logging.history import read_history

WORDS = [f"w{number}" for number in range(20)]
FLAGS = """
    --task sentence_prediction --criterion sentence_prediction --num-classes 2 --init-token 0 --separator-token 2
    --arch roberta_base --encoder-layers 1 --encoder-embed-dim 16 --encoder-ffn-embed-dim 16
    --encoder-attention-heads 2 --max-positions 64 --dropout 0.1 --attention-dropout 0.1 --shorten-method truncate
    --optimizer adam --lr 0.01 --lr-scheduler polynomial_decay --warmup-updates 4 --total-num-update 100
    --batch-size 4 --required-batch-size-multiple 1 --max-epoch 2 --num-workers 0 --cpu
    --best-checkpoint-metric accuracy --maximize-best-checkpoint-metric --no-epoch-checkpoints
    --log-format simple --log-interval 1
""".split()  # noqa: SIM905 - a command line


def write_split(folder: Path, split: str, pairs, labels, dictionary, label_dictionary) -> None:
    columns = {
        "input0": (dictionary, [pair[0] for pair in pairs]),
        "input1": (dictionary, [pair[1] for pair in pairs]),
        "label": (label_dictionary, labels),
    }
    for name, (vocabulary, lines) in columns.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        prefix = folder / name / split
        builder = indexed_dataset.make_builder(f"{prefix}.bin", "mmap", len(vocabulary))
        for line in lines:
            builder.add_item(vocabulary.encode_line(line, add_if_not_exist=False, append_eos=name != "label").int())
        builder.finalize(f"{prefix}.idx")
        vocabulary.save(str(folder / name / "dict.txt"))


def make_data(folder: Path, train: int = 26, valid: int = 11, words=WORDS, label_names=("no", "yes")) -> Path:
    """Pairs of short sentences; the label says whether the second one repeats the first one's first word."""
    dictionary, label_dictionary = Dictionary(), Dictionary()
    for word in words:
        dictionary.add_symbol(word)
    for label in label_names:
        label_dictionary.add_symbol(label)
    rng = random.Random(1)
    for split, size in (("train", train), ("valid", valid), ("valid1", 5)):
        pairs, labels = [], []
        for index in range(size):
            first, second = (rng.choices(words, k=rng.randint(2, 7)) for _ in range(2))
            label = label_names[index % len(label_names)]
            pairs.append((" ".join(first), " ".join(second + first[:1] if label == "yes" else second)))
            labels.append(label)
        write_split(folder, split, pairs, labels, dictionary, label_dictionary)
    return folder


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    """The data folder: train 26, valid 11, valid1 5 examples. Tests that damage it make their own."""
    return make_data(tmp_path_factory.mktemp("data") / "bin")


class Runs:
    """`run(...)` is one call of a command; what it trained lies in `save_dir`."""

    def __init__(self, data: Path, folder: Path, monkeypatch, capsys):
        self.data, self.folder, self.monkeypatch, self.capsys = data, folder, monkeypatch, capsys

    def argv(self, name: str, *flags: str, data=None) -> list[str]:
        return [str(data or self.data), *FLAGS, "--save-dir", str(self.folder / name), *map(str, flags)]

    def call(self, main, argv) -> SimpleNamespace:
        """Run a command's entry point as the shell would; returns exit code, stdout and stderr."""
        self.monkeypatch.setattr(sys, "argv", ["command", *map(str, argv)])
        handlers = logging.getLogger().handlers[:]
        self.capsys.readouterr()
        stream = logging.StreamHandler(sys.stdout)  # pytest's own handler keeps basicConfig from adding one
        stream.setFormatter(logging.Formatter("%(levelname)s | %(name)s | %(message)s"))
        logging.getLogger().addHandler(stream)
        level = logging.getLogger().level
        logging.getLogger().setLevel("INFO")
        code, value = 0, None
        try:
            value = main()
        except SystemExit as exit:
            code = exit.code or 0
        finally:
            logging.getLogger().handlers[:] = handlers
            logging.getLogger().setLevel(level)
        out, err = self.capsys.readouterr()
        return SimpleNamespace(code=code, value=value, out=out, err=err)

    def train(self, name: str, *flags: str, data=None) -> SimpleNamespace:
        from fairseq_cli.train import cli_main

        return self.call(cli_main, self.argv(name, *flags, data=data))

    def trained(self, name: str, *flags: str, data=None) -> SimpleNamespace:
        result = self.train(name, *flags, data=data)
        assert result.code == 0, result.err + result.out[-2000:]
        return result

    def hydra(self, *words: str) -> SimpleNamespace:
        from fairseq_cli.hydra_train import cli_main

        return self.call(lambda: cli_main(list(words)), words)

    def losses(self, name: str) -> dict[int, float]:
        """Unrounded loss of every update."""
        records = read_history(self.folder / name)
        return {record["num_updates"]: record["loss"] for record in records if record["tag"] == "train_inner"}

    def checkpoint(self, name: str, file: str = "checkpoint_last.pt") -> dict:
        return torch.load(self.folder / name / file, weights_only=False)

    def assert_same_run(self, one: str, two: str) -> None:
        assert self.losses(one) == self.losses(two)
        a, b = self.checkpoint(one), self.checkpoint(two)
        assert a["model"].keys() == b["model"].keys()
        assert all(torch.equal(value, b["model"][key]) for key, value in a["model"].items())
        assert a["extra_state"]["train_iterator"] == b["extra_state"]["train_iterator"]
        assert a["extra_state"].get("best") == b["extra_state"].get("best")


@pytest.fixture
def runs(data, tmp_path, monkeypatch, capsys) -> Runs:
    return Runs(data, tmp_path, monkeypatch, capsys)
