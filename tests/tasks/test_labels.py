"""Labels and examples that no model can take: a DataError that names the example, before training begins."""

import numpy as np
import pytest
import torch

from fairseq import tasks
from fairseq.data import Dictionary, indexed_dataset
from fairseq.dataclass.finish import finish
from fairseq.dataclass.typed import typed_config
from fairseq.errors import ConfigError, DataError
from fairseq.tasks.labels import read_numbers


def write(prefix, items, impl="mmap"):
    prefix.parent.mkdir(parents=True, exist_ok=True)
    builder = indexed_dataset.make_builder(f"{prefix}.bin", impl, 20)
    for item in items:
        builder.add_item(torch.tensor(item, dtype=torch.int64))
    builder.finalize(f"{prefix}.idx")


def load(folder, sentences, labels=None, name="sentence_prediction", impl="mmap", **settings):
    for part, words in (("input0", "abcdef"), ("label", ["no", "yes"])):
        dictionary = Dictionary()
        for word in words:
            dictionary.add_symbol(word)
        dictionary.save(str(folder / part / "dict.txt"))
    for number, items in enumerate(sentences):
        write(folder / f"input{number}" / "train", items, impl)
    if labels is not None:
        write(folder / "label" / "train", labels, impl)
    task = {"_name": name, "data": str(folder), "num_classes": 2, **settings}
    loaded = tasks.setup_task(finish(typed_config({"task": task})).task)
    loaded.load_dataset("train")
    return loaded.dataset("train")


GOOD = [[4, 2], [5, 2], [6, 2]]


@pytest.mark.parametrize("shorten", ["none", "truncate", "random_crop"])
@pytest.mark.parametrize("impl", ["mmap", "cached"])
def test_an_example_without_tokens(tmp_path, shorten, impl):
    with pytest.raises(DataError, match=r"example 1 of split 'train' has no tokens \(1 of 3 have none\)"):
        load(tmp_path, [[[4, 2], [], [5, 2]]], [[4]] * 3, impl=impl, shorten_method=shorten, max_positions=2)
    assert len(load(tmp_path, [[[4, 2], [], [5, 2]]], [[4]] * 3, impl=impl, init_token=0)) == 3


@pytest.mark.parametrize("name", ["sentence_prediction", "sentence_ranking"])
@pytest.mark.parametrize("setting", ["init_token", "separator_token"])
def test_tokens_in_front_that_the_dictionary_lacks(tmp_path, name, setting):
    sentences = [GOOD, GOOD, GOOD]
    with pytest.raises(ConfigError, match=rf"task\.{setting}=11: input0/dict.txt of .* has tokens 0 to 10"):
        load(tmp_path, sentences, name=name, **{setting: 11})
    assert len(load(tmp_path, sentences, name=name, **{setting: 10})) == 3


def test_a_candidate_without_tokens(tmp_path):
    nothing = [[], [], []]
    with pytest.raises(DataError, match="example 2 of split 'train' has no tokens"):
        load(tmp_path, [[[4], [4], []], GOOD, nothing], name="sentence_ranking")


@pytest.mark.parametrize("impl", ["mmap", "cached"])
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([[4], [], [5]], "example 1 has 0 labels"),
        ([[], [4, 2], [5]], "example 0 has 0 labels"),
        ([[], [], []], "example 0 has 0 labels"),
        ([[2], [4], [4]], "example 0 has 0 labels"),
        ([[4, 5, 2], [4], [4]], "example 0 has 2 labels"),
        ([], "0 labels for 3 examples"),
        ([[4], [9], [4]], r"element 1 \(item 1\) is token 9, but the dictionary has ids 0 to"),
    ],
)
def test_labels_that_are_none(tmp_path, labels, message, impl):
    with pytest.raises(DataError, match=message):
        load(tmp_path, [GOOD], labels, impl=impl)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"1e39\n", "'1e39' is beyond single precision"),
        (b"-3.5e38\n", "beyond single precision"),
        (b"1e400\n", "not a finite number"),
        (b"\xff\n", "is not UTF-8"),
        (b"9" * 5000 + b"\n", "not a finite number"),
    ],
)
def test_numbers_that_no_model_can_take(tmp_path, text, message):
    (tmp_path / "train.label").write_bytes(b"0.5\n" + text)
    with pytest.raises(DataError, match=message) as caught:
        read_numbers(str(tmp_path / "train.label"), 1)
    assert str(tmp_path) in str(caught.value) and len(str(caught.value)) < 300


def test_the_largest_number(tmp_path):
    largest = float(np.finfo(np.float32).max)
    (tmp_path / "train.label").write_text(f"{largest!r}\n")
    assert read_numbers(str(tmp_path / "train.label"), 1) == [[largest]]
