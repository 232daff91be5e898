"""Every built-in optimizer, schedule and criterion is built from the typed root config, interpolations included."""

from types import SimpleNamespace

import pytest
import torch

from fairseq.criterions import CRITERION_REGISTRY, build_criterion
from fairseq.data import Dictionary
from fairseq.dataclass.typed import typed_config
from fairseq.optim import OPTIMIZER_REGISTRY, build_optimizer
from fairseq.optim.lr_scheduler import LR_SCHEDULER_DATACLASS_REGISTRY, build_lr_scheduler

NEEDS = {
    "manual": {"epoch2lr": "{1: 0.5}"},
    "triangular": {"max_lr": 1.0},
    "tri_stage": {"phase_ratio": [0.25, 0.25, 0.5]},
}


def config(**slots):
    return typed_config({"optimization": {"lr": [0.5], "max_update": 20}, **slots})


@pytest.mark.parametrize("name", [name for name in OPTIMIZER_REGISTRY if name != "composite"])  # test_composite.py
def test_optimizer_takes_the_rate_of_the_run(name):
    optimizer = build_optimizer(config(optimizer=name).optimizer, [torch.nn.Parameter(torch.ones(2))])
    assert optimizer.get_lr() == 0.5 and optimizer.optimizer_config["lr"] == 0.5
    optimizer.param_groups[0]["params"][0].grad = torch.ones(2)
    optimizer.step()
    assert bool((optimizer.param_groups[0]["params"][0] < 1).all())


@pytest.mark.parametrize("name", [name for name in LR_SCHEDULER_DATACLASS_REGISTRY if name != "pass_through"])
def test_schedule_takes_rate_and_length_of_the_run(name):
    cfg = config(optimizer="sgd", lr_scheduler={"_name": name, **NEEDS.get(name, {})})
    optimizer = build_optimizer(cfg.optimizer, [torch.nn.Parameter(torch.ones(2))])
    scheduler = build_lr_scheduler(cfg.lr_scheduler, optimizer)
    rates = [scheduler.step_update(update) for update in range(21)]
    assert max(rates) <= 1.0 and max(rates) > 0
    if name in ("polynomial_decay", "cosine"):
        assert rates[0] == 0.5 and rates[10] == pytest.approx(0.25)


@pytest.mark.parametrize("name", CRITERION_REGISTRY)
def test_criterion(name):
    task = SimpleNamespace(target_dictionary=Dictionary(), label_dictionary=None, cfg=SimpleNamespace(num_classes=2))
    criterion = build_criterion(config(criterion=name).criterion, task)
    assert criterion.padding_idx == 1
