"""What a search's YAML file says, checked.

    command: fairseq-hydra-train             # what is run; the only one so far
    config_dir: examples/acceptability/config
    config_name: acceptability
    common: [task.data=acceptability-bin, optimization.max_update=500]   # words of every run
    space: {optimization.lr: {low: 1e-4, high: 1e-2, log: true}, model.dropout: [0.0, 0.1]}   # any key
    architecture: {model.encoder_layers: [1, 2, 4]}                      # keys that must change the model
    precision: {...}                         # see precision.py
    compress: {passes: {...}, finetune: [...], stages: [none, compressed, finetuned]}   # see stages.py
    objectives: [accuracy, average_bits]
    samplers: [tpe, random, grid]
    seeds: [1, 2, 3]
    trials: 20                               # of each sampler and seed

Trials are scored on `train[90%:]`, which they do not train on (`holdout: 10`), or on a subset of its own
(`select: valid`). `test: valid` is scored once, by the best one. The file is read as YAML 1.2 (or TOML).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional, Union

from fairseq.errors import ConfigError, unknown
from fairseq.graph.config.files import read_file, read_yaml
from fairseq.studies.search.objectives import MAXIMIZE, Objective
from fairseq.studies.search.samplers import Pruner, Sampler

COMMAND = "fairseq-hydra-train"
STAGES = ("none", "compressed", "finetuned", "control")
COMPRESS_KEYS = ("passes", "finetune", "stages")
SECTIONS = ("space", "architecture", "precision", "compress")


@dataclass(frozen=True)
class SearchConfig:
    """A complete search; see the head of this file.

    Attributes:
        passes: of `fairseq-graph transform`, options with choices among them.
        finetune: words that training after compression has in addition.
        stages: after which the objective is taken, one search each.
        holdout: percent of the training set that trials are scored on; 0 with `select`.
        select: the subset that trials are scored on.
        test: the subset that is scored once at the end; None: nothing is.
        total: whether the objective is one sum of all.
        reuse: whether equal runs are done once; their numbers are equal anyway.
        latency_repeats: how often `latency` is measured in each trial.
        document: the file as it was read.
    """

    config_name: str
    config_dir: Optional[str] = None
    common: tuple[str, ...] = ()
    space: Mapping[str, Any] = field(default_factory=dict)
    architecture: Mapping[str, Any] = field(default_factory=dict)
    precision: Optional[Mapping[str, Any]] = None
    passes: Mapping[str, Any] = field(default_factory=dict)
    finetune: tuple[str, ...] = ()
    stages: tuple[str, ...] = ("none",)
    objectives: tuple[Objective, ...] = ()
    total: bool = False
    samplers: tuple[Sampler, ...] = (Sampler("tpe"),)
    seeds: tuple[int, ...] = (1,)
    trials: int = 20
    pruner: Pruner = Pruner("none")
    storage: Optional[str] = None
    holdout: float = 10.0
    select: Optional[str] = None
    test: Optional[str] = "valid"
    reuse: bool = True
    latency_repeats: int = 20
    document: Mapping[str, Any] = field(default_factory=dict)

    @property
    def directions(self) -> tuple[str, ...]:
        return (MAXIMIZE,) if self.total else tuple(objective.direction for objective in self.objectives)

    @property
    def value_names(self) -> tuple[str, ...]:
        """Names of a trial's values."""
        return ("objective",) if self.total else tuple(objective.metric for objective in self.objectives)

    @property
    def final_stage(self) -> str:
        """The stage whose best trial is the search's: the last one that is no control."""
        stages = [stage for stage in self.stages if stage != "control"]
        return stages[-1] if stages else self.stages[-1]

    @property
    def compresses(self) -> bool:
        return any(stage in ("compressed", "finetuned") for stage in self.stages)


KEYS = (
    "command", "config_dir", "config_name", "common", *SECTIONS, "objectives", "metric", "sum", "samplers", "seeds",
    "trials", "pruner", "storage", "holdout", "select", "test", "reuse", "latency_repeats",
)  # fmt: skip


