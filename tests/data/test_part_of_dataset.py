"""Parts of subsets, `train[:90%]`: disjoint, complete, the same in every process, and read as the whole is."""

import numpy as np
import pytest
import torch

from fairseq.data.acceptability.binarize import write_acceptability
from fairseq.data.part_of_dataset import PartOfDataset, SubsetName, load_subset
from fairseq.dataclass.initialize import compose
from fairseq.errors import ConfigError
from fairseq.tasks import setup_task


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    data = tmp_path_factory.mktemp("parts") / "data"
    write_acceptability(data, seed=1, train=50, valid=20)
    words = [f"task.data={data}", "task=sentence_prediction", "task.num_classes=2", "task.init_token=0"]
    return setup_task(compose(overrides=words, check=False).task)


def test_parts_have_nothing_in_common_and_make_up_the_whole(task):
    for name in ("train[:70%]", "train[70%:]", "train"):
        load_subset(task, name)
    first, second, whole = (task.dataset(name) for name in ("train[:70%]", "train[70%:]", "train"))
    assert (len(first), len(second), len(whole)) == (35, 15, 50)
    assert sorted([*first.indices, *second.indices]) == list(range(50))
    assert first.indices.tolist() != list(range(35))  # of a random order: files may go by class
    load_subset(task, "train[:70%]")
    assert task.dataset("train[:70%]").indices.tolist() == first.indices.tolist()


def test_a_part_reads_what_the_whole_has_there(task):
    load_subset(task, "train")
    load_subset(task, "train[30%:50%]")
    whole, part = task.dataset("train"), task.dataset("train[30%:50%]")
    for place, index in enumerate(part.indices):
        mine, theirs = part[place], whole[int(index)]
        assert torch.equal(mine["net_input.src_tokens"], theirs["net_input.src_tokens"])
        assert part.num_tokens(place) == whole.num_tokens(int(index)) == part.sizes[0][place]
    order = part.ordered_indices()
    assert sorted(order) == list(range(len(part)))
    there = {index: rank for rank, index in enumerate(whole.ordered_indices())}
    assert [there[index] for index in part.indices[order]] == sorted(there[index] for index in part.indices)


def test_batches_of_a_part_are_those_of_its_items(task):
    load_subset(task, "train[:20%]")
    part = task.dataset("train[:20%]")
    iterator = task.get_batch_iterator(part, max_sentences=4).next_epoch_itr(shuffle=False)
    seen = 0
    for batch in iterator:
        items = part.collater([part[int(np.flatnonzero(part.indices == index)[0])] for index in batch["id"]])
        assert torch.equal(batch["net_input"]["src_tokens"], items["net_input"]["src_tokens"])
        assert torch.equal(batch["target"], items["target"])
        seen += len(batch["id"])
    assert seen == len(part) == 10


@pytest.mark.parametrize(
    "name", ["train[90]", "train[90%:10%]", "train[:101%]", "train[1.2.3%:]", "train[:90%", "[:5%]"]
)
def test_brackets_that_name_no_part_are_one_line(name):
    with pytest.raises(ConfigError, match="a part of a subset is written"):
        SubsetName.parse(name)


def test_an_empty_part_is_an_error(task):
    with pytest.raises(ConfigError, match="of 50 examples holds none"):
        load_subset(task, "train[:0.5%]")
    assert isinstance(SubsetName.parse("train[:2%]"), SubsetName)
    load_subset(task, "train[:2%]")
    assert isinstance(task.dataset("train[:2%]"), PartOfDataset)
