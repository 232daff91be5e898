"""What a study's YAML file says, read and checked.

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

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Optional

import yaml

from fairseq.errors import ConfigError, reason, unknown
from fairseq.studies.yaml_text import parse

TRAIN = "train"  # name of the only step, where none are given
HYDRA_COMMANDS = ("fairseq-hydra-train", "fairseq-hydra-validate")
CELLS = "cells"  # of a study's own file: the names of its cells
RESERVED = ("here", "cell", "after", "seed", "row")  # words in braces
KEEP = ("all", "last", "best", "none")
_NAME = re.compile(r"[\w.+=-][\w.+=, -]*")


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


def read_config(path: Path, words: Sequence[str] = ()) -> StudyConfig:
    """The study that the YAML file at `path` asks for.

    Args:
        words: `KEY=VALUE`, which replace what the file says: `seeds=[1,2]`, `rows.int8.cost=2`.

    Raises:
        ConfigError: the file is missing, or something in it cannot be used; names the key.
    """
    return from_text(_read(path), words, str(path))


def from_text(text: str, words: Sequence[str] = (), where: str = "the study") -> StudyConfig:
    """As `read_config`, from the file's text."""
    try:
        raw = _mapping(parse(text), "the file")
        for word in words:
            _replace(raw, word)
        return _study(raw)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is no text file") from None
    except OSError as error:
        raise ConfigError(f"cannot read the study {path}: {reason(error)}") from None


def _replace(raw: dict[str, Any], word: str) -> None:
    key, equals, value = word.partition("=")
    if not equals:
        raise ConfigError(f"{word!r} is no setting; write KEY=VALUE")
    *groups, last = key.split(".")
    node = raw
    for group in groups:
        node = node.setdefault(group, {})
        if not isinstance(node, dict):
            raise ConfigError(f"{key}: {group} holds no keys")
    node[last] = parse(value)


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


# -- reading ---------------------------------------------------------------------------------------------------------


def _study(raw: dict[str, Any]) -> StudyConfig:
    names = [each.name for each in fields(StudyConfig)]
    raw.pop(CELLS, None)  # the file is one that a study has left
    for key in raw:
        if key not in names:
            raise ConfigError(unknown("key", key, names))
    if not raw.get("rows"):
        raise ConfigError("rows: there are none; give one at least, as {fp32: [quantization=none]}")
    command = _text(raw.get("command", "fairseq-hydra-train"), "command")
    steps = _steps(raw["steps"], "steps") if "steps" in raw else {TRAIN: StepPart()}
    dimensions = {
        _name(name, "dimensions"): _values(name, values, command)
        for name, values in _mapping(raw.get("dimensions", {}), "dimensions").items()
    }
    rows = {
        _name(name, "rows"): _part(value, f"rows.{name}", ROW_KEYS)
        for name, value in _mapping(raw["rows"], "rows").items()
    }
    study = StudyConfig(
        rows=rows,
        command=command,
        config_dir=_optional(raw, "config_dir"),
        config_name=_optional(raw, "config_name"),
        common=_words(raw.get("common", []), "common"),
        dimensions=dimensions,
        steps=steps,
        seeds=_seeds(raw.get("seeds", ["1"]), "seeds"),
        metric=_text(raw.get("metric", "loss"), "metric"),
        control=_optional(raw, "control"),
        title=_text(raw.get("title", ""), "title"),
        keep_checkpoints=_text(raw.get("keep_checkpoints", "all"), "keep_checkpoints"),
        launcher={k: _text(v, f"launcher.{k}") for k, v in _mapping(raw.get("launcher", {}), "launcher").items()},
    )
    _check(study)
    return study


def _check(study: StudyConfig) -> None:
    if study.keep_checkpoints not in KEEP:
        raise ConfigError(unknown("value", study.keep_checkpoints, KEEP, "keep_checkpoints"))
    if study.control is not None and study.control not in study.rows:
        raise ConfigError(unknown("row", study.control, study.rows, "control"))
    for name, row in study.rows.items():
        where = f"rows.{name}"
        if row.after is not None and row.after not in study.rows:
            raise ConfigError(unknown("row", row.after, study.rows, f"{where}.after"))
        for dimension in (*row.without, *row.only):
            if dimension not in study.dimensions:
                raise ConfigError(unknown("dimension", dimension, study.dimensions, where))
        for dimension, values in row.only.items():
            for value in values:
                if value not in study.dimensions[dimension]:
                    raise ConfigError(unknown("value", value, study.dimensions[dimension], f"{where}.only.{dimension}"))
        if row.command is not None and row.steps is not None:
            raise ConfigError(f"{where}: give command or steps, not both")
    _check_order(study)
    places = {f"rows.{name}": (row, [row.steps or study.steps]) for name, row in study.rows.items()}
    for dimension, parts in study.dimensions.items():
        every = [study.steps, *(row.steps for row in study.rows.values() if row.steps)]
        places |= {f"dimensions.{dimension}.{value}": (part, every) for value, part in parts.items()}
    for where, (part, chains) in places.items():
        for step in part.step_sets:
            if not any(step in chain for chain in chains):
                raise ConfigError(unknown("step", step, [name for chain in chains for name in chain], f"{where}.set"))


