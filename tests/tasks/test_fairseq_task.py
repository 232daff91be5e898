"""The base task: steps, batch iterators, registry, state."""

import logging
from argparse import Namespace
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from fairseq import tasks
from fairseq.data import FairseqDataset
from fairseq.dataclass.base import FairseqDataclass
from fairseq.errors import ConfigError, DataError
from fairseq.logging import metrics
from fairseq.tasks import FairseqTask, LegacyFairseqTask, StatefulContainer, register_task


class Numbers(FairseqDataset):
    """Item i is i; its order is random, its length i % 7 + 1."""

    def __init__(self, count=20, reusable=True):
        self.count, self.reusable, self.epochs = count, reusable, []

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return index

    def collater(self, samples):
        return torch.tensor(samples)

    def num_tokens(self, index):
        return index % 7 + 1

    size = num_tokens

    @property
    def sizes(self):
        return np.array([self.size(i) for i in range(self.count)])

    def ordered_indices(self):
        return np.random.permutation(self.count)

    @property
    def can_reuse_epoch_itr_across_epochs(self):
        return self.reusable

    def set_epoch(self, epoch):
        self.epochs.append(epoch)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.updates = []

    def set_num_updates(self, num_updates):
        self.updates.append(num_updates)

    def forward(self, x):
        return self.weight * x


class Criterion(nn.Module):
    def forward(self, model, sample):
        loss = model(sample).sum()
        self.grad_enabled, self.model_training = torch.is_grad_enabled(), model.training
        return loss, sample.numel(), {"loss": loss.detach(), "ntokens": 6, "nsentences": sample.numel()}

    @staticmethod
    def reduce_metrics(outputs):
        metrics.log_scalar("loss", sum(output["loss"] for output in outputs))

    @staticmethod
    def logging_outputs_can_be_summed():
        return True


@pytest.fixture
def task():
    return FairseqTask(SimpleNamespace(data="somewhere"))


# -- steps -----------------------------------------------------------------------------------------------------------


def test_train_step_adds_gradients(task):
    model, criterion = Model().eval(), Criterion()
    optimizer = SimpleNamespace(backward=lambda loss: loss.backward())
    for update in (3, 4):
        loss, size, output = task.train_step(torch.tensor([1.0, 2.0]), model, criterion, optimizer, update)
    assert (loss.item(), size, output["nsentences"]) == (3.0, 2, 2)
    assert model.weight.grad.item() == 6.0 and model.updates == [3, 4] and criterion.model_training


def test_a_batch_that_stands_in_for_a_missing_one_adds_nothing(task):
    model = Model()
    optimizer = SimpleNamespace(backward=lambda loss: loss.backward())
    loss, _, _ = task.train_step(torch.tensor([5.0]), model, Criterion(), optimizer, 0, ignore_grad=True)
    assert loss.item() == 0.0 and model.weight.grad.item() == 0.0


def test_valid_step_has_no_gradient_and_evaluates(task):
    model, criterion = Model(), Criterion()
    loss, _, _ = task.valid_step(torch.tensor([5.0]), model, criterion)
    assert loss.item() == 5.0 and not criterion.grad_enabled and not criterion.model_training
    assert not loss.requires_grad


def test_optimizer_step(task):
    steps = []
    task.optimizer_step(SimpleNamespace(step=lambda: steps.append(1)), None, 7)
    assert steps == [1]


def test_reduce_metrics_logs_batch_sizes_too(task):
    outputs = [{"loss": 1.0, "ntokens": 6, "nsentences": 2}, {"loss": 2.0, "ntokens": 4, "nsentences": 3}]
    values = task.aggregate_logging_outputs(outputs, Criterion())
    assert (values["loss"], values["wpb"], values["bsz"]) == (3.0, 10, 5)
    assert FairseqTask.logging_outputs_can_be_summed(Criterion())


def test_outputs_without_counts_warn(task):
    with pytest.warns(UserWarning, match="no ntokens"), pytest.warns(UserWarning, match="no nsentences"):
        task.aggregate_logging_outputs([{"loss": 1.0}], Criterion())


# -- batches ---------------------------------------------------------------------------------------------------------