def read_config(path: Union[str, Path], changes: Sequence[str] = ()) -> SearchConfig:
    """The search that a file describes.

    Args:
        changes: `KEY=VALUE` in place of the file's, the value as in YAML; `compress.stages=[none]` for a key below one.

    Raises:
        ConfigError: the file, a key or a value of it, in one line.
    """
    path = Path(path)
    values = read_file(path)
    for change in changes:
        _change(values, change)
    return build_config(values, str(path), path.parent)


def _change(values: dict[str, Any], change: str) -> None:
    key, equals, text = change.partition("=")
    if not equals or not key:
        raise ConfigError(f"{change!r} is no setting of the search; write KEY=VALUE, such as trials=10")
    *above, last = key.split(".") if key.split(".")[0] in ("compress", "precision", "pruner") else [key]
    for name in above:
        inner = values.get(name)
        values[name] = values = dict(inner) if isinstance(inner, Mapping) else {}
    values[last] = read_yaml(f"value: {text}", change)["value"]


def build_config(values: Mapping[str, Any], where: str = "search", folder: Path = Path()) -> SearchConfig:
    """The same from a mapping.

    Args:
        folder: where `config_dir` and files of passes are looked for, if they are not found from here.
    """
    for key in values:
        if key not in KEYS:
            raise ConfigError(unknown("key", key, KEYS, where=where))
    if values.get("command", COMMAND) != COMMAND:
        raise ConfigError(f"{where}: command {values['command']!r}: a search runs {COMMAND}; leave the key away")
    given: dict[str, Any] = {"document": dict(values), "config_name": _text(values, "config_name", where, "")}
    if not given["config_name"]:
        raise ConfigError(f"{where}: config_name is missing; name the YAML file that {COMMAND} trains with")
    config_dir = _text(values, "config_dir", where)
    if config_dir is not None and not Path(config_dir).exists() and (folder / config_dir).exists():
        config_dir = str(folder / config_dir)
    given["config_dir"] = config_dir
    given["common"] = _words(values.get("common"), f"{where}: common")
    for section in ("space", "architecture", "precision"):
        if values.get(section) is not None:
            given[section] = _mapping(values[section], f"{where}: {section}")
    if values.get("compress") is not None:
        given.update(_compress(_mapping(values["compress"], f"{where}: compress"), f"{where}: compress", folder))
    if not any(values.get(section) for section in SECTIONS):
        raise ConfigError(f"{where}: there is nothing to search; add one of {', '.join(SECTIONS)}")
    given["objectives"] = _objectives(values, where)
    given["total"] = _flag(values, "sum", where, False)
    if values.get("samplers") is not None:
        given["samplers"] = tuple(Sampler.read(entry) for entry in _list(values["samplers"], f"{where}: samplers"))
        names = [sampler.label for sampler in given["samplers"]]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"{where}: samplers: {name} is there twice; give one of them another `label`")
    if values.get("seeds") is not None:
        given["seeds"] = tuple(_list(values["seeds"], f"{where}: seeds"))
        for seed in given["seeds"]:
            if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**31:
                raise ConfigError(f"{where}: seeds: needs whole numbers from 0, got {seed!r}")
    for key in ("trials", "latency_repeats"):
        if values.get(key) is not None:
            given[key] = _whole(values[key], f"{where}: {key}", 1 if key == "trials" else 0)
    given["pruner"] = Pruner.read(values.get("pruner"))
    if given["pruner"].name != "none" and len(given["objectives"]) > 1 and not given["total"]:
        raise ConfigError(
            f"{where}: pruner: Optuna prunes where there is one objective; add `sum: true`, or leave it out"
        )
    given["storage"] = _text(values, "storage", where)
    given.update(_subsets(values, where))
    given["reuse"] = _flag(values, "reuse", where, True)
    config = SearchConfig(**given)
    if len(set(config.seeds)) < len(config.seeds):
        raise ConfigError(f"{where}: seeds: {list(config.seeds)} has one twice")
    if config.precision is not None and config.precision.get("apply") == "after" and not config.compresses:
        raise ConfigError(f"{where}: precision.apply: after needs a stage after training; add `compress: {{}}`")
    return config


