"""What the project requires of an environment, and what of it is not there. Needs neither torch nor the rest of us.

list(lacking(list(requirements()), None))       # [("torch", ">=2.8")] where it is missing or too old
list(lacking(list(requirements()), "onnx"))     # of an extra
"""

import importlib.metadata
import platform
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Optional

from packaging.requirements import Requirement

DISTRIBUTION = "fairseq-any-precision"
PYTHON = (3, 11)


def problems(wanted: list[Requirement]) -> list[str]:
    """A line for each thing that keeps the project from working."""
    found = []
    if sys.version_info < PYTHON:
        found.append(f"Python {platform.python_version()} is older than {'.'.join(map(str, PYTHON))}")
    for name, versions in lacking(wanted, None):
        found.append(f"{name} is {version(name) or 'missing'}, {versions} is needed: pip install '{name}{versions}'")
    return found


def lacking(wanted: Iterable[Requirement], extra: Optional[str]) -> Iterator[tuple[str, str]]:
    """Requirements of an extra (None: of the project) that the environment does not meet."""
    for requirement in wanted:
        if belongs(requirement, extra):
            found = version(requirement.name)
            if found is None or not requirement.specifier.contains(found, prereleases=True):
                yield requirement.name, str(requirement.specifier)


def belongs(requirement: Requirement, extra: Optional[str]) -> bool:
    """Whether a requirement is one of an extra (None: of the project)."""
    marker = requirement.marker
    if extra is None:
        return marker is None or marker.evaluate({"extra": ""})
    return marker is not None and not marker.evaluate({"extra": ""}) and marker.evaluate({"extra": extra})


def requirements() -> Iterator[Requirement]:
    """Of the project: by its checkout, else by what was installed."""
    project = Path(__file__).parents[1] / "pyproject.toml"
    if project.is_file():
        table = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
        yield from map(Requirement, table["dependencies"])
        for extra, lines in table["optional-dependencies"].items():
            yield from (Requirement(f"{line}; extra == '{extra}'") for line in lines)
        return
    try:
        yield from map(Requirement, importlib.metadata.requires(DISTRIBUTION) or [])
    except importlib.metadata.PackageNotFoundError:
        return


def version(name: str) -> Optional[str]:
    """Of an installed distribution, None if there is none."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
