"""Cases: several optimizers in one."""

import copy

import torch
from name_case_tools import case, plain, raised
from torch import nn


def parameter(group, *shape):
    values = torch.sin(torch.arange(float(torch.Size(shape).numel()))).view(*shape)
    made = nn.Parameter(values)
    if group is not None:
        made.param_group = group
    return made


def settings():
    from omegaconf import OmegaConf

    adam = {
        "_name": "adam", "adam_betas": "(0.9,0.98)", "adam_eps": 1e-8, "weight_decay": 0.0, "use_old_adam": False,
        "fp16_adam_stats": False, "tpu": False, "lr": [1.0],
    }  # fmt: skip
    fixed = {"_name": "fixed", "warmup_updates": 4, "force_anneal": None, "lr_shrink": 0.1, "lr": [1.0]}
    first = {"lr": [0.1], "lr_float": None, "optimizer": adam, "lr_scheduler": fixed}
    sgd = {"_name": "sgd", "momentum": 0.9, "weight_decay": 0.0, "lr": [1.0]}
    root = {"_name": "inverse_sqrt", "warmup_updates": 2, "warmup_init_lr": -1, "lr": [1.0]}
    second = {"lr": [0.5], "lr_float": 0.3, "optimizer": sgd, "lr_scheduler": root}
    return OmegaConf.create({"_name": "composite", "dynamic_groups": False, "groups": {"a": first, "default": second}})


@case
def optimizers_for_groups():
    from fairseq.optim.composite import FairseqCompositeOptimizer

    found, weights = [], [parameter("a", 2, 2), parameter(None, 3), parameter("a", 2)]
    optimizer = FairseqCompositeOptimizer(settings(), weights)
    schedule = optimizer.lr_scheduler
    found.append([list(optimizer.optimizers), list(optimizer.lr_schedulers), float(optimizer.get_lr())])
    found.append([optimizer.supports_groups, optimizer.supports_flat_params, type(optimizer.optimizer).__name__])
    found.append([float(group["lr"]) for group in optimizer.param_groups])
    for update in range(1, 4):
        optimizer.zero_grad()
        sum((weight**2).sum() for weight in weights).backward()
        optimizer.step()
        found.append(
            [[weight.detach().clone() for weight in weights], schedule.step_update(update), optimizer.get_lr()]
        )
    schedule.step_begin_epoch(2)
    schedule.step(1, 0.5)
    state = copy.deepcopy(optimizer.state_dict())
    # fairseq keeps the validation loss from the schedules
    found.append([sorted(state), schedule.state_dict()["a"], sorted(schedule.state_dict()), schedule.step_update(4)])
    optimizer.step(groups=["a"])
    found.append([weight.detach().clone() for weight in weights])
    again = FairseqCompositeOptimizer(settings(), weights)  # in fairseq, the first one has its optimizers from now on
    again.load_state_dict(state)
    sum((weight**2).sum() for weight in weights).backward()
    again.step()
    found.append([weight.detach().clone() for weight in weights])
    for others in ([parameter("a", 2)], [parameter("b", 2), parameter("a", 2)]):
        found.append(raised(lambda others=others: FairseqCompositeOptimizer(settings(), others)) is not None)
    return plain(found)
