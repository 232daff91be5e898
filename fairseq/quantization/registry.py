"""A registry whose entries are found by looking into a package and its folders.

A new format, observer or schedule is one file there.

>>> from fairseq.quantization.formats import FORMATS, build_format
>>> build_format("symmetric").max_value(8)
127
>>> FORMATS.lookup("symetric")
Traceback (most recent call last):
...
fairseq.errors.ConfigError: unknown number format 'symetric'; did you mean 'symmetric'?
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from fairseq.errors import ConfigError, unknown

T = TypeVar("T")


class Registry(Generic[T]):
    """Name -> entry. Modules of `package` and of its folders are imported, once, when the registry is first read."""

    def __init__(self, kind: str, package: str):
        self.kind = kind
        self._package = package
        self._entries: dict[str, T] = {}
        self._aliases: dict[str, str] = {}
        self._complete = False

    def register(self, name: str, *aliases: str) -> Callable[[T], T]:
        """Decorator that enters what it decorates under `name`; `aliases` are understood, too, and listed nowhere."""

        def decorate(entry: T) -> T:
            for taken in (name, *aliases):
                if taken in self._entries or taken in self._aliases:
                    raise ValueError(f"{self.kind} {taken!r} is registered already")
            self._entries[name] = entry
            self._aliases.update(dict.fromkeys(aliases, name))
            return entry

        return decorate

    def lookup(self, name: str) -> T:
        """The entry called `name`; ConfigError with the nearest name where there is none."""
        name = self.canonical(name)
        if name not in self._entries:
            raise ConfigError(unknown(self.kind, str(name), self.names()))
        return self._entries[name]

    def names(self) -> list[str]:
        """Every name that is understood, aliases included."""
        self._fill()
        return [*self._entries, *self._aliases]

    def canonical(self, name: str) -> str:
        """The name under which an alias is listed; any other name as it is."""
        self._fill()
        return self._aliases.get(name, name)

    def aliases(self, name: str) -> list[str]:
        """Other names of the entry `name`."""
        self._fill()
        return [alias for alias, listed in self._aliases.items() if listed == name]

    def __iter__(self) -> Iterator[str]:
        self._fill()
        return iter(sorted(self._entries))

    def __contains__(self, name: object) -> bool:
        self._fill()
        return name in self._entries or name in self._aliases

    def _fill(self) -> None:
        if self._complete:
            return
        self._complete = True
        package = importlib.import_module(self._package)
        for found in pkgutil.walk_packages(package.__path__, f"{self._package}."):
            importlib.import_module(found.name)


def build(kind: Callable[..., T], options: Mapping[str, Any], place: str, /, **context: Any) -> T:
    """An object of class `kind` from what a user gave as `options` and what the library adds as `context`.

    >>> build(dict, {"a": 1}, "settings")
    {'a': 1}

    Raises:
        ConfigError: an option that the class does not have, one that it needs and does not get, a value of a wrong
            kind; on one line that begins with `place`.
    """
    try:
        parameters = inspect.signature(kind).parameters.values()
    except ValueError:  # classes of Python itself
        return kind(**options, **context)
    own = [p for p in parameters if p.name not in context and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    names = [p.name for p in own]
    for name in options:
        if name not in names:
            line = unknown("option", str(name), names)
            raise ConfigError(f"{place}: {line if names else f'{line}; there are none'}")
    lacking = [p.name for p in own if p.default is p.empty and p.name not in options]
    if lacking:
        raise ConfigError(f"{place}: option {lacking[0]} is missing")
    try:
        return kind(**options, **context)
    except TypeError:
        given = ", ".join(f"{name}={value!r}" for name, value in options.items())
        raise ConfigError(f"{place}: a value of the wrong kind ({given})") from None
