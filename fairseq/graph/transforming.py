"""`transform`: a model, its weights and a list of passes from one file, to a run folder.

    done = transform("q.toml", load="best.ckpt", out="q-run", changes=["passes.quantize.linear.config.weight_width=6"])
    print(done)                 # the histogram of each pass
    done.graph, done.results, done.fingerprint
    graph = load("q-run")       # the same again, bit for bit

`fairseq.graph.config` reads the file, `fairseq.graph.run_folder` says what the folder holds.

>>> config = {"model": "jsc-tiny", "passes": {"quantize": {"linear": {"name": "integer", "weight_width": 8}}}}
>>> print(transform(config).text())
quantize
type         total  changed  unchanged
BatchNorm1d      1        0          1
Linear           1        1          0
ReLU             2        0          2
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional, Union

import torch
from torch import nn

from fairseq.checkpoint.layout import ODD
from fairseq.errors import ConfigError, FairseqError, reason
from fairseq.graph.config.pass_names import INPUTS, SUMMARY, WITHOUT_EFFECT, check_names, read_pass
from fairseq.graph.config.settings import Settings, read_settings
from fairseq.graph.diff import Described, described, rows_between
from fairseq.graph.fingerprint import fingerprint
from fairseq.graph.inputs import leaves_of, make_inputs
from fairseq.graph.model_graph import ModelGraph
from fairseq.graph.passes.registry import PASSES, run_pass
from fairseq.graph.passes.result import Result
from fairseq.graph.run_folder import check_dest, free_name, rebuilt
from fairseq.graph.run_output import write_run
from fairseq.graph.sources import load_model
from fairseq.graph.starting_model import Start, find_start
from fairseq.graph.tracing import trace
from fairseq.text_table import text_table

Model = Union[str, nn.Module, None]


@dataclass
class Transformed:
    """What a configuration made of a model.

    Attributes:
        graph: of the model after all passes; `graph.model` is the model.
        settings: those in force, with their sources.
        results: name of a pass -> what it gave, in order.
        notes: on weights and on settings without an effect, a line each.
        fingerprint: equal for equal models.
        folder: where it was written, if it was.
    """

    graph: ModelGraph
    settings: Settings
    start: Start
    before: Described
    results: list[tuple[str, Any]] = field(default_factory=list)
    steps: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    fingerprint: str = ""
    folder: Optional[Path] = None

    def summary(self, name: str = "summary") -> Result:
        """All nodes before the first pass and as they are now."""
        return Result(name, tuple(rows_between(self.before, described(self.graph))))

    def text(self) -> str:
        """What each pass gave."""
        return "\n\n".join(f"{name}\n{result}" for name, result in self.results)

    def __str__(self) -> str:
        parts = [text_table(self.settings.rows()), *self.notes, self.text(), f"result {self.fingerprint}"]
        return "\n\n".join([*filter(None, parts), *([f"wrote {self.folder}"] if self.folder is not None else [])])


def transform(
    config: Union[str, Path, Mapping[str, Any]],
    model: Model = None,
    *,
    load: Optional[str] = None,
    load_type: Optional[str] = None,
    inputs: Optional[Sequence[str]] = None,
    changes: Sequence[str] = (),
    out: Union[str, Path, None] = None,
    overwrite: bool = False,
    write: Optional[bool] = None,
) -> Transformed:
    """Run the passes of `config` on a model.

    Args:
        config: a TOML or YAML file, or a mapping of the same; it is not changed.
        model: what to change, in place of the configuration's `model`; a source, or a module, which is changed in
            place.
        load, load_type, inputs: in place of the configuration's `load_name`, `load_type`, `inputs`.
        changes: settings as `KEY=VALUE`.
        out: the run folder to write; it must not be there yet, or `overwrite` allows to replace it.
        write: whether to write a run folder; with `out` unless said otherwise. Without `out` its name comes from the
            configuration, with a number behind it where that is taken.

    Raises:
        ConfigError: a setting, a model, an input, a pass or a pattern that does not exist; the folder is there.
        CheckpointError: weights that cannot be read or are of another model.
    """
    given = model if isinstance(model, str) else None
    flags = {"model": given, "load_name": load, "load_type": load_type, "inputs": None if not inputs else list(inputs)}
    settings = read_settings(config, changes, flags)
    write = out is not None if write is None else write
    dest = None
    if write:
        own = Path(settings.config.project_dir) / (settings.config.project or settings.name)
        dest = Path(out) if out is not None else free_name(own)
        check_dest(dest, overwrite)
    if not settings.config.passes:
        raise ConfigError(f"{settings.name}: names no passes; add a table such as [passes.quantize]")
    with torch.random.fork_rng():
        torch.manual_seed(settings.config.seed)
        start = find_start(settings, model if isinstance(model, nn.Module) else None)
        check_names(settings.config.passes, PASSES.names(), f"{settings.name}: passes")
        leaves = leaves_of(start.model, settings.config.leaves)
        graph = trace(start.model, make_inputs(start.model, start.inputs), leaves)
        done = Transformed(graph, settings, start, described(graph), notes=[*settings.notes, *start.notes])
        idle = [name for name in settings.config.passes if name in WITHOUT_EFFECT]
        if idle:
            done.notes.append(f"passes that have nothing to do here: {', '.join(idle)}")
        for name, options in settings.config.passes.items():
            _run(done, name, options)
    done.fingerprint = fingerprint(done.graph)
    if dest is not None:
        write_run(done, dest, overwrite)
        done.folder = dest
    return done


def _run(done: Transformed, name: str, options: Mapping[str, Any]) -> None:
    for ours, settings in read_pass(name, options):
        if ours == SUMMARY:
            done.results.append((name, done.summary(SUMMARY)))
            continue
        ours, before = PASSES.canonical(ours), done.graph
        try:
            done.graph, result = run_pass(before, ours, settings)
        except FairseqError:
            raise
        except ODD as error:  # an option of another kind than the pass expects
            raise ConfigError(f"pass {name}: {type(error).__name__}: {reason(error)}; check its options") from error
        done.results.append((name if ours != INPUTS else ours, result))
        if done.graph is not before:
            done.steps.append({"pass": ours, "options": settings})


def load(folder: Union[str, Path], model: Optional[nn.Module] = None) -> ModelGraph:
    """The graph of what a run folder holds; `.model` is the model.

    Where metadata.json names code as the model, `FILE.py:CALLABLE` or `package.module:CALLABLE`, that code runs;
    everything else is read as data.

    Args:
        model: the model that the passes were run on, with any weights; where the folder names none that can be built,
            or whose code shall not run.

    Raises:
        CheckpointError: no run folder, or a damaged one.
    """
    found = rebuilt(Path(folder), load_model, model)
    return trace(found, make_inputs(found, ()), leaves_of(found))
