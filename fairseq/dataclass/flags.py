"""Command-line flags from config dataclasses.

    encoder_layers: int = option(12, "layers")        --encoder-layers 24
    fp16: bool = option(False, "...")                 --fp16
    lr: List[float] = option([0.25], "...")           --lr 1e-5    --lr 1e-4,1e-5    --lr "[1e-4, 1e-5]"
    data: str = option(MISSING, "...")                a positional argument

>>> parser = Parser()
>>> gen_parser_from_dataclass(parser, OptimizationConfig())
>>> args = parser.parse_args(["--lr", "1e-4,1e-5", "--sentence-avg"])
>>> args.lr, args.sentence_avg, args.max_epoch
([0.0001, 1e-05], True, 0)
>>> parser.parse_args(["--max-epochs", "3"])
Traceback (most recent call last):
...
fairseq.errors.ConfigError: unknown flag --max-epochs; did you mean --max-epoch?
"""

import argparse
import ast
import enum
import shutil
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import is_dataclass
from typing import Any, NoReturn, Optional, get_args, get_origin

from fairseq.dataclass import schema
from fairseq.dataclass.base import FairseqDataclass
from fairseq.dataclass.groups.optimization import OptimizationConfig  # noqa: F401  (for the example above)
from fairseq.dataclass.ranges import Range
from fairseq.errors import ConfigError, nearest


class Parser(ArgumentParser):
    """argparse whose errors are `ConfigError`s of one line, with the nearest flag for an unknown one."""

    def __init__(self, **settings: Any):
        super().__init__(**{"allow_abbrev": False, "formatter_class": _Help, **settings})

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} (-h lists all flags)")

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:  # type: ignore[override]
        parsed, rest = self.parse_known_args(args, namespace)
        if rest:
            flag = next((word for word in rest if word.startswith("-")), rest[0]).split("=")[0]
            if not flag.startswith("-"):
                raise ConfigError(f"do not know what {flag!r} is for (-h lists all flags)")
            close = nearest(flag, [name for action in self._actions for name in action.option_strings])
            hint = f"; did you mean {close}?" if close else " (-h lists all flags)"
            raise ConfigError(f"unknown flag {flag}{hint}")
        return parsed


class _Help(argparse.HelpFormatter):
    """Flags in one column, their meaning and default in the next."""

    def __init__(self, prog: str):
        columns = shutil.get_terminal_size((120, 24)).columns
        super().__init__(prog, max_help_position=34, width=max(80, min(columns, 120)) - 2)

    def add_usage(self, usage: Any, actions: Any, groups: Any, prefix: Any = None) -> None:
        super().add_usage(usage or "%(prog)s [data] [flags]", actions, groups, prefix)

    def _get_help_string(self, action: argparse.Action) -> Optional[str]:
        default = action.default
        if action.help is None or default in (None, argparse.SUPPRESS, "") or isinstance(default, bool):
            return action.help
        return f"{action.help} (default: {str(default).replace('%', '%%')})"


def gen_parser_from_dataclass(
    parser: Any, dataclass_instance: FairseqDataclass, delete_default: bool = False, with_prefix: Optional[str] = None
) -> None:
    """Add a flag for each field of a config to `parser` (or to one of its groups).

    Args:
        delete_default: flags that are not given leave what `parser.argument_default` says: None, or nothing in the
            namespace where it is `argparse.SUPPRESS`. Switches leave their default instead of None.
        with_prefix: put in front of each name, `"--teacher"` for `--teacher-dropout`. With one, also an empty one, the
            fields of a nested dataclass have the name of its field in front: `--encoder-layers`.
    """
    dataclass = type(dataclass_instance)
    annotations = schema.types_of(dataclass)
    taken = {name for action in parser._actions for name in action.option_strings}
    for key, declared in schema.keys_of(dataclass).items():
        default = getattr(dataclass_instance, key)
        if _follows_namesake(key, default):
            continue  # its flag is that of the field it follows
        if isinstance(default, FairseqDataclass):
            inner = with_prefix if with_prefix is None else "-".join(filter(None, [with_prefix, key]))
            gen_parser_from_dataclass(parser, default, delete_default, inner)
            continue
        names, settings = _flag(key, annotations[key], default, declared.metadata, with_prefix)
        if (within := schema.range_of(declared)) is not None and "type" in settings:
            settings["type"] = _ranged(settings["type"], within)
        if declared.metadata.get("delete_default"):
            settings["default"] = argparse.SUPPRESS
        elif delete_default and (parser.argument_default is not None or "const" not in settings or "nargs" in settings):
            settings["default"] = parser.argument_default
        names = [name for name in names if name not in taken]
        if names and not (names == ["data"] and any(action.dest == "data" for action in parser._actions)):
            parser.add_argument(*names, **settings)


def add_flags_of(component: type, parser: Any, delete_default: bool = False) -> None:
    """Add the flags of the config dataclass that `component` was registered with; nothing if it has none."""
    dataclass = getattr(component, "__dataclass", None)
    if dataclass is not None:
        gen_parser_from_dataclass(parser, dataclass(), delete_default=delete_default)


