"""Any command of ours inside this process: a step of a cell.

    metrics = run_command("fairseq-validate", ["RTE-bin", "--path", "checkpoint.pt"], folder, Path("out/train.log"))

What it prints goes to the log file. Metrics are read from the lines of validation and generation in it.
"""

import importlib
import importlib.util
import pkgutil
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fairseq.errors import ConfigError, FairseqError, unknown
from fairseq.studies.isolation import isolated

COMMANDS = "fairseq_cli"  # stands above the library, so its modules are found by name
_VALIDATION = re.compile(r" \| (?P<subset>[\w.-]+) \| (?:epoch \d+ \| )?valid on '[^']*' subset \| (?P<pairs>.*)$")
_BLEU = re.compile(r"Generate (?P<subset>\S+) with beam=\d+: BLEU4? = (?P<bleu>[\d.]+)")
_NOT_METRICS = ("wps", "ups", "wpb", "bsz", "num_updates", "wall", "train_wall")


class CommandFailed(FairseqError):
    """A command ended with another exit code than 0; its last line says why."""


def module_of(command: str) -> str:
    """The module of a command.

    Raises:
        ConfigError: there is no such command.
    """
    name = command.removeprefix("fairseq-").replace("-", "_")
    package = importlib.import_module(COMMANDS)
    if command.startswith("fairseq-") and importlib.util.find_spec(f"{COMMANDS}.{name}") is not None:
        return f"{COMMANDS}.{name}"
    names = [f"fairseq-{each.name.replace('_', '-')}" for each in pkgutil.iter_modules(package.__path__)]
    raise ConfigError(unknown("command", command, names))


def run_command(command: str, words: Sequence[str], log_file: Path) -> dict[str, float]:
    """Run `command` with `words`; returns the metrics that it has printed.

    Raises:
        CommandFailed: it failed; with the last line that it printed.
        SystemExit: a signal stopped it.
    """
    main: Any = getattr(importlib.import_module(module_of(command)), "cli_main", None)
    if main is None:
        raise ConfigError(f"{command} is no command")
    begin = log_file.stat().st_size if log_file.exists() else 0
    with isolated(log_file):
        sys.argv[:] = [command, *words]
        try:
            main()
        except SystemExit as exit:
            code = exit.code
            if isinstance(code, int) and code >= 128:
                raise
            if code:
                sys.stdout.flush()
                raise CommandFailed(last_line(log_file, begin).removeprefix("error: ")) from None
    with log_file.open("rb") as file:
        file.seek(begin)
        return printed_metrics(file.read().decode("utf-8", "replace"))


def last_line(log_file: Path, begin: int = 0) -> str:
    """The last line of a log that is not empty."""
    with log_file.open("rb") as file:
        file.seek(max(begin, file.seek(0, 2) - 20_000))
        lines = [line.strip() for line in file.read().decode("utf-8", "replace").splitlines()]
    return next((line for line in reversed(lines) if line), "")


def printed_metrics(text: str) -> dict[str, float]:
    """The numbers of validation and of BLEU in a log; of the first subset by their plain names.

    >>> line = "2026-11-21 10:00:00 | INFO | valid | valid on 'valid' subset | loss 0.65 | accuracy 71.5 | wps 900"
    >>> printed_metrics(line + "\\nGenerate test with beam=5: BLEU4 = 12.30, 48.1/19.5")
    {'loss': 0.65, 'accuracy': 71.5, 'test/bleu': 12.3}
    """
    metrics: dict[str, float] = {}
    first = None
    for line in text.splitlines():
        found = _VALIDATION.search(line)
        bleu = _BLEU.search(line)
        if found is not None:
            pairs = [pair.rsplit(" ", 1) for pair in found["pairs"].split(" | ") if " " in pair]
        elif bleu is not None:
            pairs = [["bleu", bleu["bleu"]]]
        else:
            continue
        subset = (found or bleu)["subset"]  # type: ignore[index]
        first = first or subset
        for key, value in pairs:
            if key not in _NOT_METRICS:
                metrics[key if subset == first else f"{subset}/{key}"] = float(value)
    return metrics
