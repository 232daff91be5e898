"""A run in which more is skipped than was agreed on fails, and says what."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest

@pytest.mark.parametrize("number", range(3))
def test_with_data(number):
    pytest.skip(f"no data at /somewhere/{number}")

@pytest.mark.skipif(True, reason="no GPU")
def test_with_gpu():
    pass

def test_that_runs():
    pass
"""


@pytest.fixture
def run(tmp_path, repository):
    def run(limits: str, *words: str) -> tuple[int, str]:
        (tmp_path / "test_some.py").write_text(TESTS)
        (tmp_path / "limits.txt").write_text(limits)
        command = [sys.executable, "-m", "pytest", "-p", "tests.skips", "-p", "no:cacheprovider", *words]
        environment = {**os.environ, "PYTHONPATH": str(repository)}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        return done.returncode, done.stdout

    return run


def test_as_many_as_agreed_on(run):
    code, out = run("3 no data at *\n1 no GPU\n0 never\n", "--skip-limits", "limits.txt")
    assert code == 0 and "    1  no data at /somewhere/2" in out and "    1  no GPU" in out


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ("2 no data at *\n1 no GPU\n", "error: 3 tests skipped, at most 2 may be: no data at *"),
        ("3 no data at *\n", "error: 1 test skipped, at most 0 may be: no GPU"),
    ],
)
def test_more_than_agreed_on(run, limits, said):
    code, out = run(limits, "--skip-limits", "limits.txt")
    assert code == 1 and said in out
    assert run(limits)[0] == 0  # without the option it is told only


def test_the_committed_limits_can_be_read(repository: Path):
    from tests.skips import read_limits

    assert all(number > 0 for number in read_limits((repository / "tests" / "skip_limits.txt").read_text()).values())


@pytest.mark.skipif(not os.path.exists("/proc/cpuinfo"), reason="no /proc/cpuinfo")
def test_a_kernel_that_is_built_without_dot_products_is_no_missing_hardware(monkeypatch):
    """A compiler that refuses -march=native builds a kernel that says 0: its tests must fail then, not be skipped."""
    from tests import needs

    has = needs.has_dot_products()
    monkeypatch.setattr(needs.gemm, "_panel_columns", lambda: 0)
    assert needs.has_dot_products() == has
    monkeypatch.setattr(needs.gemm, "library", lambda name: None)
    assert needs.has_dot_products() == has
