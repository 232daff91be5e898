"""A file or folder that may not be read is said to be just that, not to be missing or damaged."""

import os

import pytest
import torch

from fairseq import tasks
from fairseq.checkpoint_utils import load_checkpoint_to_cpu
from fairseq.data import Dictionary
from fairseq.data.encoders import byte_level, hf_tokenizer
from fairseq.data.splits import load_indexed_dataset
from fairseq.dataclass.finish import finish
from fairseq.dataclass.initialize import compose
from fairseq.dataclass.typed import typed_config
from fairseq.errors import FairseqError
from fairseq.interop import hf_files

NOBODY = 65534
FILES = ("c.pt", "dict.txt", "train.idx", "train.bin", "x.yaml", "config.json", "vocab.json", "merges.txt",
         "tokenizer.json", "model.safetensors")  # fmt: skip


def task_of(folder):
    return tasks.setup_task(finish(typed_config({"task": {"_name": "masked_lm", "data": str(folder)}})).task)


READERS = {
    "checkpoint": lambda folder: load_checkpoint_to_cpu(str(folder / "c.pt")),
    "dictionary": lambda folder: Dictionary.load(str(folder / "dict.txt")),
    "task": task_of,
    "data": lambda folder: load_indexed_dataset(str(folder / "train"), None),
    "config": lambda folder: compose("x", folder),
    "config.json": hf_files.read_config,
    "safetensors": hf_files.read_tensors,
    "bpe": lambda folder: byte_level.ByteLevelBPE(str(folder / "vocab.json"), str(folder / "merges.txt")),
    "tokenizer": lambda folder: hf_tokenizer.from_json(str(folder / "tokenizer.json")),
}


@pytest.fixture
def without_rights(tmp_path):
    """Call with the paths that may not be read; root reads everything, and acts as another user meanwhile."""
    taken = []

    def take(*paths):
        for path in paths:
            path.chmod(0)
            taken.append(path)
        if os.geteuid() == 0:
            for parent in (tmp_path, *tmp_path.parents[:2]):
                parent.chmod(0o755)
            os.seteuid(NOBODY)

    yield take
    if os.geteuid() == NOBODY:
        os.seteuid(0)
    for path in taken:
        path.chmod(0o755)


def folder_of_files(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in FILES:
        (folder / name).write_bytes(b"{}")
    torch.save({"model": {}}, folder / "c.pt")
    return folder


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no owners of files here")
@pytest.mark.parametrize("closed", ["folder", "files"])
@pytest.mark.parametrize("name", READERS)
def test_the_reason_is_given(name, closed, tmp_path, without_rights):
    folder = folder_of_files(tmp_path)
    without_rights(*([folder] if closed == "folder" else folder.iterdir()))
    with pytest.raises((FairseqError, PermissionError), match=r"(?i)permission denied") as caught:
        READERS[name](folder)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)
    assert "damaged" not in str(caught.value) and "no such" not in str(caught.value).lower()
