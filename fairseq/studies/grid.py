"""The cells of a study: dimensions x rows x seeds, each with its command lines.

    cells = expand(read_config(Path("study.yaml")))
    cells[0].name, cells[0].steps[0].line()

Words in braces are filled in: {row}, {seed} and the name of each dimension here; folders when the cell runs
(`braces.py`): {here} of the step, {cell}, {after}, and each earlier step's name. `{{` and `}}` are braces.

>>> from fairseq.studies.config_reader import from_text
>>> study = from_text("{rows: {fp32: [], int8: [quantization=int8]}, dimensions: {model.dropout: [0.1, 0.2]}}")
>>> [cell.name for cell in expand(study)]
['fp32-dropout0.1-seed1', 'int8-dropout0.1-seed1', 'fp32-dropout0.2-seed1', 'int8-dropout0.2-seed1']
>>> expand(study)[1].steps[0].words
['model.dropout=0.1', 'quantization=int8', 'common.seed=1']
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Optional

from fairseq.errors import ConfigError
from fairseq.studies.braces import replaced
from fairseq.studies.study_config import HYDRA_COMMANDS, TRAIN, Part, StepPart, StudyConfig
from fairseq.studies.study_folder import Cell, Step

_KEY = re.compile(r"(?:\+\+?)?([\w.@/:-]+)=")


def expand(study: StudyConfig) -> list[Cell]:
    """All cells, in the order of the file.

    Raises:
        ConfigError: two cells of one name; a cell starts after one that there is not; an unknown word in braces.
    """
    cells: dict[str, Cell] = {}
    for dimensions in _points(study):
        for row, part in study.rows.items():
            here = {name: value for name, value in dimensions.items() if name not in part.without}
            if any(here.get(name) not in values for name, values in part.only.items()):
                continue
            for seed in part.seeds or study.seeds:
                cell = _cell(study, row, here, seed)
                known = cells.setdefault(cell.name, cell)
                if (known.row, known.dimensions) != (cell.row, cell.dimensions):
                    raise ConfigError(f"two cells are called {cell.name}; rename a row or a value")
    for cell in cells.values():
        if cell.after is not None and cell.after not in cells:
            raise ConfigError(f"{cell.name} starts after {cell.after}, which the study does not have")
    return list(cells.values())


def _points(study: StudyConfig) -> Iterator[dict[str, str]]:
    for values in itertools.product(*study.dimensions.values()):
        yield dict(zip(study.dimensions, values, strict=True))


def _name(row: str, dimensions: Mapping[str, str], study: StudyConfig, seed: int) -> str:
    parts = [row]
    for name, value in dimensions.items():
        word = study.dimensions[name][value].set
        is_key = len(word) > 0 and (word[0] == f"{name}={value}" or word[0] == name)
        parts.append(f"{re.split(r'[./]', name)[-1].lstrip('-')}{value}" if is_key else value)
    return re.sub(r"[^\w.+=-]", "_", "-".join([*parts, f"seed{seed}"]))


def _cell(study: StudyConfig, row: str, dimensions: dict[str, str], seed: int) -> Cell:
    own = study.rows[row]
    parts = [*(study.dimensions[name][value] for name, value in dimensions.items()), own]
    name = _name(row, dimensions, study, seed)
    cell = Cell(name, row, seed, dimensions)
    cell.metric = next((part.metric for part in reversed(parts) if part.metric), study.metric)
    for part in parts:
        cell.cost *= part.cost
    if own.after is not None:
        before = study.rows[own.after]
        shared = {key: value for key, value in dimensions.items() if key not in before.without}
        cell.after = _name(own.after, shared, study, seed)
    steps = own.steps or ({TRAIN: StepPart(command=own.command)} if own.command else study.steps)
    values = {"row": row, "seed": str(seed), **dimensions}
    earlier: list[str] = []
    for step_name, step in steps.items():
        folders = ["here", "cell", *(["after"] if own.after else []), *earlier]
        built = _step(study, parts, step_name, step, seed)
        where = f"rows.{row}, step {step_name}" if len(steps) > 1 else f"rows.{row}"
        built.words = [replaced(word, values, folders, where) for word in built.words]
        built.folder = step_name if len(steps) > 1 else "."
        cell.steps.append(built)
        earlier.append(step_name)
    return cell


def _step(study: StudyConfig, parts: list[Part], name: str, step: StepPart, seed: int) -> Step:
    command = step.command or study.command
    words = list(step.set)
    usual = command == study.command
    if usual:
        words = [*study.common, *step.set]
        words += [word for part in parts for word in (*part.set, *part.step_sets.get(name, ()))]
        words += [f"common.seed={seed}"] if command in HYDRA_COMMANDS else ["--seed", str(seed)]
    else:
        own = parts[-1].set if parts[-1].command else ()  # a row with a command of its own
        words += [*own, *(word for part in parts for word in part.step_sets.get(name, ()))]
    if command in HYDRA_COMMANDS:
        words = _last_of_each_key(words)
    built = Step(name, command, words)
    if usual or command in HYDRA_COMMANDS:
        built.config_dir = _last([study.config_dir, step.config_dir, *(part.config_dir for part in parts)])
        built.config_name = _last([study.config_name, step.config_name, *(part.config_name for part in parts)])
    return built


def _last(values: Iterable[Optional[str]]) -> Optional[str]:
    return next((value for value in reversed(list(values)) if value is not None), None)


def _last_of_each_key(words: list[str]) -> list[str]:
    """Hydra takes a group's choice once only."""
    last = {match[1]: index for index, word in enumerate(words) if (match := _KEY.match(word))}
    return [word for index, word in enumerate(words) if not (match := _KEY.match(word)) or last[match[1]] == index]
