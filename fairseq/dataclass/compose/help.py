"""The text of `-h`: how to call the command, and every key with its type, its value and its meaning.

The keys shown are those of the components that the config and the overrides choose; with a group (`-h optimization`) or
a choice (`-h model=roberta`) alone, only theirs.
"""

import argparse
import enum
import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any, get_args, get_origin

from omegaconf import DictConfig

from fairseq.dataclass import schema
from fairseq.dataclass.compose.arguments import OPTIONS
from fairseq.dataclass.configs import FairseqConfig
from fairseq.dataclass.typed import as_mapping, typed_config
from fairseq.errors import ConfigError, unknown

_USAGE = """\
{command}: {about}

usage: {command} [--config-dir DIR] [--config-name NAME]
       [KEY=VALUE ...] [options]

examples:
  {command} --config-dir examples/roberta/config/finetuning \\
      --config-name rte {examples}
  {command} -h --config-dir ... --config-name rte   # its keys
  {command} -h model=roberta
  {command} -h optimization

settings:
  KEY=VALUE sets a key, whether the YAML file has it or not (+KEY=VALUE is the
  same); ~KEY removes it. GROUP=CHOICE takes a component (optimizer=adam) or a
  file of yours (run_config=local: DIR/run_config/local.yaml). VALUE is a
  number, true, false, null, a text or a list [1e-5,1e-6]; ${{env:NAME}} is an
  environment variable.

paths:
  Relative paths are taken from the folder the command is started in. Without
  checkpoint.save_dir, checkpoints are in the run's own folder,
  outputs/DATE/TIME (hydra.run.dir), next to its log and its config. In a sweep,
  relative paths of outputs are in each job's folder, multirun/DATE/TIME/N
  (hydra.sweep.dir).
"""

# what each command does, and the rest of its examples
_ABOUT = {
    "fairseq-hydra-train": (
        "train a model as YAML files and dotted overrides say",
        """\
task.data=RTE-bin checkpoint.restore_file=model.pt
  fairseq-hydra-train ... model=roberta_large optimization.lr=[1e-5]
  fairseq-hydra-train ... -m common.seed=1,2 optimization.lr=[1e-5],[2e-5]""",
    ),
    "fairseq-hydra-validate": (
        "evaluate a checkpoint, as YAML and overrides say",
        """\
task.data=RTE-bin common_eval.path=rte-run/best.pt
  fairseq-hydra-validate ... dataset.valid_subset=valid,valid1
  fairseq-hydra-validate ... -m common_eval.path=run1/best.pt,run2/best.pt""",
    ),
}


def show(args: argparse.Namespace, command: str) -> None:
    """Print the help for parsed options (see `arguments.parse`)."""
    print("\n".join(lines(args, command)))


def lines(args: argparse.Namespace, command: str) -> Iterator[str]:
    width = max(80, min(shutil.get_terminal_size((120, 24)).columns, 140))
    words = list(args.overrides)
    topics = [word for word in words if "=" not in word]
    for topic in topics:
        if topic not in (*schema.GROUPS, *schema.SLOTS):
            raise ConfigError(unknown("group", topic, (*schema.GROUPS, *schema.SLOTS)))
    settings = [word for word in words if "=" in word]
    cfg = _config(args, settings)
    if not args.config_name and words:
        topics += [word.partition("=")[0].lstrip("+") for word in settings]
        topics = [topic.partition(".")[0] for topic in topics]
    if not topics:
        about, examples = _ABOUT[command]
        yield from _USAGE.format(command=command, about=about, examples=examples).splitlines()
        yield ""
        yield "options:"
        yield from _table([(", ".join(flags), "", settings["help"]) for flags, settings in OPTIONS], width)
    for group in (*schema.SLOTS, *schema.GROUPS):
        if not topics or group in topics:
            yield ""
            yield from _section(group, cfg, width)


def _config(args: argparse.Namespace, words: Sequence[str]) -> DictConfig:
    if not args.config_name and not words:
        return typed_config({}, defaults=False)
    from hydra.types import RunMode

    from fairseq.dataclass.compose.loader import Loader, search_path

    loader = Loader(search_path(args.config_dir))
    return loader.load_configuration(args.config_name or "config", list(words), RunMode.RUN)


