"""The options of a command that runs under Hydra. They are Hydra's; words without dashes are settings, `KEY=VALUE`.

>>> parse(["--config-dir", "conf", "--config-name", "rte", "task.data=RTE-bin", "-m"]).overrides
['task.data=RTE-bin']
>>> parse(["--max-epoch", "3"])
Traceback (most recent call last):
...
fairseq.errors.ConfigError: --max-epoch is a flag of fairseq-train; here write optimization.max_epoch=VALUE
"""

import argparse
import re
from collections.abc import Sequence
from typing import NoReturn

from fairseq.errors import ConfigError, nearest

# (flags, settings of argparse)
OPTIONS: list[tuple[tuple[str, ...], dict]] = [
    (("--config-dir", "-cd"), {"metavar": "DIR", "help": "folder of your YAML files and their groups"}),
    (("--config-name", "-cn"), {"metavar": "NAME", "help": "YAML file to run, without .yaml"}),
    (("--config-path", "-cp"), {"metavar": "DIR", "help": "the same as --config-dir"}),
    (("--multirun", "-m"), {"action": "store_true", "help": "run a job for each combination of KEY=A,B,C"}),
    (
        ("--cfg", "-c"),
        {"choices": ["job", "hydra", "all"], "help": "print the config (job) or Hydra's own, run nothing"},
    ),
    (("--resolve",), {"action": "store_true", "help": "with --cfg: print values instead of ${...}"}),
    (("--package", "-p"), {"metavar": "GROUP", "help": "with --cfg: only this group"}),
    (
        ("--info", "-i"),
        {
            "const": "all",
            "nargs": "?",
            "choices": ["all", "config", "defaults", "defaults-tree", "plugins", "searchpath"],
            "help": "print how the config is composed, run nothing",
        },
    ),
    (("--help", "-h"), {"action": "store_true", "help": "this text, for the components that the config chooses"}),
    (("--hydra-help",), {"action": "store_true", "help": "Hydra's own help"}),
    (
        ("--shell-completion", "-sc"),
        {"action": "store_true", "help": "install=bash and the like: complete keys with Tab"},
    ),
    (("--version",), {"action": "store_true", "help": "print the version"}),
    (("--run", "-r"), {"action": "store_true", "help": "run one job (what happens without any of these)"}),
]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} (-h explains)")


def make_parser() -> argparse.ArgumentParser:
    parser = _Parser(add_help=False, allow_abbrev=False)
    for flags, settings in OPTIONS:
        parser.add_argument(*flags, **settings)
    parser.add_argument("overrides", nargs="*", help="settings, KEY=VALUE")
    return parser


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Options in any order, settings between them.

    Raises:
        ConfigError: an option that does not exist, or two that exclude each other.
    """
    for word in argv:
        if re.match(r"-(config-(dir|name|path)|multirun|help|info|cfg)\b", word):
            raise ConfigError(f"{word.split('=')[0]} has one dash; write -{word}")
    args, rest = make_parser().parse_known_args(argv)
    for word in rest:
        if word.startswith("-"):
            raise ConfigError(_unknown_flag(word.split("=")[0]))
    args.overrides = [word for word in argv if word in {*args.overrides, *rest}]  # in the order they were given
    args.config_dir = args.config_dir or args.config_path
    if args.resolve and not args.cfg:
        raise ConfigError("--resolve goes with --cfg")
    exclusive = [flag for flag in ("run", "multirun", "cfg", "info", "shell_completion") if getattr(args, flag)]
    if len(exclusive) > 1:
        raise ConfigError(f"choose one of --{exclusive[0]} and --{exclusive[1]}".replace("_", "-"))
    return args


def _unknown_flag(flag: str) -> str:
    from fairseq.dataclass.schema import home_of

    home = home_of(flag.lstrip("-").replace("-", "_"))
    if home is not None:
        return f"{flag} is a flag of fairseq-train; here write {home}=VALUE"
    close = nearest(flag, [name for flags, _ in OPTIONS for name in flags])
    return f"unknown option {flag}" + (f"; did you mean {close}?" if close else "; settings are written KEY=VALUE")
