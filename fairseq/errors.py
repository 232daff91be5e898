"""What can go wrong on the user's side, as exceptions that a command turns into one line and an exit code.

Raise one of these for anything that a user can cause or fix: a missing file, an unknown key, a damaged checkpoint.
The message says what is wrong, where, and what to do, on one line. Library code raises; only `fairseq_cli` prints and
exits. Messages quote what files hold, which may be anything: `FairseqError` itself keeps them on one line and short.

>>> raise ConfigError(unknown("key", "dropuot", ["dropout", "lr"], where="model"))
Traceback (most recent call last):
...
fairseq.errors.ConfigError: unknown key 'dropuot' in model; did you mean 'dropout'?
"""

import difflib
import re
from collections.abc import Iterable
from typing import Any, Optional

MAX_MESSAGE = 2000  # characters
_LONG_WORD = re.compile(r"[^\s/]{300,}")  # parts of paths have at most 255 bytes


class FairseqError(Exception):
    """Base of every error whose message is for the user; commands exit with `exit_code`.

    >>> len(str(DataError(f"labels.txt, line 3: label {'9' * 5000!r} is no number"))) < 200
    True
    """

    exit_code = 1

    def __init__(self, *args: Any):
        super().__init__(*(_presentable(arg) if isinstance(arg, str) else arg for arg in args))


def _presentable(message: str) -> str:
    """On one line, without the middle of words and of messages that nobody would read."""
    message = _LONG_WORD.sub(lambda word: f"{word[0][:100]}...{word[0][-30:]}", " ".join(message.splitlines()))
    if len(message) > MAX_MESSAGE:
        return f"{message[: MAX_MESSAGE * 2 // 3]} ... {message[-MAX_MESSAGE // 4 :]}"
    return message


class ConfigError(FairseqError, ValueError):
    """A key, value, flag or combination of settings that cannot be used."""

    exit_code = 2


class DataError(FairseqError, ValueError):
    """A data folder, index, dictionary or label that is missing, damaged or does not fit."""


class CheckpointError(FairseqError, RuntimeError):
    """A checkpoint that is missing, damaged, untrusted or does not fit the model."""


class TrainingError(FairseqError, RuntimeError):
    """Training cannot continue: a non-finite loss, an exhausted loss scale, a full disk."""


class GenerationError(FairseqError, RuntimeError):
    """Nothing can be generated: scores that are not finite, constraints that leave no way to end."""


class VerificationError(FairseqError, RuntimeError):
    """A model does something else than what it claims to do."""


def reason(error: BaseException) -> str:
    """Why something failed, in a few words of whoever raised `error`: for the brackets of a message of ours.

    >>> reason(FileNotFoundError(2, "No such file or directory", "x")), reason(KeyError()), reason(ValueError("a\\nb"))
    ('No such file or directory', 'KeyError', 'a b')
    """
    strerror = error.strerror if isinstance(error, OSError) else None
    return strerror or " ".join(str(error).split())[:200] or type(error).__name__


def shortened(value: Any, most: int = 80) -> str:
    """`repr(value)` on one line, of at most `most` characters.

    >>> shortened("a" * 100, 10)
    "'aaaaaa..."
    """
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # an integer of too many digits to be written
        return f"a {type(value).__name__}"
    return text if len(text) <= most else text[: most - 3] + "..."


def nearest(name: str, candidates: Iterable[str]) -> Optional[str]:
    """The candidate most like `name`, or None if none is close.

    >>> nearest("fp8", ["mxfp8", "fp8_e4m3", "fp8_e4m3_fnuz"])
    'fp8_e4m3'
    """
    candidates = list(candidates)
    longer = [candidate for candidate in candidates if len(name) > 2 and candidate.startswith(name)]
    if longer:
        return min(longer, key=len)
    matches = difflib.get_close_matches(name, candidates, n=1, cutoff=0.5)
    return matches[0] if matches else None


def unknown(kind: str, name: str, candidates: Iterable[str], where: Optional[str] = None) -> str:
    """One line for a name that does not exist: names the nearest valid one, or lists the valid ones."""
    candidates = sorted(candidates)
    line = f"unknown {kind} {name!r}" + (f" in {where}" if where else "")
    guess = nearest(name, candidates)
    if guess is not None:
        return f"{line}; did you mean {guess!r}?"
    return f"{line}; choose from {', '.join(candidates)}" if candidates else line
