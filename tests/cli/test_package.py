"""The project installs from a clean checkout and from a wheel (scripts/check_package.sh does the work)."""

import os
import shutil
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_installs_from_checkout_and_wheel(repository):
    if not (repository / ".git").exists() or shutil.which("git") is None:
        pytest.skip("a clean checkout is made by git, and this is no git repository")
    done = subprocess.run(
        ["bash", str(repository / "scripts" / "check_package.sh")],
        env={**os.environ, "FAIRSEQ_PYTHON": sys.executable},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.endswith("package: ok\n")
