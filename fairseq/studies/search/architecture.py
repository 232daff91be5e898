"""Each dimension of an architecture must change the model: a key that nothing reads would be searched in vain.

    checks = check_architecture(space, build)
    for row in checks: print(row)          # one for each choice: parameters, and what else differs

For each dimension the model is built with each of its choices, the other dimensions at their first. Two choices must
differ in the number of parameters, or, as numbers of heads do, in what the modules say of themselves.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from fairseq.errors import ConfigError, FairseqError
from fairseq.studies.search.dimensions import Dimension

Structure = dict[tuple[str, str], Any]
MOST_CHOICES = 8  # of a range that are built


@dataclass(frozen=True)
class Built:
    """A model that was built for a choice: its number of parameters, and its structure."""

    choice: Any
    parameters: int
    structure: Structure


def check_architecture(
    dimensions: Sequence[Dimension], build: Callable[[Mapping[str, Any]], nn.Module]
) -> list[dict[str, Any]]:
    """Build the models; returns a row for each choice.

    Args:
        build: the model for values by name; names that are left out stay as the configuration has them.

    Raises:
        ConfigError: two choices of a dimension give the same model, or one gives none.
    """
    first = {dimension.name: dimension.first() for dimension in dimensions}
    rows: list[dict[str, Any]] = []
    for dimension in dimensions:
        built: list[Built] = []
        reasons = []
        for choice in _some(dimension):
            try:
                model = build({**first, dimension.name: choice})
            except FairseqError as error:
                reasons.append(str(error))  # with other choices of the other dimensions there may be one
                continue
            built.append(Built(choice, sum(parameter.numel() for parameter in model.parameters()), structure(model)))
        if not built:
            raise ConfigError(f"architecture: {dimension.name}: no choice gives a model: {reasons[0]}")
        again = structure(build({**first, dimension.name: built[0].choice}))
        volatile = [key for key, value in built[0].structure.items() if again.get(key) != value]  # ids, and the like
        _check_different(dimension.name, built, volatile)
        rows += [
            {"dimension": dimension.name, "choice": str(each.choice), "parameters": each.parameters} for each in built
        ]
    return rows


def _some(dimension: Dimension) -> list[Any]:
    if dimension.choices:
        return list(dimension.choices)
    if not dimension.is_whole or dimension.log:
        return [dimension.low, dimension.high]
    values = dimension.values()
    return values if len(values) <= MOST_CHOICES else [*values[: MOST_CHOICES - 1], values[-1]]


def _check_different(name: str, built: Sequence[Built], volatile: Collection[tuple[str, str]]) -> None:
    for index, one in enumerate(built):
        for other in built[:index]:
            if one.parameters == other.parameters and not differs(one.structure, other.structure, volatile):
                raise ConfigError(
                    f"architecture: {name}={other.choice} and {name}={one.choice} give the same model of "
                    f"{one.parameters:,} parameters; take this dimension out, or search it under `space`"
                )


def structure(model: nn.Module) -> Structure:
    """What the modules say of themselves, by path and name: types, shapes of parameters, numbers and texts.

    >>> structure(nn.Dropout(0.1))
    {('', 'type'): 'Dropout', ('', 'training'): True, ('', 'p'): 0.1, ('', 'inplace'): False}
    """
    found: Structure = {}
    for path, module in model.named_modules():
        found[path, "type"] = type(module).__name__
        for name, tensor in module.named_parameters(recurse=False):
            found[path, name] = tuple(tensor.shape)
        for name, value in vars(module).items():
            if isinstance(value, (bool, int, float, str)):
                found[path, name] = value
            elif callable(value) and not isinstance(value, nn.Module):
                found[path, name] = getattr(value, "__name__", "")
    return found


def differs(one: Structure, other: Structure, volatile: Collection[tuple[str, str]]) -> bool:
    """Whether two structures do, in anything but `volatile`."""
    return any(one.get(key) != other.get(key) for key in {**one, **other} if key not in volatile)
