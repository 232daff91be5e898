"""Whatever is in a file: a reader gives what was written, or a DataError. Never another exception or endless memory."""

import io
import tempfile
from pathlib import Path

import numpy as np
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fairseq.data import Dictionary
from fairseq.data.indexed_dataset import make_builder, make_dataset
from fairseq.errors import DataError

token_lists = st.lists(st.lists(st.integers(0, 90), max_size=6), max_size=6)
edits = st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), min_size=1, max_size=4)
impls = st.sampled_from(["mmap", "cached"])


def write(prefix, items, impl):
    builder = make_builder(f"{prefix}.bin", impl, vocab_size=100)
    for item in items:
        builder.add_item(torch.tensor(item, dtype=torch.int64))
    builder.finalize(f"{prefix}.idx")


def read(prefix, impl):
    dataset = make_dataset(prefix, impl, fix_lua_indexing=True)
    assert dataset.sizes.dtype.kind == "i"
    return [dataset[i].tolist() for i in range(len(dataset))]


@settings(max_examples=60, deadline=None)
@given(token_lists, impls)
def test_what_is_written_is_read(items, impl):
    with tempfile.TemporaryDirectory() as folder:
        write(f"{folder}/data", items, impl)
        assert read(f"{folder}/data", impl) == items


@settings(max_examples=150, deadline=None)
@given(token_lists, impls, edits, st.sampled_from([".idx", ".bin"]), st.integers(0, 40))
@example([[1, 2], [3]], "mmap", [(9 + 8 + 1 + 7, 0x7F)], ".idx", 30)  # 2^62 items
@example([[1, 2], [3]], "mmap", [(9 + 8, 77)], ".idx", 30)  # no such type of number
@example([[1, 2], [3]], "mmap", [(9 + 8 + 1 + 8 + 3, 0x7F)], ".idx", 30)  # an item of 2^31 numbers
@example([[1, 2], [3]], "mmap", [(9 + 8 + 1 + 8 + 8 + 7, 0xFF)], ".idx", 30)  # an item that starts before the file
@example([[1, 2], [3]], "cached", [(8 + 24 + 7, 0x7F)], ".idx", 30)
@example([[1, 2], [3]], "cached", [(8 + 32 + 7, 0x7F)], ".idx", 30)
@example([[1, 2], [3]], "mmap", [(0, 0)], ".bin", 19)
def test_changed_bytes_give_items_or_a_data_error(items, impl, changes, extension, cut):
    with tempfile.TemporaryDirectory() as folder:
        write(f"{folder}/data", items, impl)
        path = Path(folder, f"data{extension}")
        content = bytearray(path.read_bytes())
        for place, byte in changes:
            if content:
                content[place % len(content)] = byte
        path.write_bytes(bytes(content[: len(content) - cut] if cut < 20 else content))
        try:
            read(f"{folder}/data", impl)
        except DataError as error:
            assert folder in str(error) and "\n" not in str(error)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=120), st.binary(max_size=40), impls, st.booleans())
@example(b"\x04" + b"\xff" * 8, b"", "mmap", True)
@example(b"\x04" + b"\0" * 5 + b"\x10\0\0" + b"\1\0\0\0" * 8, b"", "mmap", True)  # 2^44 items
@example(b"\3" + b"\0" * 7 + b"\4" + b"\0" * 7 + b"\xff" * 16, b"", "cached", True)
def test_arbitrary_bytes_give_items_or_a_data_error(index, data, impl, with_magic):
    magic = {"mmap": b"MMIDIDX\0\0\1\0\0\0\0\0\0\0", "cached": b"TNTIDX\0\0\1\0\0\0\0\0\0\0"}[impl]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "data.idx").write_bytes(magic + index if with_magic else index)
        Path(folder, "data.bin").write_bytes(data)
        try:
            read(f"{folder}/data", impl)
        except DataError as error:
            assert folder in str(error) and "\n" not in str(error)


symbols = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters=" "), min_size=1, max_size=5).filter(
    lambda word: word.split() == [word] and not word.startswith("#fairseq")
)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(symbols, st.integers(0, 10**12), max_size=12))
def test_dictionaries_survive_their_file(counts):
    d = Dictionary()
    for word, n in counts.items():
        d.add_symbol(word, n)
    with tempfile.TemporaryDirectory() as folder:
        d.save(f"{folder}/dict.txt")
        again = Dictionary.load(f"{folder}/dict.txt")
    # words that are special symbols already are counted, not saved
    assert again.symbols == d.symbols and again.count[4:] == d.count[4:]


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
@example("a 1\na 2\n")
@example("a\n")
@example("a 1 #fairseq:overwrite\n<s> 3\n")
@example("a -1\n")
@example("a 99999999999999999999999\n")
@example("\u2028 1\n")
@example(" 1\n")
def test_any_text_is_a_dictionary_or_a_data_error(text):
    try:
        d = Dictionary.load(io.StringIO(text))
    except DataError as error:
        assert "line " in str(error) and "\n" not in str(error)
        return
    assert len(d) == 4 + len(text.removesuffix("\n").split("\n")) - (text == "")
    assert np.array_equal(d.encode_line(" ".join(d.symbols[:4])), [0, 1, 2, 3, 2])
