"""Learning-rate schedules equal fairseq 0.12's to the last bit (tests/fixtures/lr_schedules.json)."""

import json
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from fairseq.errors import ConfigError
from fairseq.optim import build_optimizer
from fairseq.optim.lr_scheduler import (
    LR_SCHEDULER_DATACLASS_REGISTRY,
    LR_SCHEDULER_REGISTRY,
    FairseqLRScheduler,
    build_lr_scheduler,
)

CASES = json.loads((Path(__file__).parents[1] / "fixtures" / "lr_schedules.json").read_text())


def make_optimizer(lr=0.25):
    cfg = SimpleNamespace(_name="sgd", lr=[lr], momentum=0.0, weight_decay=0.0)
    return build_optimizer(cfg, [torch.nn.Parameter(torch.zeros(1))])


def make_scheduler(name, optimizer, **overrides):
    values = {}
    if name in LR_SCHEDULER_DATACLASS_REGISTRY:
        values = {field.name: field.default for field in fields(LR_SCHEDULER_DATACLASS_REGISTRY[name])}
    return build_lr_scheduler(SimpleNamespace(**{**values, "_name": name, **overrides}), optimizer)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["scheduler"])
def test_sequence_equals_fairseq(case):
    optimizer = make_optimizer(case["config"]["lr"][0])
    scheduler = make_scheduler(case["scheduler"], optimizer, **case["config"])
    for number, (method, arguments, lr) in enumerate(case["calls"]):
        if method != "__init__":
            getattr(scheduler, method)(*arguments)
        assert optimizer.get_lr() == lr, (number, method, arguments)


@pytest.mark.parametrize("cut", [3, 12, 22, 30], ids="cut{}".format)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["scheduler"])
def test_resumed_schedule_goes_on_alike(case, cut):
    """Stop anywhere; a new schedule with the saved states gives the rates of an uninterrupted run from there on."""
    calls = case["calls"][1:]
    optimizer = make_optimizer()
    scheduler = make_scheduler(case["scheduler"], optimizer, **case["config"])
    for method, arguments, _ in calls[:cut]:
        getattr(scheduler, method)(*arguments)
    saved, saved_optimizer = scheduler.state_dict(), optimizer.state_dict()

    optimizer = make_optimizer()
    scheduler = make_scheduler(case["scheduler"], optimizer, **case["config"])
    scheduler.load_state_dict(saved)
    optimizer.load_state_dict(saved_optimizer)
    for last in ("step_update", "step_begin_epoch", "step_update"):  # the order in which a trainer resumes
        arguments = next((a for method, a, _ in reversed(calls[:cut]) if method == last), None)
        if arguments is not None:
            getattr(scheduler, last)(*arguments)
    for method, arguments, lr in calls[cut:]:
        getattr(scheduler, method)(*arguments)
        if method == "step_update":
            assert optimizer.get_lr() == lr, (method, arguments)


def test_every_schedule_of_the_registry_is_covered():
    assert {case["scheduler"] for case in CASES} | {"pass_through"} == set(LR_SCHEDULER_REGISTRY)


def test_base_tracks_the_best_loss():
    scheduler = FairseqLRScheduler(None, make_optimizer())
    for epoch, loss in enumerate([3.0, 2.0, None, 2.5], 1):
        scheduler.step(epoch, loss)
    assert scheduler.state_dict() == {"best": 2.0}
    assert scheduler.step_update(5) == 0.25


def test_pass_through_asks_the_optimizers_schedule():
    optimizer = make_optimizer()
    with pytest.raises(ConfigError, match="has none"):
        make_scheduler("pass_through", optimizer)
    inner = make_scheduler("fixed", optimizer, lr=[0.5, 0.125])
    optimizer.lr_scheduler = inner
    scheduler = make_scheduler("pass_through", optimizer)
    scheduler.step_begin_epoch(2)
    assert scheduler.step_update(3) == 0.125 and scheduler.state_dict() == {"lr": 0.125}


def test_polynomial_decay_adopts_a_new_total():
    optimizer = make_optimizer()
    scheduler = make_scheduler("polynomial_decay", optimizer, lr=[1.0], total_num_update=10)
    scheduler.step_begin_epoch(1)
    scheduler.reinit(20, 10)
    assert optimizer.get_lr() == 0.5


@pytest.mark.parametrize(
    "name, overrides, message",
    [
        ("polynomial_decay", {"lr": [0.1], "total_num_update": 0}, "max_update"),
        ("inverse_sqrt", {"lr": [0.1, 0.2]}, "one optimization.lr"),
        ("inverse_sqrt", {"lr": [0.1], "warmup_updates": 0}, "warmup_updates >= 1"),
        ("cosine", {"lr": [0.1], "max_update": 0}, "lr_period_updates"),
        ("cosine", {"lr": [0.1], "max_update": 9, "min_lr": 0.2}, "below optimization.lr"),
        ("tri_stage", {"lr": [0.1], "max_update": 10}, "phase_ratio"),
        ("tri_stage", {"lr": [0.1], "phase_ratio": [0.5, 0.5, 0.5], "max_update": 10}, "of sum 1"),
        ("triangular", {"lr": [0.1], "max_lr": 0.05}, "above optimization.lr"),
        ("step", {"lr": [0.1], "lr_deacy_period": 0}, "lr_deacy_period"),
        ("manual", {"lr": [0.1], "epoch2lr": "__import__('os')", "update2lr": "{}"}, "expected a dict"),
        ("manual", {"lr": [0.1], "epoch2lr": "{}", "update2lr": "{}"}, "rate for 1"),
    ],
)
def test_settings_that_cannot_work(name, overrides, message):
    with pytest.raises(ConfigError, match=message):
        make_scheduler(name, make_optimizer(), **overrides)


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(ConfigError, match="polynomial_decay"):
        build_lr_scheduler(SimpleNamespace(_name="polynomal_decay"), make_optimizer())
