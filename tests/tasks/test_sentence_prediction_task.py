"""sentence_prediction: what a user sees when data are wrong, and what travels in checkpoints."""

import io
import logging

import pytest
import torch

from fairseq import tasks
from fairseq.data import BaseWrapperDataset, Dictionary
from fairseq.data.indexed_dataset import make_builder
from fairseq.errors import CheckpointError, ConfigError, DataError

BASE = {
    "_name": "sentence_prediction",
    "num_classes": 2,
    "init_token": 0,
    "separator_token": 2,
    "seed": 1,
    "regression_target": False,
    "classification_head_name": "sentence_classification_head",
}
TEXT = ["a b c", "b c", "a", "c c b a"]


def write(folder, lines, dictionary=None, split="train"):
    """Binarised `lines`; the dictionary is written where there is none."""
    folder.mkdir(parents=True, exist_ok=True)
    if dictionary is None:
        dictionary = Dictionary()
        for line in lines:
            dictionary.encode_line(line)
        dictionary.finalize(padding_factor=1)
        dictionary.save(str(folder / "dict.txt"))
    builder = make_builder(str(folder / f"{split}.bin"), impl="mmap", vocab_size=len(dictionary))
    for line in lines:
        builder.add_item(dictionary.encode_line(line, add_if_not_exist=False))
    builder.finalize(str(folder / f"{split}.idx"))
    return dictionary


@pytest.fixture
def data(tmp_path):
    """Four pairs with labels."""
    dictionary = write(tmp_path / "input0", TEXT)
    write(tmp_path / "input1", TEXT[::-1], dictionary)
    write(tmp_path / "label", ["yes", "no", "no", "no"])
    return tmp_path


def setup(data, **options):
    task_state = options.pop("task_state", None)
    return tasks.setup_task({**BASE, "data": str(data), **options}, task_state=task_state)


def batch(task, split="train"):
    task.load_dataset(split)
    dataset = task.dataset(split)
    return dataset.collater([dataset[i] for i in range(len(dataset))])


def test_a_batch(data):
    task = setup(data)
    sample = batch(task)
    symbols = [[task.source_dictionary[i] for i in row] for row in sample["net_input"]["src_tokens"].tolist()]
    assert symbols[1] == ["<s>", "b", "c", "</s>", "</s>", "a", "</s>", *["<pad>"] * 4]
    assert sample["net_input"]["src_lengths"].tolist() == [11, 7, 7, 11]
    names = [task.label_dictionary[i + task.label_dictionary.nspecial] for i in sample["target"].view(-1).tolist()]
    assert names == ["yes", "no", "no", "no"]
    assert sample["target"].view(-1).tolist() == [1, 0, 0, 0]  # ids by frequency
    assert (sample["nsentences"], sample["ntokens"]) == (4, 36)
    assert task.source_dictionary[len(task.source_dictionary) - 1] == "<mask>"
    assert task.target_dictionary is task.source_dictionary and task.max_positions() == 512


def test_loading_says_how_many(data, caplog):
    with caplog.at_level(logging.INFO):
        batch(setup(data))
    assert "[input] dictionary: 8 types" in caplog.text and "[label] dictionary: 7 types" in caplog.text
    assert "Loaded train with #samples: 4" in caplog.text


def test_the_order_is_one_for_all_epochs(data):
    task = setup(data)
    task.load_dataset("train")
    orders = {tuple(task.dataset("train").ordered_indices()) for _ in range(3)}
    task.load_dataset("train", epoch=2)
    assert orders == {tuple(task.dataset("train").ordered_indices())}


# -- wrong data ------------------------------------------------------------------------------------------------------


def test_missing_folder(tmp_path):
    with pytest.raises(DataError, match=r"nowhere: there is no input0/dict.txt; prepare .* fairseq-prepare-glue"):
        setup(tmp_path / "nowhere")


def test_missing_labels_dictionary(data):
    (data / "label" / "dict.txt").unlink()
    with pytest.raises(DataError, match=r"no label/dict.txt"):
        setup(data)


def test_missing_split(data):
    with pytest.raises(DataError, match=r"no split 'test': there is no input0/test.idx"):
        setup(data).load_dataset("test")


