"""Notices other distributions in this environment that install a package `fairseq` too, such as PyPI's.

Of two such packages one hides the other, or their files are mixed in one folder. What is read are the names in the
folders of `sys.path`, and the metadata of those that have "fairseq" in them: less than a millisecond, where
`importlib.metadata` takes twenty to import.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Optional

DISTRIBUTION = "fairseq-any-precision"
PACKAGE = "fairseq"
HOME = Path(__file__).resolve().parent.parent


def warning(path: Optional[Sequence[str]] = None) -> Optional[str]:
    """One line that says what else is there and what to do; None if there is nothing else."""
    found = dict(others(sys.path if path is None else path))
    if not found:
        return None
    names = " and ".join(f"{name} ({folder})" for name, folder in found.items())
    remove = " ".join(dict.fromkeys(name.partition(" ")[0] for name in found))
    return (
        f"this environment also has {names}, which installs a package {PACKAGE!r}, too, and one hides the other: "
        f"run 'pip uninstall {remove} {DISTRIBUTION}', then install {DISTRIBUTION} again"
    )


def others(path: Sequence[str]) -> Iterator[tuple[str, str]]:
    """("name version", folder) of each other distribution with a package `fairseq` in the folders of `path`."""
    for folder in dict.fromkeys(path):
        try:
            entries = os.listdir(folder or ".")
        except OSError:  # a zip file, or not there
            continue
        for entry in entries:
            stem, kind = os.path.splitext(entry)
            if "fairseq" in entry.lower() and kind in (".dist-info", ".egg-info", ".egg-link"):
                name, _, version = stem.partition("-")
                name = name.lower().replace("_", "-")
                if name != DISTRIBUTION and _provides(Path(folder, entry), name):
                    yield f"{name} {version.partition('-')[0]}".strip(), folder or "."


def _provides(metadata: Path, name: str) -> bool:
    """Whether what is described by `metadata` has the package, and is not this project under an earlier name."""
    if metadata.suffix == ".egg-link":
        return name == PACKAGE
    if (metadata.suffix == ".egg-info" and metadata.resolve().parent == HOME) or _is_this_project(metadata):
        return False
    top_level = _read(metadata / "top_level.txt").split()
    return PACKAGE in top_level or any(
        line.startswith(f"{PACKAGE}/__init__.py,") for line in _read(metadata / "RECORD").splitlines()
    )


def _is_this_project(metadata: Path) -> bool:
    """Whether it is an editable installation of a checkout of this project, from when it had another name."""
    import json  # not needed if there is no other distribution
    from urllib.parse import unquote, urlsplit

    try:
        url = urlsplit(json.loads(_read(metadata / "direct_url.json") or "{}").get("url", ""))
    except (ValueError, AttributeError):
        return False
    return url.scheme == "file" and Path(unquote(url.path), "fairseq_cli", Path(__file__).name).exists()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