def _compress(section: Mapping[str, Any], where: str, folder: Path) -> dict[str, Any]:
    for key in section:
        if key not in COMPRESS_KEYS:
            raise ConfigError(unknown("key", key, COMPRESS_KEYS, where=where))
    passes: Any = section.get("passes") or {}
    if isinstance(passes, str):
        file = Path(passes) if Path(passes).exists() else folder / passes
        passes = read_file(file).get("passes") or {}
    passes = _mapping(passes, f"{where}.passes")
    finetune = _words(section.get("finetune"), f"{where}.finetune")
    default = ["none", "compressed", *(["finetuned"] if finetune else [])]
    stages = tuple(_list(section.get("stages", default), f"{where}.stages"))
    for stage in stages:
        if stage not in STAGES:
            raise ConfigError(unknown("stage", str(stage), STAGES, where=f"{where}.stages"))
        if stage in ("finetuned", "control") and not finetune:
            raise ConfigError(f"{where}.stages: {stage} needs `finetune`, words such as [optimization.max_update=100]")
    if not stages or len(set(stages)) < len(stages):
        raise ConfigError(f"{where}.stages: needs some of {', '.join(STAGES)}, each once")
    return {"passes": passes, "finetune": finetune, "stages": stages}


def _objectives(values: Mapping[str, Any], where: str) -> tuple[Objective, ...]:
    if (values.get("objectives") is None) == (values.get("metric") is None):
        raise ConfigError(f"{where}: give `objectives`, such as [accuracy] (or `metric: accuracy`)")
    given = values.get("objectives")
    given = [values["metric"]] if given is None else [given] if isinstance(given, (str, Mapping)) else given
    objectives = tuple(Objective.read(entry) for entry in _list(given, f"{where}: objectives"))
    names = [objective.metric for objective in objectives]
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"{where}: objectives: needs metrics, each once, got {names}")
    return objectives


def _subsets(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    select, test = _text(values, "select", where), _text(values, "test", where, "valid")
    if "test" in values and values["test"] is None:
        test = None
    holdout = values.get("holdout", 0 if select else 10)
    if isinstance(holdout, bool) or not isinstance(holdout, (int, float)) or not 0 <= holdout < 100:
        raise ConfigError(f"{where}: holdout: needs percent of the training set, such as 10, got {holdout!r}")
    if bool(holdout) == bool(select):
        raise ConfigError(f"{where}: give either `holdout`, percent of the training set, or `select`, a subset")
    if select is not None and select == test:
        raise ConfigError(
            f"{where}: select and test are both {test!r}: scores of what was selected on it mean little; hold out a "
            "part of the training set, or say `test: null`"
        )
    return {"select": select, "test": test, "holdout": float(holdout)}


def _text(values: Mapping[str, Any], key: str, where: str, default: Optional[str] = None) -> Optional[str]:
    value = values.get(key)
    if value is None:
        return default
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{where}: {key}: needs a text, got {value!r}")
    return value


def _flag(values: Mapping[str, Any], key: str, where: str, default: bool) -> bool:
    value = values.get(key, default)
    if not isinstance(value, bool):
        raise ConfigError(f"{where}: {key}: needs true or false, got {value!r}")
    return value


def _whole(value: Any, where: str, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{where}: needs a whole number from {least}, got {value!r}")
    return value


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, (list, tuple)) or not value:
        raise ConfigError(f"{where}: needs a list, got {value!r}")
    return list(value)


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: needs `name: value` lines, got {value!r}")
    return dict(value)


def _words(value: Any, where: str) -> tuple[str, ...]:
    words = [] if value is None else value
    if not isinstance(words, (list, tuple)) or not all(isinstance(word, str) and "=" in word for word in words):
        raise ConfigError(f"{where}: needs a list of KEY=VALUE, got {value!r}")
    return tuple(words)