def _section(group: str, cfg: DictConfig, width: int) -> Iterator[str]:
    node = cfg._get_node(group)
    if group in schema.GROUPS:
        yield from textwrap.wrap(f"{group}: {_first_line(schema.GROUPS[group])}", width, subsequent_indent="  ")
        yield from _keys(schema.GROUPS[group], node, width)
        return
    about = schema.help_of(schema.keys_of(FairseqConfig)[group])
    name = as_mapping(node).get("_name") if isinstance(node, DictConfig) and not node._is_none() else None
    if name is None:
        names = ", ".join(schema.components(group))
        choice = f"choose from {names}" if names else "there is none to choose yet"
        yield from textwrap.wrap(f"{group}=NAME: {about}; {choice}", width, subsequent_indent="  ")
        return
    dataclass = schema.dataclass_of(group, name)
    about = _about(dataclass) if dataclass is not None else "a plugin whose keys are its own"
    yield from textwrap.wrap(f"{group}={name}: {about}", width, subsequent_indent="  ")
    if dataclass is not None:
        yield from _keys(dataclass, node, width)


def _first_line(dataclass: type) -> str:
    text = (dataclass.__doc__ or "").strip().splitlines()
    return text[0].rstrip(".").lower() if text else ""


def _about(dataclass: type) -> str:
    """A component's first line without the `group=name` in front."""
    text = (dataclass.__doc__ or "").strip().splitlines()
    return text[0].partition(": ")[2].rstrip(".") if text else ""


def _keys(dataclass: type, node: Any, width: int) -> Iterator[str]:
    declared, annotations = schema.keys_of(dataclass), schema.types_of(dataclass)
    given = as_mapping(node) if isinstance(node, DictConfig) and not node._is_none() else {}
    if not declared:
        yield "  (no keys)"
    yield from _table(list(_rows(declared, annotations, given)), width)


def _rows(
    declared: Mapping[str, Any], annotations: Mapping[str, Any], given: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, str, str]]:
    for key, field in declared.items():
        inner = schema.without_none(annotations[key])
        if is_dataclass(inner) and isinstance(inner, type):
            yield from _rows(
                schema.keys_of(inner), schema.types_of(inner), given.get(key) or {}, prefix=f"{prefix}{key}."
            )
            continue
        default = _text(schema.default_of(field))
        value = _text(given[key]) if key in given else default
        about = schema.help_of(field) + ("" if value == default else f" (default: {default})")
        yield f"{prefix}{key} = {value}", _type(annotations[key]), about


def _type(annotation: Any) -> str:
    annotation = schema.without_none(annotation)
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return "|".join(str(choice.value) for choice in annotation)
    if get_origin(annotation) in (list, tuple):
        return f"[{_type(get_args(annotation)[0])},...]"
    return {bool: "true|false", int: "int", float: "float", str: "text"}.get(annotation, "any")


def _text(value: Any) -> str:
    if schema.is_missing(value):
        return "???"
    if isinstance(value, enum.Enum):
        return str(value.value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(_text(element) for element in value) + "]"
    return repr(value) if isinstance(value, float) else '""' if value == "" else str(value)


def _table(rows: Sequence[tuple[str, str, str]], width: int) -> Iterator[str]:
    """Three aligned columns; a cell too long for its column pushes the rest to the next line."""
    first = min(max((len(row[0]) for row in rows), default=0), 40, width // 3)
    second = min(max((len(row[1]) for row in rows), default=0), 14)
    indent = 2 + first + 2 + (second + 2 if second else 0)
    for name, kind, about in rows:
        head = f"  {name:<{first}}  " + (f"{kind:<{second}}  " if second else "")
        body = textwrap.wrap(about, max(30, width - indent)) or [""]
        if len(head) > indent:
            yield head.rstrip()
            head = " " * indent
        yield (head + body[0]).rstrip()
        yield from (" " * indent + line for line in body[1:])
