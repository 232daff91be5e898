"""Indexed datasets: bytes as fairseq writes them, reading, merging, pickling, and what is said of damaged files."""

import pickle
import struct
import tracemalloc

import numpy as np
import pytest
import torch

from fairseq.data import (
    Dictionary,
    IdDataset,
    MMapIndexedDataset,
    NestedDictionaryDataset,
    PadDataset,
    SortDataset,
)
from fairseq.data.indexed import files, tokens
from fairseq.data.indexed.files import check_files
from fairseq.data.indexed.mmap_builder import MMapIndexedDatasetBuilder
from fairseq.data.indexed_dataset import (
    best_fitting_int_dtype,
    dataset_exists,
    get_available_dataset_impl,
    infer_dataset_impl,
    make_builder,
    make_dataset,
)
from fairseq.data.iterators import EpochBatchIterator
from fairseq.data.ragged import BatchReader
from fairseq.data.splits import load_indexed_dataset
from fairseq.errors import ConfigError, DataError

ITEMS = [[1, 2, 3], [], [7]]

# What fairseq 0.12 wrote for ITEMS: (.idx, .bin), with impl and vocab_size.
WRITTEN = {
    ("mmap", 100): (
        b"MMIDIDX\0\0" + struct.pack("<QBQ", 1, 8, 3) + struct.pack("<3i", 3, 0, 1) + struct.pack("<3q", 0, 6, 6),
        struct.pack("<4H", 1, 2, 3, 7),
    ),
    ("mmap", None): (
        b"MMIDIDX\0\0" + struct.pack("<QBQ", 1, 9, 3) + struct.pack("<3i", 3, 0, 1) + struct.pack("<3q", 0, 12, 12),
        struct.pack("<4I", 1, 2, 3, 7),
    ),
    ("mmap", 2**32 - 1): (
        b"MMIDIDX\0\0" + struct.pack("<QBQ", 1, 5, 3) + struct.pack("<3i", 3, 0, 1) + struct.pack("<3q", 0, 24, 24),
        struct.pack("<4q", 1, 2, 3, 7),
    ),
    ("cached", 100): (
        b"TNTIDX\0\0"
        + struct.pack("<5Q", 1, 4, 4, 3, 3)
        + struct.pack("<4q", 0, 1, 2, 3)
        + struct.pack("<4q", 0, 3, 3, 4)
        + struct.pack("<3q", 3, 0, 1),
        struct.pack("<4i", 2, 3, 4, 8),
    ),
}


def write(folder, items=ITEMS, impl="mmap", vocab_size=100, name="data"):
    prefix = str(folder / name)
    builder = make_builder(prefix + ".bin", impl, vocab_size=vocab_size)
    for item in items:
        builder.add_item(torch.tensor(item, dtype=torch.int32))
    builder.finalize(prefix + ".idx")
    return prefix


def items_of(dataset):
    return [dataset[i].tolist() for i in range(len(dataset))]


@pytest.mark.parametrize("impl, vocab_size", WRITTEN)
def test_bytes_are_those_of_fairseq(tmp_path, impl, vocab_size):
    prefix = write(tmp_path, impl=impl, vocab_size=vocab_size)
    index, data = WRITTEN[impl, vocab_size]
    assert (tmp_path / "data.idx").read_bytes() == index
    assert (tmp_path / "data.bin").read_bytes() == data
    dataset = make_dataset(prefix, "infer", fix_lua_indexing=True)
    assert items_of(dataset) == ITEMS and dataset.sizes.tolist() == [3, 0, 1]
    assert all(dataset[i].dtype == torch.int64 for i in range(3))


def test_element_types():
    sizes = [None, 65499, 65500, 2**32 - 2, 2**32 - 1]
    assert [best_fitting_int_dtype(size) for size in sizes] == [np.uint32, np.uint16, np.uint32, np.uint32, np.int64]


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.int32, np.int64, np.float64, np.uint64])
def test_every_element_type_can_be_read(tmp_path, dtype):
    builder = MMapIndexedDatasetBuilder(str(tmp_path / "data.bin"), dtype=dtype)
    builder.add_item([1, 2])
    builder.add_item(np.array([[3], [4]]))
    builder.finalize(str(tmp_path / "data.idx"))
    dataset = MMapIndexedDataset(str(tmp_path / "data"))
    assert items_of(dataset) == [[1, 2], [3, 4]]
    assert dataset[0].dtype == (torch.float64 if dtype == np.float64 else torch.int64)


