"""fairseq-completion: what a shell needs to complete the words of all commands with Tab.

fairseq-completion bash > ~/.fairseq-completion.bash
"""

import argparse
import contextlib
import io
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

from fairseq.dataclass import catalog
from fairseq_cli.completion_scripts import SHELLS, Command, Option
from fairseq_cli.entry import command

SELF = Path(__file__).stem
# flag -> group of the config whose components it chooses from
COMPONENTS = {name: name for name in ("task", "criterion", "optimizer", "lr_scheduler", "scoring", "bpe", "tokenizer")}
COMPONENTS["arch"] = "model"


def get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fairseq-completion",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="""\
Print a script with which a shell completes commands, options, their choices
and the keys of fairseq-hydra-train with Tab. It takes some seconds to make,
so write it to a file once, and again after an update.""",
        epilog="""\
examples:
  fairseq-completion bash > ~/.fairseq-completion.bash
  echo 'source ~/.fairseq-completion.bash' >> ~/.bashrc
  fairseq-completion zsh > ~/.fairseq-completion.zsh    # source it in ~/.zshrc
  fairseq-completion fish > ~/.config/fish/completions/fairseq.fish
                           # and `source` it in ~/.config/fish/config.fish""",
        allow_abbrev=False,
    )
    parser.add_argument("shell", choices=list(SHELLS), help="bash, zsh or fish")
    return parser


@command
def cli_main() -> None:
    args = get_parser().parse_args()
    print(SHELLS[args.shell](list(commands())))


def commands() -> Iterator[Command]:
    """All commands with their words, by asking each one for its help."""
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if "\ndef cli_main(" in path.read_text(encoding="utf-8"):
            name = f"fairseq-{path.stem.replace('_', '-')}"
            yield of_parser(name, get_parser()) if path.stem == SELF else describe(name, path.stem)


def describe(name: str, module: str) -> Command:
    """The words of one command."""
    parser = _parser_of(import_module(f"fairseq_cli.{module}").cli_main, name)
    if parser is not None:
        found = of_parser(name, parser)
        for option in found.options:  # of flags whose choices are looked up when they are used
            slot = option.names[0].removeprefix("--").replace("-", "_")
            if option.takes_value and not option.choices and slot in COMPONENTS:
                option.choices = list(catalog.group(COMPONENTS[slot]))
        return found
    from fairseq.dataclass.compose.arguments import make_parser  # of commands under Hydra

    found = of_parser(name, make_parser())
    found.words = [f"{key}=" for key in dict.fromkeys(keys())]
    return found


def keys() -> Iterator[str]:
    """Keys of a config: groups of components, and every key of every component."""
    from fairseq.dataclass.configs import FairseqConfig

    for group in fields(FairseqConfig):
        if group.name in COMPONENTS.values():
            yield group.name
            for component in catalog.group(group.name).values():
                yield from _keys_of(component, group.name)
        elif is_dataclass(group.type):
            yield from _keys_of(group.type, group.name)
    yield "quantization"


def _keys_of(dataclass: Any, prefix: str) -> Iterator[str]:
    for each in fields(dataclass) if is_dataclass(dataclass) else ():
        if each.name.startswith("_"):
            continue
        yield f"{prefix}.{each.name}"
        if is_dataclass(each.type):
            yield from _keys_of(each.type, f"{prefix}.{each.name}")


def _parser_of(main: Callable[[], Any], name: str) -> Any:
    """The parser that prints a command's help, None if it prints that by itself."""
    asked: list[argparse.ArgumentParser] = []

    def note(self: argparse.ArgumentParser, file: Any = None) -> None:
        asked.append(self)

    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(argparse.ArgumentParser, "print_help", note))
        stack.enter_context(mock.patch.object(sys, "argv", [name, "--help"]))
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        stack.enter_context(contextlib.suppress(SystemExit))
        main()
    return asked[0] if asked else None


def of_parser(name: str, parser: argparse.ArgumentParser) -> Command:
    """The words that a parser takes."""
    found = Command(name)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found.parts = {word: of_parser(word, part) for word, part in action.choices.items()}
        elif action.help == argparse.SUPPRESS:
            continue
        elif action.option_strings:
            choices = [] if action.choices is None else [str(choice) for choice in action.choices]
            text = "" if action.help is None else re.sub(r"\s+", " ", action.help.replace("%%", "%"))
            found.options.append(Option(list(action.option_strings), action.nargs != 0, choices, text))
        elif action.choices is not None:
            found.words += map(str, action.choices)
    return found


if __name__ == "__main__":
    cli_main()
