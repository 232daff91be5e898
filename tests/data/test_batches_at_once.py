"""Batches read at once equal batches of items; subclasses that change items are read item by item."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairseq.data import (
    AppendTokenDataset,
    ConcatSentencesDataset,
    Dictionary,
    IdDataset,
    LanguagePairDataset,
    LeftPadDataset,
    LRUCacheDataset,
    MaskTokensDataset,
    NestedDictionaryDataset,
    NumelDataset,
    NumSamplesDataset,
    OffsetTokensDataset,
    PadDataset,
    PrependTokenDataset,
    RawLabelDataset,
    RightPadDataset,
    RollDataset,
    SortDataset,
    StripTokenDataset,
    TruncateDataset,
)
from fairseq.data.indexed_dataset import make_builder, make_dataset
from fairseq.data.iterating.loading import BatchDataset
from fairseq.data.ragged import BatchReader, Ragged, can_collate, can_gather, concatenate


def stored(folder, items, name="data"):
    builder = make_builder(f"{folder}/{name}.bin", "mmap", vocab_size=1000)
    for item in items:
        builder.add_item(torch.tensor(item, dtype=torch.int64))
    builder.finalize(f"{folder}/{name}.idx")
    return make_dataset(f"{folder}/{name}", "mmap")


def random_items(seed, count=20, low=0, high=9):
    rng = np.random.RandomState(seed)
    return [[*rng.randint(2, 8, rng.randint(low, high)).tolist(), 2] for _ in range(count)]


def same(one, other):
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            same(one[key], other[key])
    elif torch.is_tensor(one):
        assert one.dtype == other.dtype and one.shape == other.shape and torch.equal(one, other)
    else:
        assert one == other


def wrapped(folder):
    a, b = stored(folder, random_items(0), "a"), stored(folder, random_items(1), "b")
    tokens = TruncateDataset(ConcatSentencesDataset(PrependTokenDataset(a, 0), PrependTokenDataset(b, 2)), 9)
    labels = OffsetTokensDataset(StripTokenDataset(b, 2), offset=-2)
    nested = NestedDictionaryDataset(
        {
            "id": IdDataset(),
            "net_input": {
                "src_tokens": RightPadDataset(tokens, 1),
                "src_lengths": NumelDataset(tokens),
                "left": LeftPadDataset(AppendTokenDataset(a, 9), 1),
                "wide": PadDataset(a, 1, left_pad=True, pad_length=14),
                "cached": RightPadDataset(LRUCacheDataset(a), 1),
                "rolled": RightPadDataset(RollDataset(a, 1), 1),  # no gather: read item by item
            },
            "nsentences": NumSamplesDataset(),
            "ntokens": NumelDataset(tokens, reduce=True),
            "target": RightPadDataset(labels, 1),
            "value": RawLabelDataset([i / 2 for i in range(20)]),
        },
        sizes=[tokens.sizes],
    )
    return SortDataset(nested, sort_order=[np.arange(20)[::-1]])


def test_whole_batches_equal_collated_items(tmp_path):
    dataset = wrapped(tmp_path)
    assert can_collate(dataset)
    reader = BatchDataset(dataset, dataset.collater)
    assert reader.whole
    for batch in ([3], [0, 1, 2], list(range(20)), np.array([5, 5, 19])):
        same(reader[batch], dataset.collater([dataset[int(i)] for i in batch]))
    assert reader[[]] == {}


def test_only_datasets_that_say_so_are_read_at_once(tmp_path):
    data = stored(tmp_path, random_items(0))
    assert can_gather(PrependTokenDataset(data, 0)) and not can_gather(RollDataset(data, 1))
    assert not can_gather(PrependTokenDataset(RollDataset(data, 1), 0)) and not can_gather([1, 2])

    class Shouting(PrependTokenDataset):
        def __getitem__(self, index):
            return super().__getitem__(index) + 100

    class Padding(RightPadDataset):
        def collater(self, samples):
            return super().collater(samples) + 100

    assert not can_gather(Shouting(data, 0)) and not can_collate(RightPadDataset(Shouting(data, 0), 1))
    for changed in (RightPadDataset(Shouting(data, 0), 1), Padding(data, 1)):
        nested = NestedDictionaryDataset({"x": changed}, sizes=[data.sizes])
        batch = BatchDataset(nested, nested.collater)[[1, 4]]
        assert batch["x"].min() > 90
        same(batch, nested.collater([nested[1], nested[4]]))


def test_another_collate_function_is_used(tmp_path):
    dataset = wrapped(tmp_path)
    assert BatchDataset(dataset, len)[[1, 2, 3]] == 3


def test_masked_tokens_at_once(tmp_path):
    d = Dictionary()
    for i in range(50):
        d.add_symbol(f"w{i}")
    mask = d.add_symbol("<mask>")
    data = stored(tmp_path, random_items(4, low=5, high=30))
    source, target = MaskTokensDataset.apply_mask(data, d, pad_idx=1, mask_idx=mask, seed=3, mask_prob=0.4)
    parts = {"source": RightPadDataset(source, 1), "target": RightPadDataset(target, 1), "n": NumelDataset(source)}
    nested = NestedDictionaryDataset(parts, sizes=[data.sizes])
    nested.set_epoch(2)
    batch = BatchDataset(nested, nested.collater)[list(range(12))]
    same(batch, nested.collater([nested[i] for i in range(12)]))
    hidden = batch["target"] != 1
    assert hidden.any() and (batch["source"][~hidden] != mask).all()
    nested.set_epoch(3)
    assert not torch.equal(BatchDataset(nested, nested.collater)[list(range(12))]["target"], batch["target"])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"left_pad_source": False, "left_pad_target": True},
        {"input_feeding": False, "pad_to_multiple": 8},
        {"eos": 7, "src_lang_id": 5, "tgt_lang_id": 6},
        {"tgt": None},
    ],
)
def test_pairs_at_once(tmp_path, options):
    src, tgt = stored(tmp_path, random_items(0), "src"), stored(tmp_path, random_items(1), "tgt")
    targets = {} if "tgt" in options else {"tgt": tgt, "tgt_sizes": tgt.sizes, "tgt_dict": Dictionary()}
    dataset = LanguagePairDataset(src, src.sizes, Dictionary(), **targets, **options)
    reader = BatchDataset(dataset, dataset.collater)
    assert reader.whole
    for batch in ([3], [7, 0, 5, 1, 2], list(range(20))):
        same(reader[batch], dataset.collater([dataset[i] for i in batch]))
    for changed in ({"append_bos": True}, {"remove_eos_from_source": True}, {"align_dataset": [1] * 20}):
        assert not can_collate(LanguagePairDataset(src, src.sizes, Dictionary(), **changed))


rows = st.lists(st.lists(st.integers(2, 6), max_size=5), min_size=1, max_size=6)


def ragged(lists):
    return Ragged(np.array([v for row in lists for v in row], np.int64), np.array([len(row) for row in lists]))


def lists(value):
    ends = np.cumsum(value.lengths)
    return [value.flat[end - n : end].tolist() for end, n in zip(ends, value.lengths, strict=True)]


def stripped(row, token):
    while row and row[0] == token:
        row = row[1:]
    while row and row[-1] == token:
        row = row[:-1]
    return row


@settings(max_examples=200, deadline=None)
@given(rows, st.integers(0, 6), st.data())
def test_ragged_operations(values, number, data):
    value = ragged(values)
    assert lists(value.insert(9)) == [[9, *row] for row in values]
    assert lists(value.shift(9)) == [[9, *row][: len(row)] for row in values]
    assert lists(value.append(9)) == [[*row, 9] for row in values]
    assert lists(value.strip(number)) == [stripped(row, number) for row in values]
    assert lists(value.truncate(number)) == [row[:number] for row in values]
    other = data.draw(st.lists(st.lists(st.integers(2, 6), max_size=5), min_size=len(values), max_size=len(values)))
    joined = [[*one, *two, *one] for one, two in zip(values, other, strict=True)]
    assert lists(concatenate([value, ragged(other), value])) == joined
    width = max(number, *map(len, values), 0)
    assert value.pad(1, width=number).tolist() == [row + [1] * (width - len(row)) for row in values]
    assert value.pad(1, left=True, width=number).tolist() == [[1] * (width - len(row)) + row for row in values]


def test_each_dataset_is_read_once_per_batch(tmp_path):
    data = stored(tmp_path, random_items(0))
    reads = []
    gather = data.gather
    data.gather = lambda reader: reads.append(1) or gather(reader)
    reader = BatchReader([1, 2])
    for dataset in (RightPadDataset(data, 1), NumelDataset(data), NumelDataset(data, reduce=True)):
        dataset.collate_batch(reader)
    assert len(reads) == 1
