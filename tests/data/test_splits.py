"""Finding the files of a data folder."""

import pytest
import torch
from omegaconf import OmegaConf

import fairseq.data
from fairseq.data import data_utils
from fairseq.data.indexed_dataset import make_builder
from fairseq.errors import DataError


def write(prefix, count=1, impl="mmap"):
    builder = make_builder(f"{prefix}.bin", impl, vocab_size=100)
    for i in range(count):
        builder.add_item(torch.tensor([i, 2]))
    builder.finalize(f"{prefix}.idx")


def test_loading_one_split_or_its_shards(tmp_path, caplog):
    caplog.set_level("INFO")
    for name, count in (("train", 2), ("train1", 3), ("train2", 1), ("train4", 1)):
        write(tmp_path / name, count)
    path = str(tmp_path / "train")
    assert len(data_utils.load_indexed_dataset(path)) == 2
    assert f"loaded 2 examples from: {path}" in caplog.text
    assert [len(dataset) for dataset in data_utils.load_indexed_dataset(path, combine=True).datasets] == [2, 3, 1]
    assert data_utils.load_indexed_dataset(str(tmp_path / "absent"), combine=True) is None


def test_the_format_is_that_of_the_index_unless_one_is_named(tmp_path):
    write(tmp_path / "old", impl="cached")
    assert data_utils.load_indexed_dataset(str(tmp_path / "old"))[0].tolist() == [0, 2]
    with pytest.raises(DataError, match=r"old.idx is not an mmap index; check --dataset-impl"):
        data_utils.load_indexed_dataset(str(tmp_path / "old"), dataset_impl="mmap")


def test_foreign_and_half_datasets_are_named(tmp_path):
    write(tmp_path / "a")
    (tmp_path / "a.idx").write_bytes(b"something else")
    with pytest.raises(DataError, match=r"a.idx is not the index of a dataset"):
        data_utils.load_indexed_dataset(str(tmp_path / "a"))
    write(tmp_path / "b")
    (tmp_path / "b.bin").unlink()
    with pytest.raises(DataError, match=r"b.idx is there, but .*b.bin is not"):
        data_utils.load_indexed_dataset(str(tmp_path / "b"))


def test_language_pair_from_file_names(tmp_path):
    assert data_utils.infer_language_pair(str(tmp_path)) == (None, None)
    for name in ("dict.en.txt", "train.de-en.en.idx", "preprocess.log"):
        (tmp_path / name).write_text("")
    assert data_utils.infer_language_pair(str(tmp_path)) == ("de", "en")


def config(data, **dataset):
    defaults = {
        "valid_subset": "valid",
        "ignore_unused_valid_subsets": False,
        "combine_valid_subsets": None,
        "disable_validation": False,
    }
    return OmegaConf.create({"dataset": {**defaults, **dataset}, "task": {"data": data}})


def test_validation_splits_that_nothing_reads_are_an_error(tmp_path):
    check = data_utils.raise_if_valid_subsets_unintentionally_ignored
    for name in ("valid.idx", "valid1.idx", "valid1.bin"):
        (tmp_path / name).write_text("")
    with pytest.raises(DataError, match=r"Valid paths \['valid1'\] will be ignored. Set --combine-val"):
        check(config(str(tmp_path)))
    check(config(str(tmp_path), valid_subset="valid,valid1"))
    check(config(str(tmp_path), ignore_unused_valid_subsets=True))
    check(config(str(tmp_path), combine_valid_subsets=True))
    check(config(str(tmp_path), disable_validation=True))
    check(config(None))
    with pytest.raises(FileNotFoundError, match="no data folder"):
        check(config(str(tmp_path / "absent")))


def test_data_of_plugins_has_no_further_validation_splits(tmp_path):
    """A task may read one file, or a folder whose names of files are its own."""
    check = data_utils.raise_if_valid_subsets_unintentionally_ignored
    for name in ("table.csv", "valid-images.gz", "valid_labels.gz"):
        (tmp_path / name).write_text("")
    check(config(str(tmp_path / "table.csv")))
    check(config(str(tmp_path)))


def test_every_public_name_can_be_imported():
    for name in fairseq.data.__all__:
        assert getattr(fairseq.data, name).__name__ == name
    assert set(fairseq.data.__all__) <= set(dir(fairseq.data))
    with pytest.raises(AttributeError, match="has no attribute 'Nonsense'"):
        fairseq.data.Nonsense  # noqa: B018