def test_a_value_that_does_not_fit_is_an_error_instead_of_another_value(tmp_path):
    builder = make_builder(str(tmp_path / "data.bin"), "mmap", vocab_size=100)
    with pytest.raises(DataError, match="value 70000 does not fit elements of type uint16"):
        builder.add_item(torch.tensor([5, 70000]))
    with pytest.raises(DataError, match="value -1 does not fit"):
        builder.add_item(torch.tensor([-1]))


@pytest.mark.parametrize("impl", ["mmap", "cached"])
def test_merging_appends_items(tmp_path, impl):
    part = write(tmp_path, impl=impl, name="part")
    builder = make_builder(str(tmp_path / "all.bin"), impl, vocab_size=100)
    builder.add_item(torch.tensor([9, 9]))
    builder.merge_file_(part)
    builder.add_item(torch.tensor([4]))
    builder.finalize(str(tmp_path / "all.idx"))
    merged = write(tmp_path, [[9, 9], *ITEMS, [4]], impl=impl, name="at-once")
    for extension in (".bin", ".idx"):
        assert (tmp_path / f"all{extension}").read_bytes() == (tmp_path / f"at-once{extension}").read_bytes()
    assert items_of(make_dataset(merged, impl, fix_lua_indexing=True)) == [[9, 9], *ITEMS, [4]]


def test_merging_refuses_other_types_and_truncated_parts(tmp_path):
    part = write(tmp_path, vocab_size=100_000, name="part")
    builder = make_builder(str(tmp_path / "all.bin"), "mmap", vocab_size=100)
    with pytest.raises(DataError, match="uint32"):
        builder.merge_file_(part)
    part = write(tmp_path, name="part")
    (tmp_path / "part.bin").write_bytes(b"\1\0")
    with pytest.raises(DataError, match="2 bytes long, 8 expected"):
        builder.merge_file_(part)


def test_empty_dataset(tmp_path):
    dataset = make_dataset(write(tmp_path, []), "mmap")
    assert len(dataset) == 0 and dataset.sizes.tolist() == []
    assert len(make_dataset(write(tmp_path, [], impl="cached"), "cached")) == 0


def test_indices(tmp_path):
    dataset = make_dataset(write(tmp_path), "mmap")
    assert dataset[-1].tolist() == [7]
    with pytest.raises(IndexError):
        dataset[3]
    assert dataset[0] is not dataset[0]  # a caller may change what it got
    assert (dataset.num_tokens(0), dataset.size(2), dataset.num_tokens_vec([2, 0]).tolist()) == (3, 1, [1, 3])
    legacy = make_dataset(write(tmp_path, impl="lazy"), "lazy", fix_lua_indexing=True)
    for index in (-1, 3):
        with pytest.raises(IndexError):
            legacy[index]
    assert make_dataset(write(tmp_path, impl="lazy"), "lazy")[0].tolist() == [2, 3, 4]


def test_reading_several_items_at_once(tmp_path):
    dataset = make_dataset(write(tmp_path), "mmap")
    ragged = dataset.gather(BatchReader([2, 0, 1, 0]))
    assert ragged.flat.tolist() == [7, 1, 2, 3, 1, 2, 3] and ragged.lengths.tolist() == [1, 3, 0, 3]
    assert dataset.read_range(0, 2).tolist() == [1, 2, 3, 7] and dataset.read_range(2, 2).tolist() == [7]


@pytest.mark.parametrize("impl", ["mmap", "cached", "lazy"])
def test_pickling_sends_the_path(tmp_path, impl):
    dataset = make_dataset(write(tmp_path, [[5] * 10_000], impl=impl), impl, fix_lua_indexing=True)
    sent = pickle.dumps(dataset)
    assert len(sent) < 500
    assert items_of(pickle.loads(sent)) == [[5] * 10_000]


def test_which_format(tmp_path):
    mmap, cached = write(tmp_path, name="m"), write(tmp_path, impl="cached", name="c")
    (tmp_path / "text").write_text("a b\n")
    names = [mmap, cached, str(tmp_path / "text"), str(tmp_path / "absent")]
    assert [infer_dataset_impl(name) for name in names] == ["mmap", "cached", "raw", None]
    assert [dataset_exists(name, "mmap") for name in names] == [True, True, False, False]
    assert [dataset_exists(name, "raw") for name in names] == [False, False, True, False]
    assert make_dataset(names[3], "mmap") is None and make_dataset(names[3], "infer") is None
    assert {"raw", "lazy", "cached", "mmap"} <= set(get_available_dataset_impl())
    with pytest.raises(ConfigError, match="did you mean 'mmap'"):
        make_dataset(mmap, "mmaps")
    with pytest.raises(DataError, match="no index of Huffman codes"):
        make_dataset(mmap, "huffman")


