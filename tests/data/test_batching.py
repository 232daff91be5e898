"""Batches by size: limits hold, nothing is lost, batches are as large as they may be."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairseq.data import FairseqDataset, data_utils
from fairseq.errors import ConfigError, DataError

limits = st.one_of(st.none(), st.integers(30, 200))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.integers(0, 30), max_size=80),
    limits,
    st.one_of(st.none(), st.integers(1, 20)),
    st.sampled_from([1, 2, 3, 8]),
    st.booleans(),
)
def test_batches_keep_the_limits_and_every_item(tokens, max_tokens, max_sentences, multiple, vectorised):
    tokens = np.array(tokens, dtype=np.int64)
    indices = np.arange(len(tokens)) * 2
    batches = data_utils.batch_by_size(
        indices,
        lambda i: int(tokens[i // 2]),
        tokens if vectorised else None,
        max_tokens,
        max_sentences,
        multiple,
    )
    assert [i for batch in batches for i in batch] == indices.tolist()
    costs = [(len(batch), int(tokens[batch // 2].max())) for batch in batches]
    for position, (size, longest) in enumerate(costs):
        assert max_tokens is None or size * longest <= max_tokens
        assert max_sentences is None or size <= max_sentences
        assert size < multiple or size % multiple == 0
        if position + 1 < len(costs) and multiple == 1:  # the next item would have been too much
            grown = max(longest, int(tokens[batches[position + 1][0] // 2]))
            full = (max_tokens is not None and (size + 1) * grown > max_tokens) or size == max_sentences
            assert full


def test_an_item_that_fits_no_batch_is_named():
    with pytest.raises(DataError, match="sample 12 has 9 tokens, more than max_tokens=8; raise --max-tokens"):
        data_utils.batch_by_size([10, 11, 12], None, np.array([5, 5, 9]), max_tokens=8)


def test_indices_of_any_kind():
    for indices in ([3, 4, 5], (i for i in (3, 4, 5)), np.array([3, 4, 5])):
        batches = data_utils.batch_by_size(indices, lambda i: i, max_tokens=10)
        assert [batch.tolist() for batch in batches] == [[3, 4], [5]]
    assert data_utils.batch_by_size([], lambda i: i, max_tokens=10) == []


def test_fixed_shapes():
    batches = data_utils.batch_by_size(range(9), lambda i: i + 1, fixed_shapes=[(4, 3), (2, 6), (1, 12)])
    assert [batch.tolist() for batch in batches] == [[0, 1, 2], [3, 4], [5], [6], [7], [8]]


def test_a_bucketed_dataset_gets_the_shapes_of_its_buckets():
    class Bucketed(FairseqDataset):
        def num_tokens(self, index):
            return 4 if index < 6 else 8

        def get_batch_shapes(self):
            return [(4, 2), (8, 8)]

    batches = Bucketed().batch_by_size(np.arange(10), max_tokens=16, required_batch_size_multiple=2)
    assert [batch.tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5], [6, 7], [8, 9]]


def test_buckets_hold_every_size():
    sizes = np.array([1, 2, 3, 4, 5, 10, 20, 20])
    buckets = data_utils.get_buckets(sizes, 3)
    rounded = data_utils.get_bucketed_sizes(sizes, buckets)
    assert len(buckets) <= 3 and buckets[-1] == 20
    assert (rounded >= sizes).all() and set(rounded) <= set(buckets)


def test_filter_by_size_warns_or_raises(caplog):
    class Sized(FairseqDataset):
        sizes = np.array([1, 5, 3, 9])

        def size(self, index):
            return int(self.sizes[index])

    indices = np.arange(4)
    assert data_utils.filter_by_size(indices, Sized(), 4).tolist() == [0, 2]
    assert "left out 2 examples that are longer than max_positions=4, the first of them: [1, 3]" in caplog.text
    with pytest.raises(DataError, match="example 1 is too long: its size is 5, max_positions=4; leave such"):
        data_utils.filter_by_size(indices, Sized(), 4, raise_exception=True)
    assert data_utils.filter_by_size(indices, Sized(), None).tolist() == [0, 1, 2, 3]


def test_filtering_by_named_sizes():
    kept, ignored = data_utils._filter_by_size_dynamic(
        np.arange(4), lambda i: {"a": [1, 5, 3, 9][i], "b": (i, 2 * i)}, {"a": 4, "b": (2, 3), "c": 1}
    )
    assert (kept.tolist(), ignored) == ([0], [1, 2, 3])


def test_post_process_names_the_nearest_option():
    with pytest.raises(ConfigError, match="did you mean 'sentencepiece'"):
        data_utils.post_process("a b", "sentencepeice")


def test_collating_keeps_type_and_gradients_apart():
    rows = data_utils.collate_tokens([torch.tensor([1], dtype=torch.int32), torch.tensor([2, 3], dtype=torch.int32)], 7)
    assert rows.dtype == torch.int32 and rows.tolist() == [[1, 7], [2, 3]]
    values = torch.tensor([5, 6])
    data_utils.collate_tokens([values], 1, eos_idx=2, move_eos_to_beginning=True)
    assert values.tolist() == [5, 6]