def composition(iterator):
    return [[int(i) for i in batch] for batch in iterator.frozen_batches]


def order(iterator):
    return [i for batch in composition(iterator) for i in batch]


def test_batches_follow_the_seed(task):
    first = task.get_batch_iterator(Numbers(), max_sentences=4, seed=1)
    again = task.get_batch_iterator(Numbers(), max_sentences=4, seed=1)
    other = task.get_batch_iterator(Numbers(), max_sentences=4, seed=2)
    assert composition(first) == composition(again) != composition(other)
    with_seed_of_epoch_1 = np.random.RandomState(2).permutation(20)
    assert order(first) == with_seed_of_epoch_1.tolist()
    assert sorted(order(first)) == list(range(20))


def test_the_random_state_outside_is_left_alone(task):
    np.random.seed(0)
    expected = np.random.RandomState(0).rand()
    task.get_batch_iterator(Numbers(), max_sentences=4)
    assert np.random.rand() == expected


def test_iterators_are_reused(task):
    dataset = Numbers()
    iterator = task.get_batch_iterator(dataset, max_sentences=4)
    assert task.get_batch_iterator(dataset, max_sentences=4, epoch=2) is iterator
    assert task.get_batch_iterator(dataset, max_sentences=4, disable_iterator_cache=True) is not iterator
    assert task.get_batch_iterator(dataset, max_sentences=4, update_epoch_batch_itr=True) is not iterator
    changing = Numbers(reusable=False)
    assert task.get_batch_iterator(changing, max_sentences=4) is not task.get_batch_iterator(changing, max_sentences=4)


def test_a_resumed_run_gets_the_batches_of_the_uninterrupted_one(task):
    """An iterator made for epoch 1 serves all epochs; one made at a resume in epoch 3 must hold the same batches."""
    uninterrupted = composition(task.get_batch_iterator(Numbers(), max_sentences=4))
    dataset = Numbers()
    resumed = task.get_batch_iterator(dataset, max_sentences=4, epoch=3)
    assert composition(resumed) == uninterrupted
    assert resumed.next_epoch_idx == 3 and dataset.epochs[0] == 3


def test_batches_that_change_by_epoch(task):
    compositions = [
        composition(task.get_batch_iterator(Numbers(reusable=False), max_sentences=4, epoch=epoch)) for epoch in (1, 2)
    ]
    assert compositions[0] != compositions[1]


def test_batches_made_anew_for_every_epoch(task):
    itr = task.get_batch_iterator(Numbers(), max_sentences=4, update_epoch_batch_itr=True)
    epochs = [[i for batch in itr.next_epoch_itr(shuffle=False) for i in batch.tolist()] for _ in range(2)]
    assert epochs[0] != epochs[1]
    for epoch, seen in enumerate(epochs, 1):  # the order of epoch e follows seed + e
        assert seen == np.random.RandomState(1 + epoch).permutation(20).tolist()


def test_sharded_data_have_an_order_for_each_epoch(task):
    task.cfg.data = "a:b"
    compositions = []
    for epoch in (1, 2):
        task.datasets["train"] = Numbers()
        itr = task.get_batch_iterator(task.dataset("train"), max_sentences=4, epoch=epoch)
        compositions.append(composition(itr))
    assert compositions[0] != compositions[1]


def test_examples_that_are_too_long(task, caplog):
    with pytest.raises(DataError, match=r"example \d+ is too long: its size is 7, max_positions=6; leave such"):
        task.get_batch_iterator(Numbers(), max_sentences=4, max_positions=6)
    with caplog.at_level(logging.WARNING):
        itr = task.get_batch_iterator(Numbers(), max_sentences=4, max_positions=6, ignore_invalid_inputs=True)
    assert len(order(itr)) == 18
    assert "left out 2 examples that are longer than max_positions=6, the first of them: [" in caplog.text


@pytest.mark.parametrize("count, reason", [(0, "has no examples"), (3, "all 3 are longer than 0 tokens")])
def test_nothing_to_iterate_over(task, count, reason):
    task.datasets["valid"] = Numbers(count)
    with pytest.raises(DataError, match=f"split 'valid' has no examples.*|{reason}"):
        task.get_batch_iterator(
            task.dataset("valid"), max_sentences=4, max_positions=0 if count else None, ignore_invalid_inputs=True
        )


