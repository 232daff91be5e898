"""Runs of `save_checkpoint` with a trainer that only writes down what it is told, for comparison with fairseq 0.12.

Run by tests/conformance/make_checkpoint_fixtures.py under fairseq 0.12 and by test_saving.py under ours: only public
names are used. A scenario is a config and a list of calls; `run` gives, after each call, the files in the folder with
what each holds.
"""

import itertools
import json
import random
import types
from pathlib import Path

from fairseq import checkpoint_utils

DEFAULTS = {
    "no_save": False,
    "save_interval": 1,
    "save_interval_updates": 0,
    "keep_interval_updates": -1,
    "keep_interval_updates_pattern": -1,
    "keep_last_epochs": -1,
    "keep_best_checkpoints": -1,
    "no_epoch_checkpoints": False,
    "no_last_checkpoints": False,
    "best_checkpoint_metric": "loss",
    "maximize_best_checkpoint_metric": False,
    "write_checkpoints_asynchronously": False,
}
CONFIGS = [
    {},
    {"maximize_best_checkpoint_metric": True, "best_checkpoint_metric": "best_f1_score"},
    {"no_epoch_checkpoints": True, "no_last_checkpoints": True},
    {"no_save": True},
    {"save_interval": 2, "keep_last_epochs": 2},
    {"save_interval_updates": 5, "keep_interval_updates": 2, "no_epoch_checkpoints": True},
    {"save_interval_updates": 2, "keep_interval_updates": 1, "keep_interval_updates_pattern": 4},
    {"keep_best_checkpoints": 2, "no_epoch_checkpoints": True},
    {"keep_best_checkpoints": 3, "maximize_best_checkpoint_metric": True, "best_checkpoint_metric": "acc"},
    {"keep_best_checkpoints": 1, "save_interval_updates": 5, "keep_last_epochs": 1, "suffix": "-x"},
    {"suffix": "_part0", "save_interval_updates": 5, "keep_interval_updates": 1},
]


def calls(seed: int) -> list[dict]:
    """Four epochs of ten updates; some calls in mid-epoch, some without a validation."""
    draw, made = random.Random(seed), []
    for epoch, update in itertools.product(range(1, 5), range(1, 11)):
        if update % 2 == 0 or update % 5 == 0:
            value = None if draw.random() < 0.3 else round(draw.choice([0.5, 0.25, draw.random() * 2]), 3)
            made.append({"epoch": epoch, "updates": 10 * (epoch - 1) + update, "end": update == 10, "val_loss": value})
    return made


SCENARIOS = [{"config": config, "calls": calls(seed)} for seed in (0, 1) for config in CONFIGS]


class Trainer:
    is_data_parallel_master = should_save_checkpoint_on_current_rank = True
    always_call_state_dict_during_save_checkpoint = False
    data_parallel_rank = 0
    task = types.SimpleNamespace(get_checkpoint_dict=lambda: {"of_the_task": 1, "best": "is not the task's"})
    best_score = None

    def __init__(self, suffix: str):
        self.checkpoint_suffix = suffix
        self.updates = 0

    def get_num_updates(self) -> int:
        return self.updates

    def consolidate_optimizer(self) -> None:
        pass

    def save_checkpoint(self, filename, extra_state) -> None:
        with open(filename, "w") as file:
            json.dump({"updates": self.updates, **extra_state}, file)


def run(scenario: dict, folder: str) -> list[dict[str, str]]:
    config = {**DEFAULTS, "save_dir": folder, **scenario["config"]}
    trainer = Trainer(config.pop("suffix", ""))
    cfg, seen = types.SimpleNamespace(**config), []
    for call in scenario["calls"]:
        trainer.updates = call["updates"]
        epoch_itr = types.SimpleNamespace(
            epoch=call["epoch"],
            end_of_epoch=lambda call=call: call["end"],
            state_dict=lambda call=call: {"epoch": call["epoch"]},
        )
        checkpoint_utils.save_checkpoint(cfg, trainer, epoch_itr, call["val_loss"])
        seen.append({path.name: path.read_text() for path in sorted(Path(folder).iterdir())})
    return seen


def summary(seen: list[dict[str, str]]) -> list[str]:
    """One line a call: `name@updates/best ...`."""
    lines = []
    for files in seen:
        held = {name: json.loads(text) for name, text in files.items()}
        lines.append(" ".join(f"{name}@{state['updates']}/{state.get('best')}" for name, state in held.items()))
    return lines
