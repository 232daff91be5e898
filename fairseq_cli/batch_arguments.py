"""Arguments of commands that run a checkpoint on some batches of a data folder.

>>> parser = argparse.ArgumentParser()
>>> add_batch_arguments(parser, "data, to measure on", subset="valid", batches=4)
>>> args = parser.parse_args(["--data", "RTE-bin", "--batches", "8"])
>>> settings = batch_settings(args)
>>> settings["subset"], settings["batches"], settings["batch_size"]
('valid', 8, 16)
"""

import argparse
from pathlib import Path
from typing import Any, Optional

from fairseq.errors import ConfigError


def add_batch_arguments(parser: argparse.ArgumentParser, title: str, subset: str, batches: Optional[int]) -> None:
    """A group with --data, --subset, --batches and --batch-size.

    Args:
        title: of the group in the help text.
        subset, batches: defaults; None batches are all.
    """
    group = parser.add_argument_group(title)
    group.add_argument("--data", type=Path, metavar="DATA", help="data folder of the checkpoint's task")
    group.add_argument("--subset", default=subset, help="subset of it (default: %(default)s)")
    group.add_argument(
        "--batches",
        type=int,
        default=batches,
        metavar="N",
        help=f"batches to measure (default: {'all' if batches is None else '%(default)s'})",
    )
    group.add_argument(
        "--batch-size", type=int, default=16, metavar="N", help="examples in each (default: %(default)s)"
    )


def batch_settings(args: argparse.Namespace) -> dict[str, Any]:
    """These four, as keyword arguments.

    Raises:
        ConfigError: a number that leaves nothing to run on.
    """
    for name, value in (("--batches", args.batches), ("--batch-size", args.batch_size)):
        if value is not None and value < 1:
            raise ConfigError(f"{name} must be at least 1, got {value}")
    return {name: getattr(args, name) for name in ("data", "subset", "batches", "batch_size")}
