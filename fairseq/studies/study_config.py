"""What a study's YAML file says (`config_reader.py` reads it).

    command: fairseq-hydra-train
    config_dir: examples/acceptability/config
    config_name: acceptability
    common: [task.data=acceptability-bin, optimization.max_update=500]
    dimensions:                                       # the grid is dimensions x rows x seeds
      task: {rte: [task.data=RTE-bin], cola: {set: [task.data=CoLA-bin], metric: mcc}}
      quantization.num_bits: [4, 8]                   # any key of the command
    rows: {fp32: [quantization=none], int8: [quantization=int8]}
    seeds: [1, 2, 3]
    metric: accuracy

All that a row or a value of a dimension may say is in `Part`; docs/studies.md explains it. Scalars are text as written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Optional

import yaml

TRAIN = "train"  # name of the only step, where none are given
HYDRA_COMMANDS = ("fairseq-hydra-train", "fairseq-hydra-validate")
CELLS = "cells"  # of a study's own file: the names of its cells
RESERVED = ("here", "cell", "after", "seed", "row")  # words in braces
KEEP = ("all", "last", "best", "none")


@dataclass(frozen=True)
class StepPart:
    """One command of a cell. None: what the study says."""

    command: Optional[str] = None
    config_dir: Optional[str] = None
    config_name: Optional[str] = None
    set: tuple[str, ...] = ()


@dataclass(frozen=True)
class Part:
    """A row, or one value of a dimension: what it adds to the study's defaults.

    Attributes:
        set: words for every step that runs the study's command.
        step_sets: words for one step, by its name.
        metric: that tables show for these cells.
        cost: of one update, relative to others: cheap cells run first.
        command: rows only: runs this one instead, without the study's common words.
        steps: rows only: a chain of commands instead of the study's.
        seeds: rows only.
        after: rows only: the cells start when those of this row have finished, with the folder `{after}`.
        without: rows only: dimensions that the row does not have.
        only: rows only: dimension -> the values for which the row is run.
    """

    set: tuple[str, ...] = ()
    step_sets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    config_dir: Optional[str] = None
    config_name: Optional[str] = None
    metric: Optional[str] = None
    cost: float = 1.0
    command: Optional[str] = None
    steps: Optional[Mapping[str, StepPart]] = None
    seeds: Optional[tuple[int, ...]] = None
    after: Optional[str] = None
    without: tuple[str, ...] = ()
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


ROW_KEYS = {each.name for each in fields(Part)} - {"step_sets"}
VALUE_KEYS = ROW_KEYS - {"command", "steps", "seeds", "after", "without", "only"}


@dataclass(frozen=True)
class StudyConfig:
    """A whole study.

    Attributes:
        title: for tables and pages.
        control: the row that others are compared with, such as one in full precision with as many updates.
        keep_checkpoints: of finished cells: all, last, best or none.
        launcher: settings of Hydra's launcher, such as {"partition": "gpu", "timeout_min": "600"}.
    """

    rows: Mapping[str, Part]
    command: str = "fairseq-hydra-train"
    config_dir: Optional[str] = None
    config_name: Optional[str] = None
    common: tuple[str, ...] = ()
    dimensions: Mapping[str, Mapping[str, Part]] = field(default_factory=dict)
    steps: Mapping[str, StepPart] = field(default_factory=lambda: {TRAIN: StepPart()})
    seeds: tuple[int, ...] = (1,)
    metric: str = "loss"
    control: Optional[str] = None
    title: str = ""
    keep_checkpoints: str = "all"
    launcher: Mapping[str, str] = field(default_factory=dict)


def as_yaml(study: StudyConfig, cells: Sequence[str]) -> str:
    """The file that asks for `study`, with everything filled in, and the names of its cells."""
    values = {each.name: getattr(study, each.name) for each in fields(study)}
    return yaml.safe_dump(_plain({**values, CELLS: list(cells)}), sort_keys=False, width=120, allow_unicode=True)


def _plain(value: Any) -> Any:
    """As YAML has it, without what says nothing."""
    if isinstance(value, (Part, StepPart)):
        found = {each.name: getattr(value, each.name) for each in fields(value)}
        sets = found.pop("step_sets", {})
        if sets:
            found["set"] = sets
        if found.get("cost") == 1:
            del found["cost"]
        return _plain(found)
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items() if item not in (None, "", (), {})}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
