"""Models by name, as `fairseq-graph` takes them.

    checkpoint_best.pt              a checkpoint of ours
    bert-folder                     a folder of transformers: config.json and weights
    FILE.py:CALLABLE                an nn.Module, or what makes one; runs that file
    package.module:CALLABLE         the same from an installed package
    run folder                      of `fairseq-graph transform`
    jsc-tiny, jsc-toy, jsc-s        the nets of the labs (`lab_models.py`)

Inputs: `fairseq.graph.inputs`.

>>> load_model("jsc-tiny")[2]
Linear(in_features=16, out_features=5, bias=True)
"""

import importlib
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

from torch import nn

from fairseq.errors import ConfigError, FairseqError, reason, unknown
from fairseq.graph import lab_models
from fairseq.graph.inputs import make_input, make_inputs, read_input
from fairseq.graph.run_folder import METADATA, rebuilt

FILE_STATE = "__file_state__"  # of a module made here: its path, and when it was written
__all__ = ["load_model", "make_input", "make_inputs", "read_input"]


def load_model(source: str) -> nn.Module:
    """The model that `source` names, in evaluation mode.

    Raises:
        ConfigError: nothing there, or something else than a model; says what can be given.
    """
    path = Path(source)
    if source in lab_models.SIZES:
        model = lab_models.build(source)
    elif (path / METADATA).is_file():
        model = rebuilt(path, load_model)
    elif path.is_dir():
        model = _from_transformers(path)
    elif ":" in source and not path.exists():
        model = _from_code(source)
    elif path.is_file():
        model = _from_checkpoint(source)
    else:
        raise ConfigError(
            f"no model {source!r}: give a checkpoint, a run folder, a folder of transformers, FILE.py:CALLABLE or "
            "package.module:CALLABLE"
        )
    return model.eval()


def _from_checkpoint(path: str) -> nn.Module:
    from fairseq.loading import load_model_ensemble

    model: nn.Module = load_model_ensemble([path])[0][0]
    return model


def _from_transformers(folder: Path) -> nn.Module:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        name = config["architectures"][0]
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        raise ConfigError(
            f"{folder}: not a folder of transformers; it needs a config.json that names its architecture"
        ) from None
    try:
        import transformers
    except ImportError:
        raise ConfigError(f"{folder}: reading it needs transformers; pip install transformers") from None
    kind = getattr(transformers, str(name), None)
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise ConfigError(f"{folder}/config.json: transformers {transformers.__version__} has no model {name!r}")
    try:
        model: nn.Module = kind.from_pretrained(str(folder), local_files_only=True)  # type: ignore[attr-defined]
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(f"{folder}: {str(error).strip().splitlines()[0]}") from None
    settings: Any = model.config
    if getattr(settings, "use_cache", False):
        settings.use_cache = False  # a cache in the output is no tensor
    return model


def _from_code(source: str) -> nn.Module:
    place, _, name = source.rpartition(":")
    module = _file(Path(place), source) if place.endswith(".py") else _package(place, source)
    if not hasattr(module, name):
        public = [word for word in vars(module) if not word.startswith("_")]
        raise ConfigError(unknown("name", name, public, where=place))
    found = getattr(module, name)
    if not isinstance(found, nn.Module):
        if not callable(found):
            raise ConfigError(
                f"{source}: neither an nn.Module nor a function that makes one, but {type(found).__name__}"
            )
        try:
            found = found()
        except FairseqError:
            raise
        except (Exception, SystemExit) as error:
            what = "cannot be called without arguments" if isinstance(error, TypeError) else "fails"
            raise ConfigError(f"{source}: {what}: {_said(error)}") from error
    if not isinstance(found, nn.Module):
        raise ConfigError(f"{source}: gives {type(found).__name__}, no nn.Module")
    return found


def _file(path: Path, source: str) -> Any:
    """The module of a file; one that is loaded already and has not changed is not run again."""
    if not path.is_file():
        raise ConfigError(f"{source}: no file {path}")
    path = path.resolve()
    known, status = sys.modules.get(path.stem), path.stat()
    state = str(path), status.st_mtime_ns, status.st_size
    if known is not None and getattr(known, FILE_STATE, None) == state:
        return known
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    setattr(module, FILE_STATE, state)
    before = sys.modules.get(path.stem)
    if before is None or hasattr(before, FILE_STATE):
        sys.modules[path.stem] = module  # dataclasses and pickling look there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # a script that ends itself would end the command without a word
        if sys.modules.get(path.stem) is module:
            del sys.modules[path.stem]
        raise ConfigError(f"{source}: {path} cannot be run: {_said(error)}") from error
    return module


def _said(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"it ends the program (sys.exit({error.code!r})); guard that by `if __name__ == '__main__'`"
    return f"{type(error).__name__}: {reason(error)}"


def _package(name: str, source: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigError(f"{source}: no module {error.name!r}; for a file, give FILE.py:CALLABLE") from None
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{source}: {name} cannot be imported: {_said(error)}") from error