def test_empty_split(data):
    task = setup(data)
    write(data / "input0", [], task.source_dictionary, "valid")
    with pytest.raises(DataError, match=r"split 'valid' is empty"):
        task.load_dataset("valid")


def test_parts_of_different_length(data):
    task = setup(data)
    write(data / "input1", TEXT[:3], task.source_dictionary)
    with pytest.raises(DataError, match="4 examples in input0 but 3 in input1"):
        task.load_dataset("train")
    write(data / "input1", TEXT, task.source_dictionary)
    write(data / "label", ["yes"] * 5, task.label_dictionary)
    with pytest.raises(DataError, match=r"label/train: 5 labels for 4 examples"):
        task.load_dataset("train")


def test_label_out_of_range(data):
    write(data / "label", ["yes", "no", "maybe", "no"])  # ids by frequency, then by name: no, maybe, yes
    with pytest.raises(DataError, match=r"label 'yes' of example 0 is class 2, out of range for task.num_classes=2"):
        setup(data).load_dataset("train")


def test_label_that_is_not_in_the_dictionary(data):
    task = setup(data)
    write(data / "label", ["yes", "no", "what", "no"], task.label_dictionary)
    with pytest.raises(DataError, match="label '<unk>' of example 2"):
        task.load_dataset("train")


@pytest.mark.parametrize("line, count", [("yes no", 2), ("", 0)])
def test_more_or_less_than_one_label(data, line, count):
    task = setup(data)
    write(data / "label", ["yes", "no", "no", line], task.label_dictionary)
    with pytest.raises(DataError, match=f"example 3 has {count} labels instead of one"):
        task.load_dataset("train")


def test_split_without_labels(data):
    task = setup(data)
    for name, lines in (("input0", TEXT), ("input1", TEXT)):
        write(data / name, lines, task.source_dictionary, "test")
    assert "target" not in batch(task, "test")


@pytest.mark.parametrize("option, value, message", [("num_classes", 0, "num_classes"), ("d2v2_multi", True, "d2v2")])
def test_options_that_cannot_work(data, option, value, message):
    with pytest.raises(ConfigError, match=message):
        setup(data, **{option: value})


# -- regression ------------------------------------------------------------------------------------------------------


@pytest.fixture
def numbers(data):
    (data / "label" / "train.label").write_text("0.5\n1\n-2.25\n1e-1\n")
    return {"regression_target": True, "num_classes": 1}


def test_numbers(data, numbers):
    task = setup(data, **numbers)
    target = batch(task)["target"]
    assert target.dtype == torch.float32 and target.view(-1).tolist() == pytest.approx([0.5, 1, -2.25, 0.1])
    assert task.label_dictionary is None


@pytest.mark.parametrize(
    "line, message",
    [
        ("high", "'high' is not a number"),
        ("nan", "'nan' is not a finite number"),
        ("1 2", "expected 1 number.s., found '1 2'"),
        ("", "expected 1 number.s., found ''"),
    ],
)
def test_what_is_not_a_number(data, numbers, line, message):
    (data / "label" / "train.label").write_text(f"1\n2\n{line}\n4\n")
    with pytest.raises(DataError, match=rf"label/train.label, line 3: {message}"):
        setup(data, **numbers).load_dataset("train")


def test_fewer_numbers_than_examples(data, numbers):
    (data / "label" / "train.label").write_text("1\n2\n")
    with pytest.raises(DataError, match=r"train.label: 2 labels for 4 examples"):
        setup(data, **numbers).load_dataset("train")


# -- dictionaries in checkpoints -------------------------------------------------------------------------------------


def saved(task):
    """The state as it comes back from a checkpoint."""
    file = io.BytesIO()
    torch.save(task.state_dict(), file)
    return torch.load(io.BytesIO(file.getvalue()), weights_only=True)


def test_a_checkpoint_works_without_the_data(data, tmp_path):
    task = setup(data)
    loaded = setup(tmp_path / "gone", task_state=saved(task))
    assert loaded.source_dictionary.symbols == task.source_dictionary.symbols
    assert loaded.label_dictionary.symbols == task.label_dictionary.symbols
    assert loaded.source_dictionary.nspecial == 4 and loaded.source_dictionary.index("<mask>") == 7
    loaded.load_state_dict(saved(task))


