"""What can go wrong on the user's side, as exceptions that a command turns into one line and an exit code.

Raise one of these for anything that a user can cause or fix: a missing file, an unknown key, a damaged checkpoint.
The message says what is wrong, where, and what to do, on one line. Library code raises; only `fairseq_cli` prints and
exits.

>>> raise ConfigError(unknown("key", "dropuot", ["dropout", "lr"], where="model"))
Traceback (most recent call last):
...
fairseq.errors.ConfigError: unknown key 'dropuot' in model; did you mean 'dropout'?
"""

import difflib
from collections.abc import Iterable
from typing import Optional


class FairseqError(Exception):
    """Base of every error whose message is for the user; commands exit with `exit_code`."""

    exit_code = 1


class ConfigError(FairseqError, ValueError):
    """A key, value, flag or combination of settings that cannot be used."""

    exit_code = 2


class DataError(FairseqError, ValueError):
    """A data folder, index, dictionary or label that is missing, damaged or does not fit."""


class CheckpointError(FairseqError, RuntimeError):
    """A checkpoint that is missing, damaged, untrusted or does not fit the model."""


class TrainingError(FairseqError, RuntimeError):
    """Training cannot continue: a non-finite loss, an exhausted loss scale, a full disk."""


def nearest(name: str, candidates: Iterable[str]) -> Optional[str]:
    """The candidate most like `name`, or None if none is close."""
    matches = difflib.get_close_matches(name, list(candidates), n=1, cutoff=0.5)
    return matches[0] if matches else None


def unknown(kind: str, name: str, candidates: Iterable[str], where: Optional[str] = None) -> str:
    """One line for a name that does not exist: names the nearest valid one, or lists the valid ones."""
    candidates = sorted(candidates)
    line = f"unknown {kind} {name!r}" + (f" in {where}" if where else "")
    guess = nearest(name, candidates)
    if guess is not None:
        return f"{line}; did you mean {guess!r}?"
    return f"{line}; choose from {', '.join(candidates)}" if candidates else line
