"""Run folders of `fairseq-graph transform`: a changed model, and all that is needed to have it again.

    config.yaml         the settings in force; `fairseq-graph transform --config` takes it
    metadata.json       the model's source, its inputs, the passes with their options, the plan of its quantizers
    state_dict.pt       weights and masks (quantizers.pt: ranges and learned scales, where there are any); or
    checkpoint.pt       where the model is ours: a checkpoint for fairseq-train, fairseq-validate and all others
    summary.csv         every node before and after; histogram.csv: how many of each type have changed
    PASS_*.csv, *.txt   what each pass says

A model is rebuilt by its source, the same passes, and the weights. All files are read as data; the one thing that runs
is the source where it is code, `FILE.py:CALLABLE` or `package.module:CALLABLE`. Of a folder that others wrote, look at
`model` in metadata.json first, or give the model yourself: `load(folder, model=...)` runs nothing.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Optional

from torch import nn

from fairseq.checkpoint import reading
from fairseq.checkpoint.layout import ODD
from fairseq.errors import CheckpointError, ConfigError, FairseqError, reason
from fairseq.graph.inputs import KNOWN, LEAVES
from fairseq.graph.replay import check_transforms, is_in_order, replay, structure
from fairseq.graph.restoring import restore
from fairseq.quantization.convert import quantize_model
from fairseq.quantization.quantized_model import get_quantization

FORMAT, VERSION = "fairseq-graph run folder", 1
METADATA, CONFIG = "metadata.json", "config.yaml"
WEIGHTS, QUANTIZERS, CHECKPOINT = "state_dict.pt", "quantizers.pt", "checkpoint.pt"
LoadBase = Callable[[str], nn.Module]


def read_metadata(folder: Path) -> dict[str, Any]:
    """What a run folder says of itself.

    Raises:
        CheckpointError: it is none, damaged, or of a later version.
    """
    path = folder / METADATA
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read ({reason(error)})") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not of a run folder of fairseq-graph transform")
    if found.get("version") != VERSION:
        raise CheckpointError(f"{path} is of version {found.get('version')!r}, and this build reads {VERSION}")
    _, found["inputs"], found["leaves"] = check_transforms(found, str(path))
    if found.get("weights") not in (WEIGHTS, CHECKPOINT) or not isinstance(found.get("model"), (str, type(None))):
        raise CheckpointError(f"{path} is damaged: it names no model and weights")
    return found


def rebuilt(folder: Path, load_base: LoadBase, model: Optional[nn.Module] = None) -> nn.Module:
    """The model of a run folder, in evaluation mode, bit-equal to what was written.

    Args:
        load_base: gives the model of a source.
        model: the model before its passes, in place of what the source gives.

    Raises:
        CheckpointError: the folder is damaged, or its weights are of another model than its source now gives.
    """
    found = read_metadata(folder)
    if found["weights"] == CHECKPOINT:
        model = load_base(str(folder / CHECKPOINT))
    else:
        if found["model"] is None and model is None:
            raise CheckpointError(f"{folder}: its model was made in Python; give it: load(folder, model=...)")
        base = (load_base(found["model"]) if model is None else model).eval()
        try:
            in_order = is_in_order(found["passes"])
            steps = structure(found["passes"]) if in_order else found["passes"]
            model = replay(base, steps, found["inputs"], found["leaves"]).eval()
            plan = found.get("quantization") if in_order else None
        except FairseqError as error:
            raise CheckpointError(f"{folder}: its passes cannot be repeated on its model: {error}") from None
        model = _filled(model, plan, folder, found["model"] or "what was given")
    setattr(model, KNOWN, tuple(found["inputs"]))
    setattr(model, LEAVES, tuple(found["leaves"]))
    return model.eval()


def _filled(model: nn.Module, plan: Any, folder: Path, source: str) -> nn.Module:
    """`model` with the masks, adapters and weights of the folder, and quantizers by `plan`."""
    state = reading.read(folder / WEIGHTS)
    if not isinstance(state, dict):
        raise CheckpointError(f"{folder / WEIGHTS} is damaged: it holds no state dict")
    try:
        restore(model, state)
        if plan is not None:
            model = quantize_model(model, plan["config"])
        model.load_state_dict(state, strict=True)
        quantization = get_quantization(model)
        if quantization is not None and (folder / QUANTIZERS).is_file():
            quantization.load_state_dict(model, {"state": reading.read(folder / QUANTIZERS)})
    except RuntimeError as error:
        why = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{folder}: its weights are of another model than {source} gives now: {why}") from None
    except (ConfigError, *ODD) as error:
        raise CheckpointError(f"{folder} is damaged or of another model than {source}: {reason(error)}") from None
    return model


def is_run_folder(path: Path) -> bool:
    return (path / METADATA).is_file()


# --- writing ----------------------------------------------------------------------------------------------------------


def free_name(folder: Path) -> Path:
    """`folder`, or with the first number behind it that is not taken."""
    number, found = 1, folder
    while os.path.lexists(found):
        number += 1
        found = folder.with_name(f"{folder.name}-{number}")
    return found


def check_dest(dest: Path, overwrite: bool) -> None:
    """Refuse a folder that is there, unless it is empty, or a run folder that may be replaced.

    Raises:
        ConfigError: says what to do.
    """
    if dest.name in ("", ".."):
        raise ConfigError(f"cannot write {dest}: give --out a folder's own name")
    if not os.path.lexists(dest):
        return
    if not dest.is_dir():
        raise ConfigError(f"cannot write {dest}: it is a file; give --out another folder")
    if not any(dest.iterdir()):
        return
    if not overwrite:
        raise ConfigError(f"{dest} is there already; give another --out, or --overwrite to replace it")
    if not is_run_folder(dest):
        raise ConfigError(f"{dest} is no run folder of fairseq-graph, so it is not replaced; give another --out")


@contextmanager
def whole_folder(dest: Path, overwrite: bool = False) -> Iterator[Path]:
    """A folder next to `dest`, which takes its name when the block ends well, and vanishes when it does not.

    Raises:
        ConfigError: see `check_dest`; or the folder cannot be written.
    """
    check_dest(dest, overwrite)
    made = [parent for parent in dest.parents if not parent.exists()]  # innermost first
    part = dest.with_name(f".{dest.name}.{os.getpid()}.part")
    try:
        part.mkdir(parents=True)
    except OSError as error:
        raise ConfigError(f"cannot write {dest}: {error.strerror}; choose another --out") from None
    try:
        yield part
        check_dest(dest, overwrite)  # it may have come meanwhile
        _take_place(part, dest)
    except OSError as error:
        raise ConfigError(f"cannot write {dest}: {error.strerror or error}; choose another --out") from None
    finally:
        if part.exists():
            shutil.rmtree(part, ignore_errors=True)
            for parent in made:
                if parent.is_dir() and not any(parent.iterdir()):
                    parent.rmdir()


def _take_place(part: Path, dest: Path) -> None:
    if not dest.is_dir() or not any(dest.iterdir()):
        part.replace(dest)
        return
    old = dest.with_name(f".{dest.name}.{os.getpid()}.old")
    dest.replace(old)
    part.replace(dest)
    shutil.rmtree(old, ignore_errors=True)


def write_metadata(folder: Path, values: Mapping[str, Any]) -> None:
    """`metadata.json` of a run folder."""
    text = json.dumps({"format": FORMAT, "version": VERSION, **values}, indent=1, default=_plain)
    (folder / METADATA).write_text(text + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else str(value)