def dest_of(key: str, metadata: Any) -> str:
    """Where a namespace of flags holds a field: under the field's name, or that of its own flag."""
    flag = metadata.get("flag")
    return flag.lstrip("-").replace("-", "_") if flag else key


def _follows_namesake(key: str, default: Any) -> bool:
    if not (isinstance(default, str) and default.startswith("${")):
        return False
    return default == f"${{{key}._name}}" or default.rstrip("}").rpartition(".")[2] == key


def _flag(
    key: str, annotation: Any, default: Any, metadata: Any, prefix: Optional[str]
) -> tuple[list[str], dict[str, Any]]:
    """Names and settings for `add_argument`."""
    annotation = schema.without_none(annotation)
    settings: dict[str, Any] = {"help": schema.help_text(metadata).replace("%", "%%")}
    if isinstance(default, str) and (default.startswith("${") or schema.is_missing(default)):
        default = None
    settings["default"] = str(default.value) if isinstance(default, enum.Enum) else default
    if key == "data" and not prefix:
        return ["data"], {**settings, "nargs": "?"}
    prefix = prefix.lstrip("-") if prefix else ""
    name = metadata.get("flag") or (f"--{prefix}-{key}" if prefix else f"--{key}")
    aliases = metadata.get("argparse_alias", ())
    names = [name.replace("_", "-"), *([aliases] if isinstance(aliases, str) else aliases)]
    settings["dest"] = f"{prefix}_{key}".replace("-", "_") if prefix else dest_of(key, metadata)
    const = metadata.get("argparse_const")
    if metadata.get("valued"):
        return names, {**settings, "type": _switch, "metavar": "0|1"}
    if annotation is bool:
        return names, {**settings, "action": "store_const", "const": not default if const is None else const}
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        settings["choices"] = [str(choice.value) for choice in annotation]
    else:
        settings["type"] = _converter(annotation)
        settings["metavar"] = _metavar(annotation)
    if const is not None:
        settings.update(nargs="?", const=const)
    return names, settings


def _switch(text: str) -> bool:
    found = {"0": False, "false": False, "1": True, "true": True}.get(text.strip().lower())
    if found is None:
        raise argparse.ArgumentTypeError(f"must be 0 or 1, not {text!r}")
    return found


def _metavar(annotation: Any) -> str:
    if get_origin(annotation) in (list, tuple):
        return f"{_metavar(get_args(annotation)[0])},..."
    return {int: "N", float: "X", dict: "DICT"}.get(get_origin(annotation) or annotation, "TEXT")


def _converter(annotation: Any) -> Callable[[str], Any]:
    origin = get_origin(annotation) or annotation
    if origin not in (list, tuple, dict, int, float):
        return str

    def convert(text: str) -> Any:
        try:
            if origin in (list, tuple):
                return _sequence(text, get_args(annotation)[0])
            return ast.literal_eval(text) if origin is dict else origin(text)
        except (ValueError, SyntaxError, TypeError):
            raise argparse.ArgumentTypeError(f"must be {schema.expected(annotation)}, not {text!r}") from None

    return convert


def _ranged(convert: Callable[[str], Any], within: Range) -> Callable[[str], Any]:
    """`convert`, which refuses numbers that the field does not accept."""

    def converted(text: str) -> Any:
        value = convert(text)
        expected = within.problem(value)
        if expected is not None:
            raise argparse.ArgumentTypeError(f"must be {expected}, not {text!r}")
        return value

    return converted


def _sequence(text: str, element: Any) -> list:
    """`0.1,0.2`, `[0.1, 0.2]` or `0.1` as a list of `element`s. Read as literals, never evaluated."""
    if element is Any:
        import yaml

        read = yaml.safe_load(text)  # lists of mappings: JSON, or YAML with its fewer quotes
        if not isinstance(read, list):
            raise ValueError("not a list")
        return read
    if element is str:
        return [part.strip().strip("'\"") for part in text.strip().strip("[]").split(",") if part.strip()]
    value = ast.literal_eval(text)
    values = value if isinstance(value, (list, tuple)) else [value]
    if element is int and any(isinstance(value, float) and not value.is_integer() for value in values):
        raise ValueError(f"{text} is not a list of integers")
    return [element(value) for value in values]


def given_by(args: Namespace, dataclass: type) -> dict[str, Any]:
    """The values of a config's fields that a namespace of flags holds; None stands for "not given"."""
    result: dict[str, Any] = {}
    annotations = schema.types_of(dataclass)
    for key, declared in schema.keys_of(dataclass).items():
        if is_dataclass(default := schema.default_of(declared)):
            result[key] = given_by(args, type(default))  # type: ignore[arg-type]
            continue
        value = getattr(args, dest_of(key, declared.metadata), None)
        follows = isinstance(default := schema.default_of(declared), str) and default.startswith("${")
        if value is None or (follows and _follows_namesake(key, default)):
            continue
        # namespaces that plugins fill have True for 1
        result[key] = int(value) if isinstance(value, bool) and schema.without_none(annotations[key]) is int else value
    return result
