"""The check of token ids while two threads read one data set: a block that both check counts once."""

import numpy as np
import pytest
import torch

from fairseq.data.indexed import tokens
from fairseq.data.indexed.mmap import MMapIndexedDataset
from fairseq.data.indexed.tokens import TokenCheck
from fairseq.data.indexed_dataset import make_builder
from fairseq.errors import DataError


def at_once(check, monkeypatch):
    """Let another thread look at the block that `check` is about to check."""
    inner, others = check._check, [True]

    def both(block):
        if others:
            others.clear()
            check.look(block << tokens._SHIFT, (block << tokens._SHIFT) + 1)
        inner(block)

    monkeypatch.setattr(check, "_check", both)


def test_a_block_that_two_threads_check_counts_once(monkeypatch):
    monkeypatch.setattr(tokens, "_SHIFT", 2)
    check = TokenCheck(np.array([1, 1, 1, 1, 2, 2, 2, 2, 3, 9], np.uint16), range(8), str)
    at_once(check, monkeypatch)
    check.look(0, 4)
    check.look(4, 8)
    assert check.left == 1  # the last one, which has an id that is too large
    with pytest.raises(DataError, match="is token 9"):
        check.look(8, 10)


def test_another_thread_reads_the_last_block(tmp_path, monkeypatch):
    prefix = str(tmp_path / "train")
    builder = make_builder(f"{prefix}.bin", impl="mmap", vocab_size=10)
    builder.add_item(torch.tensor([4, 5, 6]))
    builder.finalize(f"{prefix}.idx")
    dataset = MMapIndexedDataset(prefix)
    dataset.expect_ids_of(range(10))
    look = TokenCheck.look

    def looked(check, start, end):
        look(check, start, end)
        dataset._tokens = None

    monkeypatch.setattr(TokenCheck, "look", looked)
    assert dataset[0].tolist() == [4, 5, 6]
