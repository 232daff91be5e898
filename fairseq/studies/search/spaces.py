"""Everything that a search chooses, and what a choice of it means.

    space = Space(config, precision)
    assignment = space.assignment({"model.encoder_layers": 2, "prune.sparsity": 0.5})
    assignment.words, assignment.passes

A pass's option is chosen where `{choices: [...]}` or `{low: ..., high: ...}` stands in its place; a whole pass is, too:

    passes:
      prune: {sparsity: {choices: [0.3, 0.5, 0.7]}}
      quantize: {choices: [none, {linear: mxfp8}, {linear: mxfp4}]}
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

from fairseq.errors import ConfigError
from fairseq.studies.search.config import SearchConfig
from fairseq.studies.search.dimensions import Dimension, Label
from fairseq.studies.search.precision import NONE, Precision
from fairseq.studies.search.words import word


@dataclass(frozen=True)
class Assignment:
    """What a trial is.

    Attributes:
        values: dimension -> chosen value.
        words: of training.
        passes: name -> options, in order.
        quantization: of the trained model, after the passes: the group of that name.
    """

    values: Mapping[str, Any]
    words: tuple[str, ...] = ()
    passes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    quantization: Optional[Mapping[str, Any]] = None


class Space:
    """The dimensions of a search, in the order of its file.

    Raises:
        ConfigError: a dimension that cannot be, or one that is there twice.
    """

    def __init__(self, config: SearchConfig, precision: Optional[Precision] = None):
        self.config, self.precision = config, precision
        self.settings = [Dimension.read(key, spec) for key, spec in {**config.space, **config.architecture}.items()]
        twice = set(config.space) & set(config.architecture)
        if twice:
            raise ConfigError(f"{sorted(twice)[0]} is in space and in architecture; take one out")
        self.of_passes = list(_choices(config.passes))
        self.of_precision = [] if precision is None else precision.dimensions()
        if precision is not None:
            taken = [text for text in config.common if text.lstrip("+").startswith(("quantization=", "quantization."))]
            if precision.apply == "training" and taken:
                raise ConfigError(f"common: {taken[0]}: precision says how runs are quantized; take it out")
            if precision.apply == "after" and "quantize" in config.passes:
                raise ConfigError("compress.passes: quantize: precision says how models are quantized; take it out")
        self.dimensions = [*self.settings, *self.of_precision, *self.of_passes]
        if not self.dimensions:
            raise ConfigError("there is nothing to choose from: give a key a list, or {low: ..., high: ...}")

    @property
    def size(self) -> int:
        """Number of combinations.

        Raises:
            ConfigError: a range without a step.
        """
        size = 1
        for dimension in self.dimensions:
            size *= len(dimension.values())
        return size

    def suggest(self, trial: Any) -> dict[str, Label]:
        """All dimensions' labels in a trial."""
        return {dimension.name: dimension.suggest(trial) for dimension in self.dimensions}

    def assignment(self, labels: Mapping[str, Label]) -> Assignment:
        """What these labels mean."""
        values = {dimension.name: dimension.value(labels[dimension.name]) for dimension in self.dimensions}
        words = [word(dimension.name, values[dimension.name]) for dimension in self.settings]
        passes = {name: _filled(options, values, name) for name, options in self.config.passes.items()}
        passes = {name: options for name, options in passes.items() if options is not None and options != NONE}
        settings = None if self.precision is None else self.precision.settings(values)
        if settings is None or self.precision is None or self.precision.apply == "training":
            return Assignment(values, (*words, *quantization_words(settings)), passes)
        return Assignment(values, tuple(words), passes, settings)


def quantization_words(settings: Optional[Mapping[str, Any]]) -> list[str]:
    """The group `quantization` as words; none without it."""
    if settings is None:
        return []
    more = [word(f"quantization.{key}", value) for key, value in settings.items() if key != "preset"]
    return [word("quantization", settings["preset"]), *more]


def _spec(value: Any) -> Any:
    """The choices or the range that a pass's option may have; None if it is a value."""
    if isinstance(value, Mapping) and set(value) == {"choices"}:
        return value["choices"]
    if isinstance(value, Mapping) and {"low", "high"} <= set(value):
        return value
    return None


def _choices(value: Any, name: str = "") -> Any:
    if _spec(value) is not None:
        yield Dimension.read(name, _spec(value))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _choices(item, f"{name}.{key}" if name else str(key))


def _filled(value: Any, values: Mapping[str, Any], name: str) -> Any:
    if _spec(value) is not None:
        return values[name]
    if isinstance(value, Mapping):
        return {key: _filled(item, values, f"{name}.{key}") for key, item in value.items()}
    return value