def test_raw_text(tmp_path):
    from fairseq.data import Dictionary

    d = Dictionary()
    d.encode_line("a b")
    (tmp_path / "text").write_text("a b  c\n\nb\n", encoding="utf-8")
    dataset = make_dataset(str(tmp_path / "text"), "raw", dictionary=d)
    assert items_of(dataset) == [[4, 5, 3, 2], [2], [5, 2]] and dataset.sizes.tolist() == [4, 1, 2]
    assert dataset.get_original_text(0) == "a b  c" and dataset[0].dtype == torch.int64
    with pytest.raises(ConfigError, match="needs a dictionary"):
        make_dataset(str(tmp_path / "text"), "raw")


def damaged_index(tmp_path, change):
    prefix = write(tmp_path)
    content = bytearray((tmp_path / "data.idx").read_bytes())
    (tmp_path / "data.idx").write_bytes(bytes(change(content)))
    return prefix


def put(form, offset, *values):
    def change(content):
        struct.pack_into(form, content, offset, *values)
        return content

    return change


DAMAGE = {
    "foreign version": (put("<Q", 9, 2), "format version 2, readable is 1"),
    "element type": (put("<B", 17, 99), "unknown element type, code 99"),
    "other magic": (lambda content: b"WHATEVER" + content[8:], "is not an mmap index; check --dataset-impl"),
    "header cut": (lambda content: content[:20], "is truncated: 20 bytes"),
    "cut": (lambda content: content[:-5], "57 bytes long, 62 expected for 3 items"),
    "too long": (lambda content: content + b"x", "63 bytes long, 62 expected"),
    "huge count": (put("<Q", 18, 2**62), "expected for 4611686018427387904 items"),
    "size outside": (put("<i", 26, 5), "is damaged: item 1"),
    "negative size": (put("<i", 30, -1), "is damaged: item 1 .-1 elements"),
    "last size": (put("<i", 34, 9), "does not hold the 3 items"),
    "pointer outside": (put("<q", 38, 2**62), "is damaged: item 0"),
    "negative pointer": (put("<q", 46, -8), "is damaged: item 1"),
    "last pointer": (put("<q", 54, 8), "is damaged: item 2"),
    "gap": (put("<qq", 46, 8, 8), "is damaged: item 1"),
    "shifted": (put("<qqq", 38, 2, 8, 8), "is damaged: item 0"),
    "swapped": (put("<ii", 26, 0, 3), "is damaged: item 1"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_index_is_named(tmp_path, name):
    change, message = DAMAGE[name]
    prefix = damaged_index(tmp_path, change)
    with pytest.raises(DataError, match=message) as caught:
        MMapIndexedDataset(prefix).sizes  # noqa: B018 (the first use checks)
    assert str(tmp_path / "data") in str(caught.value) and "\n" not in str(caught.value)


def test_truncated_data_is_told_when_it_is_opened(tmp_path):
    prefix = write(tmp_path)
    (tmp_path / "data.bin").write_bytes((tmp_path / "data.bin").read_bytes()[:-1])
    with pytest.raises(DataError, match=r"data.bin \(7 bytes\) does not hold the 3 items of .*data.idx"):
        make_dataset(prefix, "mmap")
    prefix = write(tmp_path, impl="cached")
    (tmp_path / "data.bin").write_bytes((tmp_path / "data.bin").read_bytes()[:-1])
    with pytest.raises(DataError, match=r"data.bin .*truncated"):
        make_dataset(prefix, "cached")


@pytest.mark.parametrize("impl", ["mmap", "cached"])
def test_data_of_another_run_is_told(tmp_path, impl):
    prefix = write(tmp_path, impl=impl)
    (tmp_path / "data.bin").write_bytes((tmp_path / "data.bin").read_bytes() + bytes(8))
    with pytest.raises(DataError, match=r"data.bin .*does not hold .*of another run"):
        make_dataset(prefix, impl).sizes  # noqa: B018


@pytest.mark.parametrize("impl", ["mmap", "cached"])
@pytest.mark.parametrize("read", ["item", "gather", "range", "copied"])
def test_ids_beyond_the_dictionary(tmp_path, impl, read, monkeypatch):
    monkeypatch.setattr(tokens, "_SHIFT", 2)  # four elements are a block
    dictionary = Dictionary()
    for word in "abcdef":
        dictionary.add_symbol(word)  # ids 4 to 9
    builder = make_builder(str(tmp_path / "data.bin"), impl, vocab_size=20)
    for item in ([4, 5], [6], [], [9, 4, 4, 4, 4, 4, 4, 4, 4], [4], [4], [10, 4], []):
        builder.add_item(torch.tensor(item, dtype=torch.int64))
    builder.finalize(str(tmp_path / "data.idx"))
    dataset = load_indexed_dataset(str(tmp_path / "data"), dictionary)
    if read == "copied":
        dataset = pickle.loads(pickle.dumps(dataset))
    if read == "gather" and impl == "mmap":
        get = lambda *items: BatchReader(items).gather(dataset).flat.tolist()  # noqa: E731
    elif read == "range" and impl == "mmap":
        get = lambda *items: dataset.read_range(items[0], items[-1]).tolist()  # noqa: E731
    else:
        get = lambda *items: [id for item in items for id in dataset[item].tolist()]  # noqa: E731
    assert get(0, 1) == [4, 5, 6] and get(2) == [] and get(7) == []
    assert get(2, 3) == [9, 4, 4, 4, 4, 4, 4, 4, 4]
    with pytest.raises(DataError, match=r"data.bin: element 14 \(item 6\) is token 10, .* has ids 0 to 9; use the"):
        get(6)
    dictionary.add_symbol("a word that was forgotten")
    again = load_indexed_dataset(str(tmp_path / "data"), dictionary)
    assert again[6].tolist() == [10, 4] and again[3].tolist() == [9, 4, 4, 4, 4, 4, 4, 4, 4]


@pytest.mark.parametrize("impl", ["mmap", "cached"])
@pytest.mark.parametrize("file", ["data.bin", "data.idx"])
@pytest.mark.parametrize("shuffle", [True, False])
def test_files_that_become_shorter_are_told_before_the_next_epoch(tmp_path, impl, file, shuffle, monkeypatch):
    monkeypatch.setattr(files, "READ_WHOLE", 0)
    prefix = write(tmp_path, impl=impl)
    dataset = make_dataset(prefix, impl)
    parts = NestedDictionaryDataset({"id": IdDataset(), "net_input": {"x": PadDataset(dataset, 1, False)}})
    itr = EpochBatchIterator(SortDataset(parts, [np.arange(3)]), parts.collater, [[0, 1], [2]])
    assert len(list(itr.next_epoch_itr(shuffle=shuffle))) == 2
    assert len(list(itr.next_epoch_itr(shuffle=shuffle))) == 2
    with open(tmp_path / file, "r+b") as opened:
        opened.truncate(4)
    with pytest.raises(DataError, match=rf"{file} had \d+ bytes when it was opened and has 4 now") as caught:
        itr.next_epoch_itr(shuffle=shuffle)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("impl", ["mmap", "cached"])
def test_small_files_are_read_once_and_may_change(tmp_path, impl):
    dataset = make_dataset(write(tmp_path, impl=impl), impl)
    expected = items_of(dataset)
    again = make_dataset(str(tmp_path / "data"), impl)
    for file in ("data.bin", "data.idx"):
        with open(tmp_path / file, "r+b") as opened:
            opened.truncate(4)
    check_files(again)
    assert items_of(again) == expected


def test_a_file_that_is_replaced_does_not_matter(tmp_path):
    prefix = write(tmp_path)
    dataset = make_dataset(prefix, "mmap")
    (tmp_path / "new").write_bytes(b"")
    (tmp_path / "new").replace(tmp_path / "data.bin")
    check_files(dataset)
    assert len(items_of(dataset)) == 3


def test_missing_half(tmp_path):
    prefix = write(tmp_path)
    (tmp_path / "data.bin").unlink()
    with pytest.raises(FileNotFoundError, match=r"no file .*data.bin"):
        MMapIndexedDataset(prefix)


def test_ten_million_items_open_without_being_read(tmp_path):
    """Opening reads the header only; the index is made sparse, so that this test needs no disk."""
    count = 10_000_000
    with open(tmp_path / "data.idx", "wb") as file:
        file.write(b"MMIDIDX\0\0" + struct.pack("<QBQ", 1, 8, count))
        file.truncate(26 + 12 * count)
    (tmp_path / "data.bin").write_bytes(b"")
    tracemalloc.start()
    dataset = MMapIndexedDataset(str(tmp_path / "data"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(dataset) == count and peak < 2**20
