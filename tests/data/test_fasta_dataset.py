"""Sequences from FASTA files."""

import pickle

import pytest

from fairseq.data import Dictionary, EncodedFastaDataset, FastaDataset
from fairseq.errors import DataError

TEXT = ">first one\nMKV\nLA\n>second\nM\n>third\nACDEFG\nHIK\nL"


@pytest.fixture
def prefix(tmp_path):
    (tmp_path / "p.fasta").write_text(TEXT)
    return str(tmp_path / "p")


@pytest.mark.parametrize("cached", [False, True])
def test_sequences(prefix, cached):
    for _ in range(2):
        data = FastaDataset(prefix, cache_indices=cached)
        assert [data[i] for i in (2, 0, 1)] == [("third", "ACDEFGHIKL"), ("first one", "MKVLA"), ("second", "M")]
        assert data.sizes.tolist() == [5, 1, 10] and len(data) == 3
    assert pickle.loads(pickle.dumps(data))[1] == ("second", "M")


def test_encoded(prefix):
    letters = Dictionary()
    for letter in "ACDEFGHIKLMV":
        letters.add_symbol(letter)
    data = EncodedFastaDataset(prefix, letters)
    assert letters.string(data[0]) == "M K V L A" and data[0][-1] == letters.eos()


def test_what_is_no_fasta_file(tmp_path):
    assert not FastaDataset.exists(str(tmp_path / "p"))
    with pytest.raises(DataError, match=r"no file .*p\.fasta; check the path"):
        FastaDataset(str(tmp_path / "p"))
    (tmp_path / "p.fasta").write_text("MKV\n")
    with pytest.raises(DataError, match="no line begins with '>'"):
        FastaDataset(str(tmp_path / "p"))


def test_filtered_zip():
    from collections import OrderedDict

    import numpy as np

    from fairseq.data import ListDataset, RoundRobinZipDatasets

    sizes = [1, 3, 5, 2, 4, 1]
    data = RoundRobinZipDatasets(OrderedDict(a=ListDataset(list(range(6)), sizes), b=ListDataset([7, 8], [1, 9])))
    data.ordered_indices()
    kept, left_out = data.filter_indices_by_size(np.arange(6), {"a": 3, "b": 4})
    assert list(kept) == [0, 1, 2, 3] and len(left_out)
    assert [dict(data[i]) for i in kept] == [{"a": a, "b": 7} for a in (0, 1, 3, 5)]
