"""A study's YAML file as a `StudyConfig`, read and checked.

study = read_config(Path("study.yaml"), ["seeds=[1]"])
"""

import re
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from fairseq.errors import ConfigError, reason, unknown
from fairseq.studies.config_checks import check_config
from fairseq.studies.config_values import mapping_of, name_of, number_of, optional_of, seeds_of, text_of, words_of
from fairseq.studies.study_config import (
    CELLS,
    HYDRA_COMMANDS,
    RESERVED,
    ROW_KEYS,
    TRAIN,
    VALUE_KEYS,
    Part,
    StepPart,
    StudyConfig,
)
from fairseq.studies.yaml_text import parse


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
        raw = mapping_of(parse(text), "the file")
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


def _study(raw: dict[str, Any]) -> StudyConfig:
    names = [each.name for each in fields(StudyConfig)]
    raw.pop(CELLS, None)  # the file is one that a study has left
    for key in raw:
        if key not in names:
            raise ConfigError(unknown("key", key, names))
    if not raw.get("rows"):
        raise ConfigError("rows: there are none; give one at least, as {fp32: [quantization=none]}")
    command = text_of(raw.get("command", "fairseq-hydra-train"), "command")
    steps = _steps(raw["steps"], "steps") if "steps" in raw else {TRAIN: StepPart()}
    dimensions = {
        name_of(name, "dimensions"): _values(name, values, command)
        for name, values in mapping_of(raw.get("dimensions", {}), "dimensions").items()
    }
    rows = {
        name_of(name, "rows"): _part(value, f"rows.{name}", ROW_KEYS)
        for name, value in mapping_of(raw["rows"], "rows").items()
    }
    study = StudyConfig(
        rows=rows,
        command=command,
        config_dir=optional_of(raw, "config_dir"),
        config_name=optional_of(raw, "config_name"),
        common=words_of(raw.get("common", []), "common"),
        dimensions=dimensions,
        steps=steps,
        seeds=seeds_of(raw.get("seeds", ["1"]), "seeds"),
        metric=text_of(raw.get("metric", "loss"), "metric"),
        control=optional_of(raw, "control"),
        title=text_of(raw.get("title", ""), "title"),
        keep_checkpoints=text_of(raw.get("keep_checkpoints", "all"), "keep_checkpoints"),
        launcher={k: text_of(v, f"launcher.{k}") for k, v in mapping_of(raw.get("launcher", {}), "launcher").items()},
    )
    check_config(study)
    return study


def _values(name: str, raw: Any, command: str) -> dict[str, Part]:
    """A dimension: named values, or a list of values of one key of the command."""
    where = f"dimensions.{name}"
    if isinstance(raw, list):
        values = [text_of(value, where) for value in raw]
        if len(set(values)) < len(values):
            raise ConfigError(f"{where}: a value is there twice")
        words = {value: (f"{name}={value}",) if command in HYDRA_COMMANDS else (name, value) for value in values}
        found = {name_of(value, where): Part(set=words[value]) for value in values}
    else:
        found = {
            name_of(value, where): _part(part, f"{where}.{value}", VALUE_KEYS)
            for value, part in mapping_of(raw, where).items()
        }
    if not found:
        raise ConfigError(f"{where}: there are no values")
    return found


def _part(raw: Any, where: str, keys: set[str]) -> Part:
    if isinstance(raw, (list, str)):
        return Part(set=words_of(raw, where))
    raw = mapping_of(raw, f"{where}: write a list of words, or keys;")
    for key in raw:
        if key not in keys:
            raise ConfigError(unknown("key", key, keys, where))
    part = Part(
        config_dir=optional_of(raw, "config_dir", where),
        config_name=optional_of(raw, "config_name", where),
        metric=optional_of(raw, "metric", where),
        command=optional_of(raw, "command", where),
        after=optional_of(raw, "after", where),
        cost=number_of(raw.get("cost", "1"), f"{where}.cost"),
        steps=_steps(raw["steps"], f"{where}.steps") if "steps" in raw else None,
        seeds=seeds_of(raw["seeds"], f"{where}.seeds") if "seeds" in raw else None,
        without=words_of(raw.get("without", []), f"{where}.without"),
        only={
            name: words_of(values, f"{where}.only.{name}")
            for name, values in mapping_of(raw.get("only", {}), f"{where}.only").items()
        },
    )
    words = raw.get("set", [])
    if isinstance(words, dict):
        sets = {step: words_of(value, f"{where}.set.{step}") for step, value in words.items()}
        return replace(part, step_sets=sets)
    return replace(part, set=words_of(words, f"{where}.set"))


def _steps(raw: Any, where: str) -> dict[str, StepPart]:
    found = {}
    names = [each.name for each in fields(StepPart)]
    for name, value in mapping_of(raw, where).items():
        if re.fullmatch(r"\w+", name) is None or name in RESERVED:
            raise ConfigError(f"{where}: {name!r} cannot name a step; use letters, digits and _")
        if isinstance(value, (list, str)):
            value = {"set": value} if value != "" else {}
        for key in mapping_of(value, f"{where}.{name}"):
            if key not in names:
                raise ConfigError(unknown("key", key, names, f"{where}.{name}"))
        options = {key: optional_of(value, key, f"{where}.{name}") for key in ("command", "config_dir", "config_name")}
        found[name] = StepPart(**options, set=words_of(value.get("set", []), f"{where}.{name}.set"))
    if not found:
        raise ConfigError(f"{where}: there are none")
    return found