def test_dataset_by_split(task):
    with pytest.raises(KeyError, match="split 'train' has not been loaded"):
        task.dataset("train")
    task.datasets["train"] = [1, 2]
    with pytest.raises(TypeError, match="must be a FairseqDataset, not list"):
        task.dataset("train")


# -- registry --------------------------------------------------------------------------------------------------------


@pytest.fixture
def registered():
    """Forgets what a test registers."""
    names, classes = set(tasks.TASK_REGISTRY), set(tasks.TASK_CLASS_NAMES)
    yield
    for name in set(tasks.TASK_REGISTRY) - names:
        del tasks.TASK_REGISTRY[name]
        tasks.TASK_DATACLASS_REGISTRY.pop(name, None)
    tasks.TASK_CLASS_NAMES.intersection_update(classes)


@dataclass
class CountingConfig(FairseqDataclass):
    upto: int = 3


def test_plugin_with_a_dataclass(registered):
    @register_task("counting_of_a_test", dataclass=CountingConfig)
    class CountingTask(FairseqTask):
        pass

    assert tasks.get_task("counting_of_a_test") is CountingTask
    for cfg in (
        {"_name": "counting_of_a_test", "upto": 5},
        OmegaConf.create({"_name": "counting_of_a_test", "upto": 5}),
        CountingConfig(_name="counting_of_a_test", upto=5),
        Namespace(task="counting_of_a_test", upto=5, another_flag=1),
    ):
        task = tasks.setup_task(cfg)
        assert isinstance(task, CountingTask) and task.cfg.upto == 5
    with pytest.raises(ConfigError, match="did you mean 'upto'"):
        tasks.setup_task({"_name": "counting_of_a_test", "up_to": 5})
    assert tasks.setup_task({"_name": "counting_of_a_test", "up_to": 5}, from_checkpoint=True).cfg.upto == 3


def test_plugin_in_the_argparse_style(registered):
    @register_task("legacy_of_a_test")
    class LegacyTask(LegacyFairseqTask):
        @classmethod
        def setup_task(cls, args, **kwargs):
            return cls(args)

    args = Namespace(task="legacy_of_a_test", data="a:b")
    task = tasks.setup_task(args)
    assert task.args is args and task.has_sharded_data("train")


def test_names_that_are_taken(registered):
    class Again(FairseqTask):
        pass

    register_task("again_of_a_test")(Again)
    assert register_task("again_of_a_test")(type("Another", (FairseqTask,), {})) is Again
    with pytest.raises(ValueError, match="class named Again"):
        register_task("other_of_a_test")(type("Again", (FairseqTask,), {}))
    with pytest.raises(ValueError, match="must extend FairseqTask"):
        register_task("other_of_a_test")(type("NoTask", (), {}))


def test_unknown_task():
    with pytest.raises(ConfigError, match="did you mean 'sentence_prediction'"):
        tasks.setup_task({"_name": "sentence_predicton"})
    with pytest.raises(ConfigError, match="no task is chosen"):
        tasks.setup_task({})


def test_task_state_goes_only_to_tasks_that_take_it(registered):
    @register_task("strict_of_a_test")
    class StrictTask(FairseqTask):
        def __init__(self, cfg):
            super().__init__(cfg)

    assert isinstance(tasks.setup_task({"_name": "strict_of_a_test"}, task_state={"x": 1}), StrictTask)


# -- state -----------------------------------------------------------------------------------------------------------


def test_state_is_made_on_first_use_or_loaded(task):
    calls = []
    task.state.add_factory("vocabulary", lambda: calls.append(1) or ["a", "b"])
    assert task.state_dict() == {} and calls == []
    assert task.state.vocabulary == ["a", "b"] == task.state.vocabulary and calls == [1]
    resumed = FairseqTask(None)
    resumed.state.add_factory("vocabulary", lambda: calls.append(2))
    resumed.load_state_dict(task.state_dict())
    assert resumed.state.vocabulary == ["a", "b"] and calls == [1]
    with pytest.raises(AttributeError, match="no 'words'"):
        _ = StatefulContainer().words
