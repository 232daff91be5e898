"""Models by name, as `fairseq-graph` takes them, and the inputs to trace them with.

    checkpoint_best.pt              a checkpoint of ours
    bert-folder                     a folder of transformers: config.json and weights
    FILE.py:CALLABLE                an nn.Module, or what makes one; runs that file
    package.module:CALLABLE         the same from an installed package

    NAME:DTYPE[SHAPE]               an input: forward's parameter, as in input_ids:int64[2,11]

>>> read_input("input:float32[8,16]")
('input', torch.float32, (8, 16))
"""

import importlib
import importlib.util
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

import torch
from torch import Tensor, nn

from fairseq.errors import ConfigError, unknown

DTYPES = ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
DEFAULT_SIZES = (2, 11)  # of token ids: they differ, so that no axis is taken for another


def load_model(source: str) -> nn.Module:
    """The model that `source` names, in evaluation mode.

    Raises:
        ConfigError: nothing there, or something else than a model; says what can be given.
    """
    path = Path(source)
    if path.is_dir():
        model = _from_transformers(path)
    elif ":" in source and not path.exists():
        model = _from_code(source)
    elif path.is_file():
        model = _from_checkpoint(source)
    else:
        raise ConfigError(
            f"no model {source!r}: give a checkpoint, a folder of transformers, FILE.py:CALLABLE or "
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
        except TypeError as error:
            raise ConfigError(f"{source}: cannot be called without arguments: {error}") from None
    if not isinstance(found, nn.Module):
        raise ConfigError(f"{source}: gives {type(found).__name__}, no nn.Module")
    return found


def _file(path: Path, source: str) -> Any:
    if not path.is_file():
        raise ConfigError(f"{source}: no file {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)  # dataclasses and pickling look there
    spec.loader.exec_module(module)
    return module


def _package(name: str, source: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ConfigError(f"{source}: no module {error.name!r}; for a file, give FILE.py:CALLABLE") from None


def read_input(text: str) -> tuple[str, torch.dtype, tuple[int, ...]]:
    """Name, dtype and sizes from `NAME:DTYPE[SHAPE]`."""
    match = re.fullmatch(r"(\w+):(\w+)\[([\d,\s]*)\]", text.strip())
    if match is None:
        raise ConfigError(f"input {text!r}: must be NAME:DTYPE[SHAPE], such as input_ids:int64[2,11]")
    name, dtype, sizes = match.groups()
    if dtype not in DTYPES:
        raise ConfigError(unknown("dtype", dtype, DTYPES, where=f"input {text!r}"))
    return name, getattr(torch, dtype), tuple(int(size) for size in sizes.split(",") if size.strip())


def make_inputs(model: nn.Module, texts: Sequence[str], seed: int = 1) -> Optional[dict[str, Any]]:
    """Inputs by name, from their descriptions; without any, token ids for models that are known to take them, else
    None.
    """
    if texts:
        wanted = [read_input(text) for text in texts]
        return {name: make_input(model, name, dtype, shape, seed) for name, dtype, shape in wanted}
    name = _token_ids(model)
    return None if name is None else {name: make_input(model, name, torch.int64, DEFAULT_SIZES, seed)}


def _token_ids(model: nn.Module) -> Optional[str]:
    if type(model).__module__.startswith("fairseq.models."):
        return "src_tokens"
    name = getattr(model, "main_input_name", None)  # transformers
    return name if isinstance(name, str) and name.endswith("_ids") else None


def make_input(model: nn.Module, name: str, dtype: torch.dtype, shape: tuple[int, ...], seed: int = 1) -> Tensor:
    """Values that a model can take: normal numbers, token ids of its vocabulary, positions from 0, masks of ones."""
    generator = torch.Generator().manual_seed(seed)
    if dtype.is_floating_point:
        return torch.randn(shape, generator=generator).to(dtype)
    if dtype == torch.bool or "mask" in name:
        return torch.ones(shape, dtype=dtype)
    if "position" in name and shape:
        return torch.arange(shape[-1]).expand(shape).to(dtype).contiguous()
    if "type" in name or "label" in name:
        return torch.zeros(shape, dtype=dtype)
    tables = (module.num_embeddings for module in model.modules() if isinstance(module, nn.Embedding))
    high = min(next(tables, 2), torch.iinfo(dtype).max)  # the first table is that of tokens
    return torch.randint(min(4, high - 1), high, shape, generator=generator).to(dtype)  # behind special symbols
