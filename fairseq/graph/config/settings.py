"""The settings in force: a file, then `--set KEY=VALUE`, then flags; each with its source.

    settings = read_settings("q.toml", ["passes.quantize.linear.config.data_in_width=6"], {"load_name": "best.ckpt"})
    settings.config.passes, settings.rows(), settings.notes

>>> settings = read_settings({"model": "jsc-tiny", "passes": {"quantize": {"by": "type"}}, "max_epochs": 5}, ["seed=3"])
>>> [(row["setting"], row["value"], row["source"]) for row in settings.rows() if row["source"] != "default"]
[('model', 'jsc-tiny', 'file'), ('seed', '3', '--set'), ('passes.quantize.by', 'type', 'file')]
>>> settings.notes
('no effect here: max_epochs',)
"""

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Union

from fairseq.errors import ConfigError
from fairseq.graph.config.files import plain, read_file
from fairseq.graph.config.schema import FIELDS, WITHOUT_EFFECT, TransformConfig, build_config

Source = dict[tuple[str, ...], str]  # path of a setting -> who has set it


@dataclass(frozen=True)
class Settings:
    """A configuration and where its values come from.

    Attributes:
        config: what is in force.
        sources: path of a setting -> `file`, `--set` or a flag; the rest are defaults.
        notes: a line each on settings without an effect.
        name: of the file, without its ending.
        folder: where the file is: paths that are not found from here are looked for there.
    """

    config: TransformConfig
    sources: Mapping[tuple[str, ...], str]
    notes: tuple[str, ...]
    name: str
    folder: Optional[Path]

    def rows(self) -> list[dict[str, str]]:
        """Every setting with its value and source, for a table."""
        found = []
        for name in FIELDS:
            if name != "passes":
                value = getattr(self.config, name)
                found.append(_row((name,), list(value) if isinstance(value, tuple) else value, self.sources))
        for path, value in leaves(self.config.passes, ("passes",)):
            found.append(_row(path, value, self.sources))
        return found

    def values(self) -> dict[str, Any]:
        """The configuration as a file would hold it."""
        found: dict[str, Any] = {}
        for name in FIELDS:
            value = getattr(self.config, name)
            if value is not None and value != ():
                found[name] = list(value) if isinstance(value, tuple) else value
        return plain(found, self.name)  # type: ignore[no-any-return]


def read_settings(
    config: Union[str, Path, Mapping[str, Any]],
    changes: Sequence[str] = (),
    flags: Optional[Mapping[str, Any]] = None,
) -> Settings:
    """Settings from a file or a mapping, which is not changed.

    Args:
        changes: `KEY=VALUE` with a dotted key; a value is written as in TOML, or is a text.
        flags: field -> value, None where the flag was not given.

    Raises:
        ConfigError: a file that cannot be read, an unknown key, a value of another kind.
    """
    where, folder = "the configuration", None
    if isinstance(config, Mapping):
        values = plain(dict(config), where)
    else:
        where, folder = str(config), Path(config).parent
        values = read_file(Path(config))
    sources: Source = dict.fromkeys((path for path, _ in leaves(values)), "file")
    for change in changes:
        given = read_change(change)
        sources = _merged(values, given, "--set", sources)
    if flags is not None:
        given = {name: value for name, value in flags.items() if value is not None}
        sources = _merged(values, plain(given, "flags"), "flag", sources)
    built = build_config(values, where)
    unused = [key for key in values if key in WITHOUT_EFFECT]
    notes = (f"no effect here: {', '.join(unused)}",) if unused else ()
    name = "transform" if isinstance(config, Mapping) else Path(config).stem
    return Settings(built, sources, notes, name, folder)


def read_change(text: str) -> dict[str, Any]:
    """The mapping that `KEY=VALUE` means.

    >>> read_change("passes.prune.granularity=2:4"), read_change('passes.quantize."encoder.fc1".bits=4')
    ({'passes': {'prune': {'granularity': '2:4'}}}, {'passes': {'quantize': {'encoder.fc1': {'bits': 4}}}})
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {text!r}: must be KEY=VALUE, such as seed=3")
    for written in (value, json.dumps(value)):
        try:
            return plain(tomllib.loads(f"{key} = {written}"), "--set")  # type: ignore[no-any-return]
        except (tomllib.TOMLDecodeError, RecursionError):
            continue
    raise ConfigError(
        f"--set {text!r}: {key!r} is no key; parts with other signs than letters, digits, - and _ need quotes, as in "
        "'passes.quantize.\"encoder.fc1\".config.name=NA'"
    )


def leaves(values: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Paths and values of what is no table, and of empty tables."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, (*above, key))
        else:
            yield (*above, key), value


def _merged(values: dict[str, Any], given: Mapping[str, Any], source: str, sources: Source) -> Source:
    """`values` with `given` in it, in place; the new sources."""

    def merge(into: dict[str, Any], new: Mapping[str, Any]) -> None:
        for key, value in new.items():
            old = into.get(key)
            if isinstance(value, Mapping) and isinstance(old, dict):
                merge(old, value)
            else:
                into[key] = value

    merge(values, given)
    changed = {path for path, _ in leaves(given)}
    return {path: source if path in changed else sources.get(path, source) for path, _ in leaves(values)}


def _row(path: tuple[str, ...], value: Any, sources: Mapping[tuple[str, ...], str]) -> dict[str, str]:
    text = value if isinstance(value, str) else "-" if value is None else json.dumps(value)
    name = ".".join(part if part.isidentifier() or part.isdecimal() else json.dumps(part) for part in path)
    return {"setting": name, "value": text, "source": sources.get(path, "default")}
