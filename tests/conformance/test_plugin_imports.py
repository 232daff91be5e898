"""What plugins import from fairseq 0.12 is here under the same path (plugin_imports.txt: `module: names`)."""

import importlib
import subprocess
from pathlib import Path

import pytest
import torch

LIST = Path(__file__).with_name("plugin_imports.txt")
LINES = [line.split(": ") for line in LIST.read_text().splitlines()]

LIVE = """
import importlib, sys
for line in open(sys.argv[1]):
    module, _, names = line.partition(": ")
    for name in names.split():
        if not hasattr(importlib.import_module(module), name):
            importlib.import_module(f"{module}.{name}")
"""


@pytest.mark.parametrize(("module", "names"), LINES, ids=[module for module, _ in LINES])
def test_names(module, names):
    imported = importlib.import_module(module)
    for name in names.split():
        assert hasattr(imported, name) or importlib.import_module(f"{module}.{name}"), name


@pytest.mark.oracle
def test_fairseq_has_them(oracle_python, oracle_env, tmp_path):
    subprocess.run([oracle_python, "-W", "ignore", "-c", LIVE, LIST], env=oracle_env, cwd=tmp_path, check=True)


def test_padding_moves_to_the_other_side():
    from fairseq import utils

    left = torch.tensor([[1, 1, 5, 6], [7, 8, 9, 4], [1, 2, 3, 4]])
    right = torch.tensor([[5, 6, 1, 1], [7, 8, 9, 4], [2, 3, 4, 1]])
    assert torch.equal(utils.convert_padding_direction(left, 1, left_to_right=True), right)
    assert torch.equal(utils.convert_padding_direction(right, 1, right_to_left=True), left)
    assert torch.equal(utils.convert_padding_direction(right, 1, left_to_right=True), right)  # is there already


def test_word_vectors(tmp_path):
    from fairseq import utils
    from fairseq.data import Dictionary
    from fairseq.errors import DataError

    (tmp_path / "v.txt").write_text("2 3\nthe 0.1 0.2 0.3\ncat 1 2 3\n")
    vectors = utils.parse_embedding(str(tmp_path / "v.txt"))
    words = Dictionary()
    index = words.add_symbol("cat")
    table = utils.load_embedding(vectors, words, torch.nn.Embedding(len(words), 3))
    assert table.weight[index].tolist() == [1, 2, 3]
    (tmp_path / "v.txt").write_text("1 2\nthe x y\n")
    with pytest.raises(DataError, match=r"v.txt, line 2: expected a word and numbers"):
        utils.parse_embedding(str(tmp_path / "v.txt"))
