"""Choose which parameters train: `optimization.trainable=[glob, ...]`.

A glob is matched against full parameter names (`encoder.sentence_encoder.layers.0.fc1.weight`); `*` also crosses
dots. A parameter that no glob matches is frozen: it gets no gradient and no optimizer state, and because autograd
then sees no leaf below the first trainable layer, no backward work is done there.

>>> model = nn.ModuleDict({"body": nn.Linear(2, 2), "head": nn.Linear(2, 1)})
>>> select_trainable(model, ["head.*"])
Trainable(trained=3, total=9, names=['head.weight', 'head.bias'])
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import nn

from fairseq.errors import ConfigError, nearest


@dataclass
class Trainable:
    """How many parameters train, of how many, and their names."""

    trained: int
    total: int
    names: list[str]


def select_trainable(model: nn.Module, globs: Sequence[str]) -> Trainable:
    """Freeze every parameter of `model` that no glob matches; an empty list leaves the model as it is.

    A parameter shared by several modules trains if any of its names is matched.

    Raises:
        ConfigError: a glob that matches no parameter; the nearest name is given.
    """
    # remove_duplicate=False: a tied weight (embed_tokens, lm_head) can be selected under each of its names
    named = list(model.named_parameters(remove_duplicate=False))
    if globs:
        matched = {name for glob in globs for name in _matching(glob, [name for name, _ in named])}
        chosen = {id(parameter) for name, parameter in named if name in matched}
        for _, parameter in named:
            parameter.requires_grad_(id(parameter) in chosen)
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    return Trainable(
        trained=sum(p.numel() for _, p in trained),
        total=sum(p.numel() for p in model.parameters()),
        names=[name for name, _ in trained],
    )


def _matching(glob: str, names: list[str]) -> list[str]:
    matches = [name for name in names if fnmatchcase(name, glob)]
    if not matches:
        guess = nearest(glob, names) or names[-1]
        raise ConfigError(f"optimization.trainable: {glob!r} matches no parameter; the nearest name is {guess!r}")
    return matches
