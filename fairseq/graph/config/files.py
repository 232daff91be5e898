"""Configuration files as plain mappings: TOML, or YAML read the same way.

YAML is read by its version 1.2: `2:4`, `012`, `yes` and `on` are texts or decimal numbers, `1e-3` is a number. A key
that is written twice is an error, as in TOML. All keys are texts.

>>> read_yaml("granularity: 2:4\\nlearning_rate: 1e-3\\nlayers: {0: NA, 1: null}", "q.yaml")
{'granularity': '2:4', 'learning_rate': 0.001, 'layers': {'0': 'NA', '1': None}}
>>> read_toml("a = 1\\nb = ", "q.toml")
Traceback (most recent call last):
...
fairseq.errors.ConfigError: q.toml, line 2, column 5: no TOML: Invalid value
"""

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

from fairseq.errors import ConfigError, reason

ENDINGS = (".toml", ".yaml", ".yml")
MAX_VALUES = 100_000


def read_file(path: Path) -> dict[str, Any]:
    """The mapping in a file, in its order.

    Raises:
        ConfigError: it cannot be read, or what it holds; with line and column.
    """
    if path.suffix.lower() not in ENDINGS:
        raise ConfigError(f"{path}: the name of a configuration ends in .toml, .yaml or .yml")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read configuration {path}: {reason(error)}") from None
    return read_toml(text, str(path)) if path.suffix.lower() == ".toml" else read_yaml(text, str(path))


def read_toml(text: str, name: str) -> dict[str, Any]:
    """A mapping from the text of the file `name`."""
    try:
        return plain(tomllib.loads(text), name)
    except tomllib.TOMLDecodeError as error:
        line, column, what = _place(str(error), text)
        raise ConfigError(f"{name}, line {line}, column {column}: no TOML: {what}") from None
    except (RecursionError, ValueError) as error:
        raise ConfigError(f"{name}: no configuration: {_too_much(error)}") from None


def read_yaml(text: str, name: str) -> dict[str, Any]:
    """A mapping from the text of the file `name`."""
    try:
        found = Loader(text).get_single_data()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        what = getattr(error, "problem", None) or reason(error)
        raise ConfigError(f"{name}{where}: no YAML: {what}") from None
    except (RecursionError, ValueError) as error:
        raise ConfigError(f"{name}: no configuration: {_too_much(error)}") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{name}: needs settings such as `model: FILE.py:build`, and holds {_kind(found)}")
    return plain(found, name)


def write_yaml(values: dict[str, Any]) -> str:
    """A text that `read_yaml` gives back as `values`."""
    return yaml.dump(values, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)


def plain(value: Any, name: str) -> Any:
    """A copy of texts, numbers, truth values, None, lists and mappings.

    Raises:
        ConfigError: another kind of value, or too many.
    """
    left = [MAX_VALUES]

    def copied(value: Any, where: str) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise ConfigError(f"{name}: no configuration: it holds more than {MAX_VALUES:,} values")
        if isinstance(value, dict):
            return {str(key): copied(item, f"{where}.{key}".lstrip(".")) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [copied(item, where) for item in value]
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        raise ConfigError(f"{name}: {where} is {_kind(value)}; give a text, a number, true, false, a list or a table")

    return copied(value, "")


def _too_much(error: Exception) -> str:
    """What Python refuses: deep nesting, numbers of thousands of digits."""
    return "it is nested too deeply" if isinstance(error, RecursionError) else reason(error)


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


def _place(message: str, text: str) -> tuple[int, int, str]:
    """Line, column, and what is wrong there; tomllib says where only in words."""
    found = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", message, re.DOTALL)
    if found is None:
        return 1, 1, message
    if found[2] is not None:
        return int(found[2]), int(found[3]), found[1]
    lines = text.split("\n")
    return len(lines), len(lines[-1]) + 1, found[1]


# --- YAML 1.2 ---------------------------------------------------------------------------------------------------------

RESOLVERS = (  # tag, form, first characters
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
)


class Loader(yaml.SafeLoader):
    """PyYAML's, by the rules above."""

    yaml_implicit_resolvers: dict[str, Any] = {}


class Dumper(yaml.SafeDumper):
    """Quotes what `Loader` would read as something else than text."""

    yaml_implicit_resolvers: dict[str, Any] = {}

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _mapping(loader: Loader, node: yaml.MappingNode) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError(None, None, "a key must be a text", key_node.start_mark)
        key = str(key_node.value)
        if key in found:
            raise yaml.constructor.ConstructorError(None, None, f"{key!r} is there already", key_node.start_mark)
        found[key] = loader.construct_object(value_node, deep=True)
    return found


def _integer(loader: Loader, node: yaml.ScalarNode) -> int:
    text = str(node.value)
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    return int(text[2:] if base != 10 else text, base)


def _float(loader: Loader, node: yaml.ScalarNode) -> float:
    return float(str(node.value).lower().replace(".inf", "inf").replace(".nan", "nan"))


for _tag, _form, _first in RESOLVERS:
    for _kind_of_file in (Loader, Dumper):
        _kind_of_file.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_form})$"), list(_first))
Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
Loader.add_constructor("tag:yaml.org,2002:int", _integer)
Loader.add_constructor("tag:yaml.org,2002:float", _float)
