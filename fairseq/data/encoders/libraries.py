"""Libraries of tokenizers and subword encodings that are installed only where they are wanted.

>>> library("json", "json", "tokenizer=json").dumps([1])
'[1]'
>>> library("nothing", "no-thing", "bpe=nothing")
Traceback (most recent call last):
...
fairseq.errors.ConfigError: bpe=nothing needs the package no-thing: pip install no-thing (or this package with [text])
"""

import importlib
from pathlib import Path
from typing import Any

from fairseq.errors import ConfigError, DataError, reason


def library(module: str, package: str, component: str, extra: str = "text") -> Any:
    """The module that `component` needs; `extra` is the one of this distribution that brings it.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ConfigError(
            f"{component} needs the package {package}: pip install {package} (or this package with [{extra}])"
        ) from None


def read_text(path: str, what: str) -> str:
    """A file's text.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {what} {path} ({reason(error)})") from None
