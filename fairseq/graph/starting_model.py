"""Where a transform starts: the model of its configuration, with its weights, and how to have it again."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import torch
from torch import nn

from fairseq.errors import ConfigError
from fairseq.graph.config.settings import Settings
from fairseq.graph.inputs import KNOWN, remember_head
from fairseq.graph.python_files import check_is_model
from fairseq.graph.run_folder import CHECKPOINT, is_run_folder, read_metadata
from fairseq.graph.sources import load_model
from fairseq.graph.weights import load_weights


@dataclass
class Start:
    """A model and where it is from.

    Attributes:
        model: in evaluation mode, with its weights.
        source: what gives it again; None for a module of Python.
        inputs: descriptions of its inputs.
        steps: passes that were done on the source already.
        state: the contents of its checkpoint, where it is one of ours.
        weights: the file that they are from, where it is another.
        notes: on the weights.
    """

    model: nn.Module
    source: Optional[str] = None
    inputs: tuple[str, ...] = ()
    steps: list[dict[str, Any]] = field(default_factory=list)
    state: Optional[dict[str, Any]] = None
    weights: Optional[str] = None
    notes: list[str] = field(default_factory=list)


def find_start(settings: Settings, model: Optional[nn.Module] = None) -> Start:
    """The model that `settings` name, made with their seed, or `model` with their weights.

    Raises:
        ConfigError: there is none of that name. CheckpointError: weights that cannot be used.
    """
    config = settings.config
    load = _found(config.load_name, settings)
    if model is not None:
        start = Start(model.eval(), inputs=config.inputs)
    else:
        source = _found(config.model, settings)
        if source is None:
            if load is None:
                raise ConfigError(f"{settings.name}: names no model; add model = 'FILE.py:CALLABLE', or give one")
            source, load = load, None  # a checkpoint of ours is a model
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            start = _of_source(source, config.inputs)
    if load is not None and config.load_type == "hf":
        raise ConfigError("load_type hf: give the folder as model")
    if load is not None:
        start.notes += load_weights(start.model, load, config.load_type)
        start.weights = str(Path(load).resolve())
    start.inputs = start.inputs or tuple(getattr(start.model, KNOWN, ()))
    return start


def _of_source(source: str, inputs: tuple[str, ...]) -> Start:
    path = Path(source)
    if is_run_folder(path):
        found = read_metadata(path)
        inputs = inputs or tuple(found["inputs"])
        if found["weights"] == CHECKPOINT:
            return _of_source(str(path / CHECKPOINT), inputs)
        return Start(load_model(source), found["model"], inputs, list(found["passes"]))
    if path.is_file():
        from fairseq.checkpoint_tools.whole_model import load_whole

        check_is_model(path)
        model, state = load_whole(source)
        remember_head(model, state["cfg"])
        return Start(model.eval(), str(path.resolve()), inputs, state=state)
    return Start(load_model(source), _absolute(source), inputs)


def _absolute(source: str) -> str:
    """`source` from wherever it is read again."""
    place, colon, name = source.rpartition(":")
    if colon and place.endswith(".py"):
        return f"{Path(place).resolve()}:{name}"
    return str(Path(source).resolve()) if Path(source).exists() else source


def _found(name: Optional[str], settings: Settings) -> Optional[str]:
    """A path as it is, or next to the configuration, if it is there and not here."""
    if name is None or settings.folder is None:
        return name
    place, colon, _ = name.rpartition(":")
    file = place if colon and place.endswith(".py") else name
    if Path(file).exists() or not (settings.folder / file).exists():
        return name
    return str(settings.folder / name)
