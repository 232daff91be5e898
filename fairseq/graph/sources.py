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

import json
from pathlib import Path
from typing import Any

from torch import nn

from fairseq.errors import ConfigError
from fairseq.graph import lab_models
from fairseq.graph.inputs import make_input, make_inputs, read_input, remember_head
from fairseq.graph.python_files import check_is_model, model_of_code
from fairseq.graph.run_folder import METADATA, rebuilt

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
        model = model_of_code(source)
    elif path.is_file():
        check_is_model(path)
        model = _from_checkpoint(source)
    else:
        raise ConfigError(
            f"no model {source!r}: give a checkpoint, a run folder, a folder of transformers, FILE.py:CALLABLE or "
            "package.module:CALLABLE"
        )
    settings: Any = getattr(model, "config", None)
    if getattr(settings, "use_cache", False):
        settings.use_cache = False  # a cache in the output of transformers' models is no tensor
    return model.eval()


def _from_checkpoint(path: str) -> nn.Module:
    from fairseq.loading import load_model_ensemble

    models, cfg = load_model_ensemble([path])
    model: nn.Module = models[0]
    remember_head(model, cfg)
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
    return model