def test_a_checkpoint_of_fairseq_has_no_dictionaries(data, tmp_path):
    assert setup(data, task_state={}).label_dictionary is not None
    with pytest.raises(DataError, match=r"input0/dict.txt"):
        setup(tmp_path / "gone", task_state={})
    setup(data).load_state_dict({})


def test_evaluation_on_data_with_other_classes_is_refused(data):
    state = saved(setup(data))
    write(data / "label", ["yes", "yes", "yes", "no"])  # the same names, the other way round
    with pytest.raises(DataError, match=r"label/dict.txt is not the dictionary.*id 4 is 'yes' and 'no'"):
        setup(data, task_state=state)


def test_fine_tuning_on_another_task_is_not(data, caplog):
    state = saved(setup(data))
    write(data / "label", ["good", "good", "good", "bad"])
    task = setup(data)
    task.load_state_dict(state)
    assert "label dictionary of the data is not that of the checkpoint" in caplog.text
    assert task.label_dictionary.index("good") == 4


def test_fine_tuning_with_another_vocabulary_is(data):
    state = saved(setup(data))
    write(data / "input0", ["x y z"] * 4)
    with pytest.raises(CheckpointError, match=r"does not fit that of the checkpoint: id 4 is 'x' and 'c'.*dict.txt"):
        setup(data).load_state_dict(state)


def test_growing_vocabulary_is_named_by_size(data):
    state = saved(setup(data))
    source = state["dictionaries"]["source"]
    state["dictionaries"]["source"] = source + "extra 1\n"
    with pytest.raises(CheckpointError, match="8 and 9 entries"):
        setup(data).load_state_dict(state)


# -- model -----------------------------------------------------------------------------------------------------------


def test_model_is_as_long_as_the_task_and_has_the_head(data, monkeypatch):
    built = {}

    class Model:
        def register_classification_head(self, name, num_classes):
            built["head"] = (name, num_classes)

    def build_model(cfg, task, from_checkpoint):
        built["max_positions"] = cfg.max_positions
        return Model()

    monkeypatch.setattr("fairseq.models.building.build_model", build_model)
    task = setup(data, max_positions=64, num_classes=3)
    from types import SimpleNamespace

    task.build_model(SimpleNamespace(_name="roberta", max_positions=None))
    assert built == {"max_positions": 64, "head": ("sentence_classification_head", 3)}


@pytest.mark.parametrize("no_shuffle", [False, True])
def test_scored_by_length(data, no_shuffle):
    task = setup(data, no_shuffle=no_shuffle)
    task.load_dataset("train")
    dataset = task.dataset_for_scoring("train")
    lengths = [dataset.num_tokens(i) for i in dataset.ordered_indices()]
    assert lengths == [11, 11, 7, 7] and sorted(dataset.ordered_indices()) == [0, 1, 2, 3]
    assert task.dataset_for_scoring("train") is dataset  # so that its iterator is used again
    batches = list(task.get_batch_iterator(dataset, max_sentences=2).next_epoch_itr(shuffle=False))
    assert [batch["net_input"]["src_tokens"].shape[1] for batch in batches] == [11, 7]
    assert sorted(torch.cat([batch["id"] for batch in batches]).tolist()) == [0, 1, 2, 3]
    task.load_dataset("train")
    assert task.dataset_for_scoring("train") is not dataset
    with pytest.raises(KeyError):
        task.dataset_for_scoring("valid")


def test_a_plugins_own_dataset_keeps_its_order(data):
    task = setup(data)
    task.load_dataset("train")
    task.datasets["train"] = BaseWrapperDataset(task.datasets["train"])
    assert task.dataset_for_scoring("train") is task.datasets["train"]


def test_errors_name_the_split_that_is_scored(data):
    task = setup(data)
    task.load_dataset("train")
    with pytest.raises(DataError, match="split 'train' has no examples: all 4 are longer than 3 tokens"):
        task.get_batch_iterator(task.dataset_for_scoring("train"), max_positions=3, ignore_invalid_inputs=True)
