"""Writes tests/fixtures/lr_schedules.json: learning rates of fairseq 0.12's schedulers, called as a trainer calls them.

Run it with the Python of an environment that holds fairseq 0.12 (`pip install fairseq-fixed`), never with ours on the
path:

    python tests/conformance/make_lr_fixtures.py

Each case is `{scheduler, config, calls}`; a call is `[method, arguments, lr afterwards]`.
tests/optim/test_lr_scheduler.py replays them and wants the same doubles.
"""

import json
import types
from pathlib import Path

import torch

OUT = Path(__file__).resolve().parents[1] / "fixtures" / "lr_schedules.json"

CASES = [
    ("fixed", {"lr": [0.1]}),
    ("fixed", {"lr": [0.1, 0.03, 0.02], "warmup_updates": 5}),
    ("fixed", {"lr": [0.1, 0.05], "force_anneal": 2, "lr_shrink": 0.5, "warmup_updates": 3}),
    ("fixed", {"lr": [0.1], "force_anneal": 0, "lr_shrink": 0.3}),
    ("polynomial_decay", {"lr": [2e-5], "warmup_updates": 4, "total_num_update": 20.0}),
    ("polynomial_decay", {"lr": [1e-3], "total_num_update": 11.0, "power": 2.0, "end_learning_rate": 1e-5}),
    ("polynomial_decay", {"lr": [1e-3, 5e-4, 1e-4], "warmup_updates": 7, "total_num_update": 14.0, "force_anneal": 3}),
    (
        "polynomial_decay",
        {"lr": [1e-3, 5e-4], "warmup_updates": 3, "total_num_update": 40.0, "end_learning_rate": 2e-4},
    ),
    ("inverse_sqrt", {"lr": [5e-4], "warmup_updates": 6}),
    ("inverse_sqrt", {"lr": [5e-4], "warmup_updates": 9, "warmup_init_lr": 1e-7}),
    ("cosine", {"lr": [1e-3], "max_update": 24}),
    ("cosine", {"lr": [1e-3], "max_update": 24, "warmup_updates": 5, "warmup_init_lr": 1e-6, "min_lr": 1e-5}),
    ("cosine", {"lr": [1e-3], "max_update": 24, "lr_period_updates": 7.0, "t_mult": 1.0, "lr_shrink": 0.5}),
    (
        "cosine",
        {"lr": [1e-3], "warmup_updates": 3, "max_update": 24, "lr_period_updates": 4.0, "t_mult": 2.0, "min_lr": 1e-6},
    ),
    ("tri_stage", {"lr": [1e-3], "warmup_steps": 5, "hold_steps": 6, "decay_steps": 8, "max_update": 24}),
    (
        "tri_stage",
        {"lr": [1e-3], "warmup_steps": 0, "hold_steps": 3, "decay_steps": 9, "final_lr_scale": 0.05, "max_update": 24},
    ),
    ("tri_stage", {"lr": [2e-3], "phase_ratio": [0.25, 0.25, 0.5], "init_lr_scale": 0.1, "max_update": 24}),
    ("triangular", {"lr": [1e-4], "max_lr": 1e-3, "lr_period_updates": 8.0}),
    ("triangular", {"lr": [1e-4], "max_lr": 1e-3, "lr_period_updates": 6.0, "lr_shrink": 0.5, "shrink_min": True}),
    ("reduce_lr_on_plateau", {"lr": [1e-3], "maximize_best_checkpoint_metric": False}),
    (
        "reduce_lr_on_plateau",
        {"lr": [1e-3], "lr_patience": 1, "lr_shrink": 0.5, "maximize_best_checkpoint_metric": True},
    ),
    (
        "reduce_lr_on_plateau",
        {"lr": [1e-3], "warmup_updates": 10, "warmup_init_lr": 1e-5, "maximize_best_checkpoint_metric": False},
    ),
    ("step", {"lr": [1e-3], "lr_deacy_period": 5, "lr_decay": 0.5}),
    (
        "step",
        {
            "lr": [1e-3],
            "warmup_updates": 4,
            "warmup_init_lr": 1e-5,
            "min_lr": 2e-4,
            "lr_deacy_period": 6,
            "lr_decay": 0.7,
        },
    ),
    ("manual", {"lr": [0.1], "epoch2lr": "{'1-2': 0.5, '3': 0.25}", "update2lr": "{}"}),
    ("manual", {"lr": [0.1], "epoch2lr": "{}", "update2lr": "{'1-4': 0.5, '6,9': 0.25}"}),
]
VALID_LOSSES = [3.0, 2.0, 2.5, 2.4, None]  # one a finished epoch; the last one was not validated
UPDATES_PER_EPOCH = 6


def replay(scheduler, optimizer) -> list:
    """The calls of a training run of five epochs; see the head of this file."""
    calls = []

    def call(method, *arguments):
        getattr(scheduler, method)(*arguments)
        calls.append([method, list(arguments), optimizer.get_lr()])

    calls.append(["__init__", [], optimizer.get_lr()])
    call("step_update", 0)
    update = 0
    for epoch, loss in enumerate(VALID_LOSSES, 1):
        call("step_begin_epoch", epoch)
        for _ in range(UPDATES_PER_EPOCH):
            update += 1
            call("step_update", update)
        call("step", epoch, loss)
        call("step_update", update)
    return calls


def main() -> None:
    """Run every case under fairseq 0.12 and write the file."""
    from fairseq.optim import FairseqOptimizer
    from fairseq.optim.lr_scheduler import LR_SCHEDULER_REGISTRY

    class Plain(FairseqOptimizer):
        def __init__(self, lr):
            super().__init__(None)
            self._optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)

        @property
        def optimizer_config(self):
            return {}

    cases = []
    for name, overrides in CASES:
        cls = LR_SCHEDULER_REGISTRY[name]
        dataclass = getattr(cls, "__dataclass", None)
        values = {**(vars(dataclass()) if dataclass else {}), **overrides}
        optimizer = Plain(lr=values["lr"][0])
        calls = replay(cls(types.SimpleNamespace(**values), optimizer), optimizer)
        cases.append({"scheduler": name, "config": overrides, "calls": calls})
    OUT.parent.mkdir(exist_ok=True)
    lines = ",\n".join(json.dumps(case) for case in cases)
    OUT.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    print(f"{len(cases)} cases in {OUT}")


if __name__ == "__main__":
    main()
