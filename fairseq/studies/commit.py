"""Which code has run: the commit of the checkout that this package lies in.

>>> commit() is None or len(commit().removesuffix("+changes")) == 12
True
"""

import functools
import subprocess
from pathlib import Path
from typing import Optional


@functools.cache
def commit() -> Optional[str]:
    """12 digits, with "+changes" where tracked files differ; None outside a checkout of git."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    found = _git(root, "rev-parse", "HEAD")
    changes = _git(root, "status", "--porcelain", "--untracked-files=no")
    if found is None:
        return None
    return found[:12] + ("+changes" if changes else "")


def _git(root: Path, *words: str) -> Optional[str]:
    try:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
