"""Huffman-coded data sets. Codes, bytes and files are those that fairseq 0.12 made of the same words (run by hand with
fairseq-fixed 0.12.3; its `decode` needs an older bitarray).
"""

import pickle
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairseq.data.huffman import (
    HuffmanCodeBuilder,
    HuffmanCoder,
    HuffmanMMapIndexedDataset,
    HuffmanMMapIndexedDatasetBuilder,
)
from fairseq.data.indexed_dataset import infer_dataset_impl, make_builder, make_dataset
from fairseq.errors import ConfigError, DataError

CODES = {
    "zz": "00",
    "a": "010",
    "b": "011",
    "é": "100",
    "c": "1010",
    "d": "1011",
    "<s>": "1100",
    "<pad>": "1101",
    "</s>": "1110",
    "<unk>": "1111",
}
ITEMS = [["a", "b", "zz"], ["c"] * 20, ["é", "nope", "d"]]
DATA = "4c80aaaaaaaaaaaaaaaaaaaa809f70"
INDEX = (
    "485546464944580000"
    "0100000000000000"
    "0f00000000000000"
    "0300000000000000"
    "030000001400000003000000"
    "0200000000000000"
    "0d00000000000000"
    "0f00000000000000"
)
WORDS = b"zz\t5\na\t3\nb\t2\n\xc3\xa9\t2\nc\t1\nd\t1\n<s>\t1\n<pad>\t1\n</s>\t1\n<unk>\t1\n"


def coder():
    builder = HuffmanCodeBuilder()
    builder.add_symbols("a", "b", "a", "c", "a", "b", "d")
    builder.increment("zz", 5)
    builder.increment("é", 2)
    return builder.build_code()


@pytest.fixture
def prefix(tmp_path):
    path = str(tmp_path / "train")
    with HuffmanMMapIndexedDatasetBuilder(path, coder()) as builder:
        for item in ITEMS:
            builder.add_item(item)
    return path


def test_codes_are_fairseqs():
    made = coder()
    assert {word: made.get_code(word) for word in CODES} == CODES
    assert [made.get_node(word).id for word in CODES] == list(range(10)) and made.get_code("nope") is None
    assert made.encode(["nope", "é"]).hex() == "f9" and made.encode([]).hex() == "80"
    assert made.encode(["a"] * 9).hex() == "49249250"
    assert [node.symbol for node in made.decode(bytes.fromhex("f9"))] == ["<unk>", "é"]
    other = HuffmanCodeBuilder()
    other.add_symbols("a", "q", "q")
    merged = made.merge(other.build_code())
    assert [merged.get_code(word) for word in "abq"] == ["11", "0101", "0110"]


def test_files_are_fairseqs(prefix):
    files = {end: Path(f"{prefix}.{end}").read_bytes() for end in ("bin", "idx", "vocab")}
    assert files["bin"].hex() == DATA and files["vocab"] == WORDS
    assert files["idx"].hex() == INDEX


def test_reading(prefix, tmp_path):
    assert infer_dataset_impl(prefix) == "huffman" and HuffmanMMapIndexedDataset.exists(prefix)
    data = make_dataset(prefix, "infer")
    assert [data[i].tolist() for i in range(3)] == [[1, 2, 0], [4] * 20, [3, 9, 5]]
    assert data.sizes.tolist() == [3, 20, 3] and list(data.get_symbols(2)) == ["é", "<unk>", "d"]
    assert pickle.loads(pickle.dumps(data))[1].tolist() == [4] * 20
    dictionary = data.coder.to_dictionary()
    assert dictionary.string(data[0]) == "a b zz" and dictionary.index("nope") == dictionary.unk() == 9
    more = HuffmanMMapIndexedDatasetBuilder(str(tmp_path / "more"), data.coder)
    more.open()
    more.add_item(["d"])
    more.append(prefix)
    more.close()
    joined = HuffmanMMapIndexedDataset(str(tmp_path / "more"))
    assert [joined[i].tolist() for i in range(4)] == [[5], [1, 2, 0], [4] * 20, [3, 9, 5]]
    with pytest.raises(ConfigError, match="HuffmanMMapIndexedDatasetBuilder"):
        make_builder(str(tmp_path / "x.bin"), "huffman")


def test_what_is_interrupted_has_no_index(prefix):
    with pytest.raises(KeyboardInterrupt), HuffmanMMapIndexedDatasetBuilder(prefix, coder()) as builder:
        builder.add_item(["a"])
        raise KeyboardInterrupt
    assert not HuffmanMMapIndexedDataset.exists(prefix) and make_dataset(prefix, "huffman") is None


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    counts=st.dictionaries(st.text("abcdefgh ", min_size=1, max_size=3), st.integers(1, 1000), min_size=1),
    seed=st.integers(0, 99),
)
def test_what_is_encoded_is_decoded(counts, seed):
    builder = HuffmanCodeBuilder()
    for word, count in counts.items():
        builder.increment(word, count)
    made = builder.build_code()
    words = random.Random(seed).choices(list(counts), k=seed)
    assert [node.symbol for node in made.decode(made.encode(words))] == words


@pytest.mark.parametrize(
    ("end", "change", "message"),
    [
        ("idx", lambda data: data[:-3], "bytes long"),
        ("idx", lambda data: b"MMIDIDX\0\0" + data[9:], "no index of Huffman codes"),
        ("idx", lambda data: data[:9] + b"\7" + data[10:], "version 7"),
        ("idx", lambda data: data[:-16] + b"\x7f" + data[-15:], "end before they begin"),
        ("bin", lambda data: data[:-1], "15 bytes by its index"),
        ("bin", lambda data: b"\0\0" + data[2:], "item 0: a sequence of Huffman codes has no end"),
        ("bin", lambda data: b"\x50\0" + data[2:], "item 0: 1 words, 3 by the index"),
        ("vocab", lambda data: b"", "is empty"),
        ("vocab", lambda data: data + b"word\n", "line 11: 'word\\\\n' is no word, tab and frequency"),
        ("vocab", lambda data: b"\x80\x04cos\nsystem\n", "is no UTF-8 text"),
    ],
)
def test_damage_is_one_error(prefix, end, change, message):
    path = Path(f"{prefix}.{end}")
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DataError, match=message):
        HuffmanMMapIndexedDataset(prefix)[0]


def test_coder_files(tmp_path):
    path = str(tmp_path / "coder.vocab")
    coder().to_file(path)
    assert HuffmanCoder.from_file(path) == coder()
    with pytest.raises(DataError, match="No such file"):
        HuffmanCoder.from_file(str(tmp_path / "none"))
