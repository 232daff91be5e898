"""Which parameters of a model train, and how it was before.

>>> model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
>>> freeze(model, [model[1]], ["0.bias"])
>>> [name for name, parameter in model.named_parameters() if parameter.requires_grad]
['0.bias', '1.weight', '1.bias']
>>> thaw(model)
>>> trainable_count(model)
9
"""

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from torch import nn

from fairseq.errors import ConfigError, nearest

FROZEN = "frozen_by_adapters"  # an attribute of the model: names of parameters that trained before


def freeze(model: nn.Module, trained: Iterable[nn.Module], patterns: Sequence[str] = ()) -> None:
    """Let parameters of the modules `trained` train, those whose names `patterns` match, and no others.

    Args:
        patterns: globs, or regular expressions for the whole name behind `re:`.

    Raises:
        ConfigError: a pattern that matches no parameter (names the nearest).
    """
    chosen = parameters_like(model, patterns)
    own = {id(parameter) for module in trained for parameter in module.parameters()}
    before = set(vars(model).get(FROZEN, ()))
    for name, parameter in model.named_parameters():
        trains = id(parameter) in own or name in chosen
        if parameter.requires_grad and not trains:
            before.add(name)
        parameter.requires_grad_(trains)
    vars(model)[FROZEN] = tuple(sorted(before))


def thaw(model: nn.Module) -> None:
    """Undo `freeze`."""
    frozen = set(vars(model).pop(FROZEN, ()))
    for name, parameter in model.named_parameters():
        if name in frozen:
            parameter.requires_grad_(True)


def trainable_count(model: nn.Module) -> int:
    """How many elements of parameters train; a shared one counts once."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def parameters_like(model: nn.Module, patterns: Sequence[str]) -> set[str]:
    """Names of the parameters that patterns match."""
    # a shared parameter is found by each of its names
    named = list(model.named_parameters(remove_duplicate=False))
    first = {id(parameter): name for name, parameter in model.named_parameters()}
    found: set[str] = set()
    for pattern in patterns:
        matched = {first[id(parameter)] for name, parameter in named if _matches(name, pattern)}
        if not matched:
            names = [name for name, _ in named]
            guess = nearest(pattern, names) or names[-1]
            raise ConfigError(f"trainable: {pattern!r} matches no parameter; the nearest name is {guess!r}")
        found |= matched
    return found


def _matches(name: str, pattern: str) -> bool:
    if not pattern.startswith("re:"):
        return fnmatchcase(name, pattern)
    try:
        return re.fullmatch(pattern.removeprefix("re:"), name) is not None
    except re.error as error:
        raise ConfigError(f"trainable: {pattern!r}: {error}") from None
