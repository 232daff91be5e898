"""A tokenizer that travels with the data that it cut, and with every checkpoint that was trained on them.

    DATA/text.json          {"columns": ["question", "answer"], "bpe": {"_name": "bert", "bpe_vocab_file": "vocab.txt"}}
    DATA/tokenizer/         the files that `bpe` names

In memory, and in a checkpoint's `task_state["text"]`, the contents of the files stand beside the settings, as text.
`build` makes the `bpe` of it. A checkpoint can come from anywhere: names of files are plain names, of settings those of
the `bpe` that it names.
"""

import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fairseq.data.encoders import build_bpe
from fairseq.dataclass import catalog
from fairseq.errors import DataError, reason

KEY = "text"
FILE, FOLDER = "text.json", "tokenizer"


def write(data: Path, columns: list[str], settings: dict[str, Any]) -> None:
    """Write text.json; the files of the tokenizer are in `data`/tokenizer already.

    Args:
        columns: names of the one or two columns of text.
        settings: the `bpe` group of a config, files by their names.
    """
    text = json.dumps({"columns": columns, "bpe": settings}, ensure_ascii=False, indent=1)
    (data / FILE).write_text(text + "\n", encoding="utf-8")


def read(data: Path) -> Optional[dict[str, Any]]:
    """What a data folder says about its texts: columns, bpe and files; None if it says nothing.

    Raises:
        DataError: it is damaged.
    """
    path = data / FILE
    if not path.is_file():
        return None
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
        files = sorted(file for file in (data / FOLDER).iterdir() if file.is_file())
        described["files"] = {file.name: file.read_text(encoding="utf-8") for file in files}
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise DataError(
            f"{path} or the tokenizer beside it is damaged ({reason(error)}); prepare the data again"
        ) from None
    check(described, str(path))
    return dict(described)


def check(described: Any, where: str) -> None:
    """Raise DataError where `described` is not what `read` returns."""
    try:
        columns, settings, files = described["columns"], described["bpe"], described["files"]
        fits = len(columns) in (1, 2) and all(isinstance(name, str) for name in columns)
        fits = fits and settings["_name"] in catalog.group("bpe") and all(isinstance(key, str) for key in settings)
        for name, text in files.items():
            fits = fits and Path(name).name == name and not name.startswith(".") and isinstance(text, str)
    except (KeyError, TypeError, AttributeError, ValueError):
        fits = False
    if not fits:
        raise DataError(f"{where}: what it says about texts and their tokenizer is damaged; use another copy of it")


@contextlib.contextmanager
def in_files(described: dict[str, Any], where: str) -> Iterator[Any]:
    """The `bpe` node of `described`, with its files in a temporary folder for the length of a `with` block.

    Raises:
        DataError: its settings are damaged.
    """
    check(described, where)
    settings = dict(described["bpe"])
    with tempfile.TemporaryDirectory() as folder:  # the libraries read files
        for name, text in described["files"].items():
            Path(folder, name).write_text(text, encoding="utf-8")
        for key, value in settings.items():
            if key != "_name" and value in described["files"]:
                settings[key] = str(Path(folder, value))
        try:
            yield OmegaConf.merge(OmegaConf.structured(catalog.group("bpe")[settings["_name"]]), settings)
        except OmegaConfBaseException as error:
            raise DataError(f"{where}: its tokenizer cannot be built ({reason(error)})") from None


def build(described: dict[str, Any], where: str) -> Any:
    """The subword encoder that `described` describes.

    Raises:
        DataError: its settings or files are damaged.
    """
    with in_files(described, where) as node:
        return build_bpe(node)