def _check_order(study: StudyConfig) -> None:
    for name in study.rows:
        chain = [name]
        while (after := study.rows[chain[-1]].after) is not None:
            if after in chain:
                raise ConfigError(f"rows: {' after '.join([*chain, after])} has no beginning")
            chain.append(after)


def _values(name: str, raw: Any, command: str) -> dict[str, Part]:
    """A dimension: named values, or a list of values of one key of the command."""
    where = f"dimensions.{name}"
    if isinstance(raw, list):
        values = [_text(value, where) for value in raw]
        if len(set(values)) < len(values):
            raise ConfigError(f"{where}: a value is there twice")
        words = {value: (f"{name}={value}",) if command in HYDRA_COMMANDS else (name, value) for value in values}
        found = {_name(value, where): Part(set=words[value]) for value in values}
    else:
        found = {
            _name(value, where): _part(part, f"{where}.{value}", VALUE_KEYS)
            for value, part in _mapping(raw, where).items()
        }
    if not found:
        raise ConfigError(f"{where}: there are no values")
    return found


def _part(raw: Any, where: str, keys: set[str]) -> Part:
    if isinstance(raw, (list, str)):
        return Part(set=_words(raw, where))
    raw = _mapping(raw, f"{where}: write a list of words, or keys;")
    for key in raw:
        if key not in keys:
            raise ConfigError(unknown("key", key, keys, where))
    part = Part(
        config_dir=_optional(raw, "config_dir", where),
        config_name=_optional(raw, "config_name", where),
        metric=_optional(raw, "metric", where),
        command=_optional(raw, "command", where),
        after=_optional(raw, "after", where),
        cost=_number(raw.get("cost", "1"), f"{where}.cost"),
        steps=_steps(raw["steps"], f"{where}.steps") if "steps" in raw else None,
        seeds=_seeds(raw["seeds"], f"{where}.seeds") if "seeds" in raw else None,
        without=_words(raw.get("without", []), f"{where}.without"),
        only={
            name: _words(values, f"{where}.only.{name}")
            for name, values in _mapping(raw.get("only", {}), f"{where}.only").items()
        },
    )
    words = raw.get("set", [])
    if isinstance(words, dict):
        sets = {step: _words(value, f"{where}.set.{step}") for step, value in words.items()}
        return replace(part, step_sets=sets)
    return replace(part, set=_words(words, f"{where}.set"))


def _steps(raw: Any, where: str) -> dict[str, StepPart]:
    found = {}
    names = [each.name for each in fields(StepPart)]
    for name, value in _mapping(raw, where).items():
        if re.fullmatch(r"\w+", name) is None or name in RESERVED:
            raise ConfigError(f"{where}: {name!r} cannot name a step; use letters, digits and _")
        if isinstance(value, (list, str)):
            value = {"set": value} if value != "" else {}
        for key in _mapping(value, f"{where}.{name}"):
            if key not in names:
                raise ConfigError(unknown("key", key, names, f"{where}.{name}"))
        options = {key: _optional(value, key, f"{where}.{name}") for key in ("command", "config_dir", "config_name")}
        found[name] = StepPart(**options, set=_words(value.get("set", []), f"{where}.{name}.set"))
    if not found:
        raise ConfigError(f"{where}: there are none")
    return found


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if value == "":  # `rows:` with nothing behind it
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"{where} must hold keys, KEY: VALUE")
    return value


def _words(value: Any, where: str) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [value] if value else []
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise ConfigError(f"{where} must be a list of words, [KEY=VALUE, ...]; quote a word that holds a comma or {{")
    return tuple(value)


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"{where} must be one word")
    return value


def _optional(raw: Mapping[str, Any], key: str, where: str = "") -> Optional[str]:
    if key not in raw or raw[key] in ("", "null", "~"):
        return None
    return _text(raw[key], f"{where}.{key}".lstrip("."))


def _number(value: Any, where: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ConfigError(f"{where} must be a number, got {value!r}") from None
    if not 0 < number < float("inf"):
        raise ConfigError(f"{where} must be above 0, got {value}")
    return number


def _seeds(value: Any, where: str) -> tuple[int, ...]:
    words = value.split() if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) and re.fullmatch(r"\d+", word) for word in words):
        raise ConfigError(f"{where} must be a list of whole numbers, [1, 2, 3]")
    seeds = tuple(int(word) for word in words)
    if not seeds or len(set(seeds)) < len(seeds):
        raise ConfigError(f"{where}: {'one is there twice' if seeds else 'there are none'}")
    return seeds


def _name(name: Any, where: str) -> str:
    """Of a row or value: it is part of the name of a folder."""
    if not isinstance(name, str) or _NAME.fullmatch(name) is None or set(name) <= {"."}:
        raise ConfigError(f"{where}: {name!r} cannot be a name; use letters, digits and . _ - + =")
    return name
