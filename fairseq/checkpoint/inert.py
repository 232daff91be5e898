"""Stand-ins for the foreign objects in checkpoints: nothing of what a file names is imported or called.

A pickle rebuilds objects by naming classes and functions to call. `torch.load(weights_only=True)` admits tensors and
plain containers; this module adds what else fairseq's checkpoints hold, under the pickled name but as our own
inert types:

    argparse.Namespace              itself: a bag of attributes
    numpy scalars and arrays        rebuilt from dtype code, shape and bytes, without NumPy's own unpickling code
    omegaconf containers and nodes  `Inert`, turned into dicts, lists and values by `to_builtins`
    fairseq.* classes and enums     `Inert` likewise; a class by itself is only a name
    pathlib paths, defaultdict      text, dict

>>> node = inert("omegaconf.nodes.AnyNode")()
>>> node.__setstate__({"_val": 3})
>>> to_builtins({"x": [node]})
{'x': [3]}
"""

import os
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Union

import numpy as np

from fairseq.errors import CheckpointError

# names below these packages get a stand-in made on the spot
PREFIXES = ("omegaconf.", "fairseq.", "fairseq_cli.", "typing.")
BUILTIN_TYPES = ("bool", "dict", "float", "int", "list", "object", "str", "tuple")


class Inert:
    """An object of a class that is not imported: remembers what it was built from."""

    origin = ""

    def __new__(cls, *args: Any) -> "Inert":
        made = object.__new__(cls)
        made.args, made.state = args, None
        return made

    def __init__(self, *args: Any) -> None:
        self.args: tuple
        self.state: Any

    def __setstate__(self, state: Any) -> None:
        self.state = state


def inert(name: str) -> type[Inert]:
    """A stand-in class for the class called `name`."""
    return type(name.rpartition(".")[2], (Inert,), {"origin": name})


class DType:
    """`numpy.dtype` as pickled, of the kinds that hold plain values."""

    def __init__(self, code: str, *flags: Any):
        dtype = np.dtype(code) if isinstance(code, str) else None
        if dtype is None or dtype.kind not in "biufcSU" or dtype.fields is not None:
            raise CheckpointError(f"numpy.dtype({code!r})")
        self.dtype = dtype

    def __setstate__(self, state: tuple) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


def numpy_scalar(dtype: DType, data: bytes = b"") -> Any:
    return np.frombuffer(data, dtype=dtype.dtype, count=1)[0]


class Array:
    """`numpy.ndarray` as pickled."""

    def __init__(self, *args: Any):
        self.array = np.zeros(0)

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, data = state
        self.array = np.frombuffer(data, dtype=dtype.dtype).reshape(shape, order="F" if fortran else "C").copy()


def numpy_array(*args: Any) -> Array:
    return Array()


def path_text(*parts: str) -> str:
    return os.path.join(*parts) if parts else "."


def plain_dict(*args: Any) -> dict:
    return {}


def allowed() -> list[tuple[Union[type, Callable], str]]:
    """What `torch.serialization.safe_globals` is given for every checkpoint."""
    table: list[tuple[Union[type, Callable], str]] = [
        (Namespace, "argparse.Namespace"),
        (DType, "numpy.dtype"),
        (Array, "numpy.ndarray"),
        (plain_dict, "collections.defaultdict"),
    ]
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        table += [(numpy_scalar, f"{module}.scalar"), (numpy_array, f"{module}._reconstruct")]
    for module in ("pathlib", "pathlib._local"):
        table += [(path_text, f"{module}.{name}") for name in ("PosixPath", "WindowsPath", "PurePosixPath", "Path")]
    table += [(inert(f"builtins.{name}"), f"builtins.{name}") for name in BUILTIN_TYPES]
    return table


def to_builtins(value: Any) -> Any:
    """`value` with every stand-in in its dicts, lists, tuples and namespaces replaced by plain data, in place."""
    return _plain(value, {})


plain = to_builtins  # its name until the next release


def _plain(value: Any, done: dict[int, Any]) -> Any:
    if isinstance(value, Inert):
        return _plain(_content(value), done)
    if isinstance(value, Array):
        return value.array
    if isinstance(value, type) and issubclass(value, Inert):
        return value.origin
    if id(value) in done:
        return done[id(value)][1]
    kind = type(value)
    if kind is dict or kind is OrderedDict:
        done[id(value)] = (value, value)
        for key, item in value.items():
            value[key] = _plain(item, done)
    elif kind is list:
        done[id(value)] = (value, value)
        value[:] = [_plain(item, done) for item in value]
    elif kind is Namespace:
        done[id(value)] = (value, value)
        _plain(vars(value), done)
    elif kind is tuple:
        # the original is kept too: `done` is keyed by identity, which a freed object would pass on
        done[id(value)] = (value, tuple(_plain(item, done) for item in value))
        return done[id(value)][1]
    return value


def _content(value: Inert) -> Any:
    """What a stand-in's object held: an omegaconf container's content, a node's or an enum's value, else its
    attributes.
    """
    if isinstance(value.state, dict):
        for key in ("_content", "_val"):
            if key in value.state:
                return value.state[key]
        return value.state
    return value.args[0] if len(value.args) == 1 else value.origin
