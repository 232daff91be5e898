"""Modules of a model by their type, name or a regular expression.

    type     the name of the class or of one of its bases, in any case: linear, Linear, LayerNorm, layer_norm; a
             quantized linear layer is a linear layer
    name     the module's path, or a glob over paths: encoder.layers.0.fc1, encoder.layers.*.fc1
    regex    a regular expression that the whole path matches

>>> model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
>>> list(select(model, "type", ["linear"])), list(select(model, "name", ["1"])), list(select(model, "regex", ["[01]"]))
(['0'], ['1'], ['0', '1'])
"""

import difflib
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from fairseq.errors import ConfigError, unknown

WAYS = ("type", "name", "regex")


def select(model: nn.Module, by: str, patterns: Sequence[str]) -> dict[str, nn.Module]:
    """Modules that at least one of `patterns` matches, by path, in the model's order.

    Raises:
        ConfigError: another `by`, no regular expression, or a pattern that matches nothing; names the nearest.
    """
    if by not in WAYS:
        raise ConfigError(unknown("way to select", by, WAYS))
    modules = {path: module for path, module in model.named_modules() if path or by == "type"}  # "": the model itself
    chosen: set[str] = set()
    for pattern in patterns:
        found = {path for path, module in modules.items() if _matches(by, pattern, path, module)}
        if not found:
            raise ConfigError(_nothing(by, pattern, modules))
        chosen |= found
    return {path: module for path, module in modules.items() if path in chosen}


def _matches(by: str, pattern: str, path: str, module: nn.Module) -> bool:
    if by == "type":
        return pattern.lower().replace("_", "") in type_names(module)
    if by == "name":
        return path == pattern or fnmatchcase(path, pattern)
    try:
        return re.fullmatch(pattern, path) is not None
    except re.error as error:
        raise ConfigError(f"regular expression {pattern!r}: {error}") from None


def type_names(module: nn.Module) -> list[str]:
    """Names of the class of `module` and of its bases, in small letters."""
    kinds = type(module).__mro__
    return [
        kind.__name__.lower().replace("_", "")
        for kind in kinds[: kinds.index(nn.Module)]
        if kind.__module__ != "typing"
    ]


def _nothing(by: str, pattern: str, modules: dict[str, nn.Module]) -> str:
    if by == "type":
        names = list(dict.fromkeys(type(module).__name__ for module in modules.values()))
        lower = {name.lower(): name for name in names}
        close = [lower[name] for name in difflib.get_close_matches(pattern.lower(), lower, n=3, cutoff=0.3)]
    else:
        names = list(modules)
        close = difflib.get_close_matches(pattern, names, n=3, cutoff=0.3)
    nearest = ", ".join(close or names[:3])
    return f"no module has the {by} {pattern!r}" + (f"; the nearest: {nearest}" if nearest else "")
