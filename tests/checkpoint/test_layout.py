"""Entries of other kinds below the top level, and configs that ask for more than the weights: one line each."""

import copy
import resource
from argparse import Namespace

import pytest
import torch

from fairseq.checkpoint.budget import Budget
from fairseq.checkpoint_utils import load_checkpoint_to_cpu, load_ema_from_checkpoint, load_model_ensemble_and_task
from fairseq.errors import CheckpointError, ConfigError

HISTORY = {"criterion_name": "C", "optimizer_name": "O", "lr_scheduler_state": {}, "num_updates": 3}
POSITION = {"epoch": 1, "iterations_in_epoch": 2}
ODD = [
    ("model.w", {"model": {"w": [1.0]}}),
    ("model", {"model": {3: torch.zeros(1)}}),
    ("optimizer_history.*.criterion_name", {"optimizer_history": [{**HISTORY, "criterion_name": 3}]}),
    ("optimizer_history.*.lr_scheduler_state", {"optimizer_history": [{**HISTORY, "lr_scheduler_state": []}]}),
    ("optimizer_history.*.num_updates", {"optimizer_history": [{**HISTORY, "num_updates": "3"}]}),
    ("last_optimizer_state", {"last_optimizer_state": []}),
    ("task_state", {"task_state": "x"}),
    ("task_state.dictionaries.*", {"task_state": {"dictionaries": {"source": 3}}}),
    ("extra_state.train_iterator.epoch", {"extra_state": {"train_iterator": {**POSITION, "epoch": 1.5}}}),
    (
        "extra_state.train_iterator.iterations_in_epoch",
        {"extra_state": {"train_iterator": {**POSITION, "iterations_in_epoch": None}}},
    ),
    ("extra_state.best", {"extra_state": {"best": "0.5"}}),
    ("extra_state.metrics", {"extra_state": {"metrics": []}}),
    ("quantization", {"quantization": [1]}),
    ("criterion", {"criterion": torch.zeros(1)}),
]


def saved(tmp_path, **state):
    path = tmp_path / "c.pt"
    torch.save({"model": {}, **state}, path)
    return str(path)


@pytest.mark.parametrize(("name", "state"), ODD, ids=[name for name, _ in ODD])
def test_entries_of_another_kind_are_named(name, state, tmp_path):
    path = saved(tmp_path, **state)
    with pytest.raises(CheckpointError) as error:
        load_checkpoint_to_cpu(path)
    assert f"checkpoint {path} is not in fairseq's layout: its {name} holds a" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("count", [-1, 2**62, 2**70])
@pytest.mark.parametrize("name", ["epoch", "iterations_in_epoch", "num_shards"])
def test_counts_that_no_run_reaches(name, count, tmp_path):
    path = saved(tmp_path, extra_state={"train_iterator": {**POSITION, name: count}})
    with pytest.raises(CheckpointError, match=f"is damaged: its extra_state.train_iterator.{name} is"):
        load_checkpoint_to_cpu(path)


def test_averages_of_another_kind(tmp_path):
    torch.save([1], tmp_path / "c.pt")
    with pytest.raises(CheckpointError, match="holds no model in fairseq's layout, but list"):
        load_ema_from_checkpoint(str(tmp_path / "c.pt"))
    with pytest.raises(CheckpointError, match=r"its extra_state.ema holds a list"):
        load_ema_from_checkpoint(saved(tmp_path, extra_state={"ema": [1]}))


# -- a config that asks for too much -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(fixtures):
    path = fixtures / "checkpoints" / "hydra.pt"
    state = torch.load(path, weights_only=False)
    return {**state, "last_optimizer_state": None}


def load(state, tmp_path, fixtures):
    torch.save(state, tmp_path / "c.pt")
    return load_model_ensemble_and_task([str(tmp_path / "c.pt")], {"data": str(fixtures / "checkpoints" / "data")})


@pytest.mark.parametrize(
    ("group", "changes"),
    [
        ("model", {"encoder_embed_dim": 10**6}),
        ("model", {"encoder_ffn_embed_dim": 10**8}),
        ("model", {"encoder_layers": 10**6}),
        ("model", {"max_source_positions": 10**8}),
        ("task", {"num_classes": 10**8}),
        ("model", {"encoder_embed_dim": 10**6, "encoder_learned_pos": False}),
    ],
)
def test_a_config_that_asks_for_more_than_the_weights(group, changes, small, tmp_path, fixtures):
    state = copy.deepcopy(small)
    state["cfg"][group].update(changes)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match="its config asks for a model much larger than its weights") as error:
        load(state, tmp_path, fixtures)
    assert str(tmp_path / "c.pt") in str(error.value) and "\n" not in str(error.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kilobytes


@pytest.mark.parametrize("changes", [{"encoder_attention_heads": 0}])
def test_a_config_that_builds_no_model(changes, small, tmp_path, fixtures):
    state = copy.deepcopy(small)
    state["cfg"]["model"].update(changes)
    with pytest.raises(CheckpointError, match=r"checkpoint .*c\.pt: its config cannot be used"):
        load(state, tmp_path, fixtures)


def test_a_setting_of_a_checkpoint_is_named_with_its_file(small, tmp_path, fixtures):
    state = copy.deepcopy(small)
    state["cfg"]["model"]["encoder_attention_heads"] = 7
    with pytest.raises(ConfigError, match=r"^checkpoint .*c\.pt: attention heads: 7 does not divide the width"):
        load(state, tmp_path, fixtures)


def test_the_file_itself_is_within_its_budget(small, tmp_path, fixtures):
    assert load(copy.deepcopy(small), tmp_path, fixtures)[0]


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.empty(1 << 40),
        lambda: torch.zeros((1 << 20, 1 << 20)),
        lambda: torch.ones(size=(1 << 40,)),
        lambda: torch.full((1 << 40,), 1.0),
        lambda: torch.arange(1 << 40),
        lambda: torch.arange(0, 1e12, 1),
        lambda: torch.eye(1 << 20),
        lambda: [torch.empty(1) for _ in range(10**6)],
    ],
)
def test_what_is_counted(make):
    with pytest.raises(CheckpointError, match="much larger than its weights"), Budget(10**6, "checkpoint c.pt"):
        make()


def test_flags_of_2020_are_checked_too(tmp_path):
    path = saved(tmp_path, args=Namespace(arch="roberta_base"), extra_state={"epoch": "3"})
    with pytest.raises(CheckpointError, match=r"its extra_state.epoch holds a str"):
        load_checkpoint_to_cpu(path)
