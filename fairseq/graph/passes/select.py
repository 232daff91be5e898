"""Choosing modules of a model: by type, by name or by regular expression.

    type    the class, or the word of an operation: Linear, conv2d, batch_norm1d; case and underscores do not matter
    name    the path, as in state-dict keys: encoder.layers.0.fc1
    regex   a regular expression for the whole path: encoder\\.layers\\.\\d+\\.fc[12]

A quantized layer keeps its type: a `QLinear` is a linear. A class derived from one of torch's is also of that type.

>>> model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
>>> select(model, "linear"), select(model, "2", by="name"), select(model, "[01]", by="regex")
(['0', '2'], ['2'], ['0', '1'])
>>> select(model, "linaer")
Traceback (most recent call last):
...
fairseq.errors.ConfigError: no module of type 'linaer' in Sequential; nearest is 'Linear'
"""

import difflib
import re
from collections.abc import Iterable

from torch import nn

from fairseq.errors import ConfigError, unknown

WAYS = ("type", "name", "regex")
ALIASES = {"regex_name": "regex"}
CONTAINERS = (nn.Module, nn.Sequential, nn.ModuleList, nn.ModuleDict)
TRANSPOSED = ("Conv1D", "QConv1D")  # of transformers, and quantized: a linear layer, no convolution
SHOWN = 3  # nearest names in a message


def select(model: nn.Module, pattern: str, by: str = "type") -> list[str]:
    """Paths of the modules of `model` that `pattern` means, in the model's order; the model itself is the empty path.

    Raises:
        ConfigError: another way than these; no regular expression; nothing is matched (names the nearest).
    """
    way = way_of(by)
    modules = dict(model.named_modules())
    if way == "name":
        found = [path for path in modules if path == pattern]
    elif way == "regex":
        expression = expression_of(pattern)
        found = [path for path in modules if expression.fullmatch(path)]
    else:
        found = [path for path, module in modules.items() if is_of_type(module, pattern)]
    if not found:
        known = modules if way != "type" else [type(module).__name__ for module in modules.values()]
        what = {"type": "of type", "name": "named", "regex": "whose path matches"}[way]
        raise ConfigError(f"no module {what} {pattern!r} in {type(model).__name__}{nearest_of(pattern, known)}")
    return found


def way_of(by: str) -> str:
    """`by` as one of `WAYS`."""
    by = ALIASES.get(by, by)
    if by not in WAYS:
        raise ConfigError(unknown("way to choose modules", str(by), [*WAYS, *ALIASES], where="by"))
    return by


def expression_of(pattern: str) -> re.Pattern[str]:
    """`pattern`, compiled; ConfigError where it is none."""
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"{pattern!r}: not a regular expression: {error}") from None


def is_of_type(module: nn.Module, word: str) -> bool:
    """Whether `word` is the type of `module`.

    >>> is_of_type(nn.BatchNorm1d(2), "batch_norm1d"), is_of_type(nn.ReLU6(), "hardtanh")
    (True, False)
    """
    names = type_names(module)
    return word in names or plain(word) in {plain(name) for name in names if name not in TRANSPOSED}


def type_names(module: nn.Module) -> list[str]:
    """Its class, and base classes up to the first that torch.nn offers."""
    names = []
    for kind in type(module).__mro__:
        if kind in CONTAINERS and kind is not type(module):
            break
        names.append(kind.__name__)
        if kind.__name__ in TRANSPOSED:
            names.append("Linear")
        if getattr(nn, kind.__name__, None) is kind:
            break
    return names


def nearest_of(pattern: str, names: Iterable[str]) -> str:
    """The end of a message: the names most like `pattern`."""
    known = {plain(name): name for name in names if name}
    close = difflib.get_close_matches(plain(pattern), list(known), n=SHOWN, cutoff=0.4) or sorted(known)[:SHOWN]
    if not close:
        return ", which has no parts"
    near = [repr(known[name]) for name in close]
    return f"; nearest {'is' if len(near) == 1 else 'are'} {', '.join(near)}"


def plain(word: str) -> str:
    """A name without what does not matter: case and underscores."""
    return word.lower().replace("_", "")
