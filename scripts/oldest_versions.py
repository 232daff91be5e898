"""The oldest versions of the dependencies that pyproject.toml allows, as constraints for pip.

python scripts/oldest_versions.py > oldest.txt
"""

import re
import tomllib
from pathlib import Path


def oldest(requirement: str) -> str:
    """`tqdm>=4.60` -> `tqdm==4.60`.

    >>> oldest("hydra-core>=1.3.2,<1.4")
    'hydra-core==1.3.2'
    """
    found = re.match(r"([\w.-]+)\s*>=\s*([\w.]+)", requirement)
    if found is None:
        raise SystemExit(f"{requirement} has no lower bound in pyproject.toml; give it one")
    return "{}=={}".format(*found.groups())


def main() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    print("\n".join(map(oldest, project["dependencies"])))


if __name__ == "__main__":
    main()
