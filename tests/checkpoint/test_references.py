"""What a checkpoint's config refers to: other keys of the file, and nothing on the reader's machine."""

from argparse import Namespace

import pytest
import torch

from fairseq.checkpoint_utils import load_checkpoint_to_cpu
from fairseq.errors import CheckpointError

SECRET = "what only the reader knows"


def load(tmp_path, **state):
    path = tmp_path / "c.pt"
    torch.save({"model": {"w": torch.zeros(1)}, "extra_state": {}, **state}, path)
    return load_checkpoint_to_cpu(str(path))


@pytest.fixture(autouse=True)
def secret(monkeypatch):
    monkeypatch.setenv("A_SECRET", SECRET)


@pytest.mark.parametrize(
    "text",
    [
        "${oc.env:A_SECRET}",
        "${env:A_SECRET}",
        "x${oc.env:A_SECRET}",
        "${common.${oc.env:A_SECRET}}",
        "${oc.decode:'1'}",
        "${hydra:runtime.cwd}",
        "${common.suffix}",  # leads to one of those
        "${model}",  # a whole group, which could double with each step
        "${.suffix}",
    ],
)
@pytest.mark.parametrize("place", ["task", "model", "list", "plugin"])
def test_nothing_else_is_looked_up(text, place, tmp_path):
    cfg = {
        "common": {"suffix": "${oc.env:A_SECRET}"} if text == "${common.suffix}" else {},
        "task": {"_name": "masked_lm", "data": text if place == "task" else "x"},
        "model": {"_name": "roberta", **({"activation_fn": text} if place == "model" else {})},
        "optimization": {"lr": [text] if place == "list" else [0.1]},
        "criterion": {"_name": "of_a_plugin", "deep": [{"x": text}]} if place == "plugin" else {"_name": "masked_lm"},
    }
    with pytest.raises(CheckpointError, match="looked up on this machine: refused") as error:
        load(tmp_path, cfg=cfg)
    assert "\n" not in str(error.value) and SECRET not in str(error.value)


def test_nor_from_flags(tmp_path):
    args = Namespace(arch="roberta_base", task="masked_lm", data="${oc.env:A_SECRET}", criterion="masked_lm")
    with pytest.raises(CheckpointError, match="looked up on this machine: refused"):
        load(tmp_path, args=args)


def test_other_keys_of_the_file(tmp_path):
    cfg = {
        "common": {"seed": 7},
        "task": {"_name": "masked_lm", "data": "x", "seed": "${common.seed}", "sample_break_mode": "${task.no_such}"},
        "model": {"_name": "roberta"},
        "criterion": {"_name": "of_a_plugin", "seed": "${common.seed}"},
    }
    found = load(tmp_path, cfg=cfg)["cfg"]
    assert found.task.seed == 7 and found.criterion.seed == 7 and str(found.task.sample_break_mode) == "none"
