"""scripts/setup.sh: which environment a script gets, and that none is changed while another script uses it.

The interpreter that it is told to use makes an environment whose pip writes down what it was asked for.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BASE = """#!/usr/bin/env bash
set -euo pipefail
if [[ "$*" != "-m venv "* ]]; then exec {python} "$@"; fi
mkdir -p "$3/bin"
cat > "$3/bin/python" <<'EOF'
#!/usr/bin/env bash
shift 2
echo "$*" >> {log}
EOF
chmod +x "$3/bin/python"
"""
SCRIPT = """
set -euo pipefail
source {root}/scripts/setup.sh {extras}
echo "ready $python"
read -r line
"""


class Scripts:
    """Starts scripts that source setup.sh and then run until they read a line."""

    def __init__(self, folder: Path, repository: Path):
        self.venv, self.log, self.repository = folder / "an environment", folder / "log", repository
        base = folder / "base"
        base.write_text(BASE.format(python=sys.executable, log=self.log))
        base.chmod(0o755)
        self.environment = {**os.environ, "PYTHON": str(base), "VENV": str(self.venv)}
        for name in ("FAIRSEQ_PYTHON", "PYTHONPATH"):
            self.environment.pop(name, None)
        self.running: list[subprocess.Popen] = []

    def start(self, extras: str, stderr: Any = subprocess.DEVNULL) -> subprocess.Popen:
        script = SCRIPT.format(root=self.repository, extras=extras)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": stderr}
        process = subprocess.Popen(["bash", "-c", script], env=self.environment, text=True, **pipes)
        self.running.append(process)
        return process

    def end(self, process: subprocess.Popen) -> None:
        process.communicate("go on\n", timeout=60)
        assert process.returncode == 0

    def used(self, extras: str) -> None:
        process = self.start(extras)
        assert process.stdout.readline() == f"ready {self.venv}/bin/python\n"
        self.end(process)

    def installed(self) -> list[str]:
        """The extras of each installation."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line.rpartition("[")[2].rstrip("]") for line in lines if line.startswith("install")]


@pytest.fixture
def scripts(tmp_path, repository):
    made = Scripts(tmp_path, repository)
    yield made
    for process in made.running:
        process.kill()
        process.communicate()


def test_an_environment_that_fits_is_reused(scripts):
    for extras in ("plot", "plot", "dev", "plot", "dev"):
        scripts.used(extras)
    assert scripts.installed() == ["plot", "dev"]
    (scripts.venv / ".fairseq-dev").write_text("of another version")
    scripts.used("plot")
    scripts.used("plot")
    assert scripts.installed() == ["plot", "dev", "plot"]


def test_who_has_to_install_waits_until_nobody_uses_the_environment(scripts):
    first = scripts.start("plot")
    assert first.stdout.readline().startswith("ready")
    second = scripts.start("dev", stderr=subprocess.PIPE)
    line = second.stderr.readline()
    assert line.startswith(f"waiting: {scripts.venv} must be brought up to date") and "VENV=" in line
    third = scripts.start("plot")  # nothing to install
    assert third.stdout.readline().startswith("ready")
    assert scripts.installed() == ["plot"]
    scripts.end(first)
    scripts.end(third)
    assert second.stdout.readline().startswith("ready")
    assert scripts.installed() == ["plot", "dev"]
    scripts.end(second)


def test_two_that_start_at_once_install_once(scripts):
    both = [scripts.start("plot") for _ in range(2)]
    for process in both:
        assert process.stdout.readline().startswith("ready")
        scripts.end(process)
    assert scripts.installed() == ["plot"]


def test_the_distribution_of_the_former_name_goes(scripts):
    (scripts.venv / "lib" / "python3.11" / "site-packages" / "fairseq-1.0.0.dev0.dist-info").mkdir(parents=True)
    scripts.used("plot")
    assert scripts.log.read_text().splitlines()[0] == "uninstall -q -y fairseq"
