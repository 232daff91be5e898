"""Completion scripts for bash, zsh and fish, from what commands take.

print(SHELLS["bash"]([Command("fairseq-predict", [Option(["--json"], False)])]))
"""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass
class Option:
    """An option: its names, whether a value follows, which values may, and what it does."""

    names: list[str]
    takes_value: bool = True
    choices: list[str] = field(default_factory=list)
    text: str = ""


@dataclass
class Command:
    """A command or a part of one (`fairseq-graph diff`): options, words that are not options, parts by name."""

    name: str
    options: list[Option] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    parts: dict[str, "Command"] = field(default_factory=dict)


def bash(commands: Sequence[Command]) -> str:
    """Options where a word begins with a dash, choices behind their option, keys and parts, else files."""
    cases = []
    for command in commands:
        for part in (command, *command.parts.values()):
            place = f"{command.name} {part.name}" if part is not command else f"{command.name} "
            choices = "".join(
                f"      {'|'.join(option.names)}) words={shlex.quote(' '.join(option.choices))} ;;\n"
                for option in part.options
                if option.choices
            )
            values = [
                name for option in part.options if option.takes_value and not option.choices for name in option.names
            ]
            files = f"      {'|'.join(values)}) return ;;\n" if values else ""
            options = " ".join(name for option in part.options for name in option.names)
            words = " ".join([*part.words, *part.parts])
            cases.append(
                f"    {shlex.quote(place)})\n      options={shlex.quote(options)}\n      words={shlex.quote(words)}\n"
                f"      case $previous in\n{choices}{files}      esac ;;\n"
            )
    parts = [
        f"    {command.name}) parts={shlex.quote(' '.join(command.parts))} ;;\n"
        for command in commands
        if command.parts
    ]
    names = " ".join(command.name for command in commands)
    return f"""\
# made by fairseq-completion
_fairseq() {{
  local command=${{1##*/}} current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}}
  local parts= part= options= words=
  case $command in
{"".join(parts)}  esac
  if [[ $COMP_CWORD -gt 1 && " $parts " == *" ${{COMP_WORDS[1]}} "* && -n $parts ]]; then part=${{COMP_WORDS[1]}}; fi
  case "$command $part" in
{"".join(cases)}  esac
  if [[ $current == -* ]]; then words=$options; fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  if [[ ${{COMPREPLY[0]}} == *= ]] && type compopt > /dev/null 2>&1; then compopt -o nospace; fi
}}
complete -o default -F _fairseq {names}"""


def zsh(commands: Sequence[Command]) -> str:
    """The same, by zsh's own layer for bash's completions."""
    return f"autoload -U +X compinit && compinit -u\nautoload -U +X bashcompinit && bashcompinit\n{bash(commands)}"


def fish(commands: Sequence[Command]) -> str:
    """A line for each option, key and part."""
    lines = ["# made by fairseq-completion"]
    for command in commands:
        parts = " ".join(command.parts)
        for part in (command, *command.parts.values()):
            condition = ""
            if part is not command:
                condition = f" -n {_quoted(f'__fish_seen_subcommand_from {part.name}')}"
            elif parts:
                condition = f" -n {_quoted(f'not __fish_seen_subcommand_from {parts}')}"
            start = f"complete -c {command.name}{condition}"
            lines += [f"{start} {_fish_option(option)}" for option in part.options]
            if words := [*part.words, *part.parts]:
                lines.append(f"{start} -a {_quoted(' '.join(words))}")
    return "\n".join(lines)


def _fish_option(option: Option) -> str:
    flags = []
    for name in option.names:
        if name.startswith("--"):
            flags.append(f"-l {name[2:]}")
        else:
            flags.append(f"-s {name[1:]}" if len(name) == 2 else f"-o {name[1:]}")
    if option.choices:
        flags.append(f"-x -a {_quoted(' '.join(option.choices))}")
    elif option.takes_value:
        flags.append("-r")
    if option.text:
        flags.append(f"-d {_quoted(option.text if len(option.text) <= 70 else option.text[:67] + '...')}")
    return " ".join(flags)


def _quoted(text: str) -> str:
    """In single quotes, as fish reads them."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


SHELLS: dict[str, Callable[[Sequence[Command]], str]] = {"bash": bash, "zsh": zsh, "fish": fish}
