"""A pytest plugin: what was skipped and why, in a table, and a run that fails where that is more than was agreed on.

    pytest --skip-limits tests/skip_limits.txt

A skipped test fails nobody, so tests that never run anywhere would go unnoticed. The file has a line for each reason:
the largest number of tests that it may skip, and the reason as a pattern of `fnmatch`. A reason without a line may skip
none. Without the option the table is printed all the same.
"""

import fnmatch
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--skip-limits", metavar="FILE", help="fail where more is skipped than FILE allows, by reason")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Examples of the kernels' files run the kernels: they need what these need."""
    examples = [item for item in items if isinstance(item, pytest.DoctestItem) and item.path.parent.name == "kernels"]
    if not examples:
        return
    from tests import needs  # only here: it may start a compiler

    for item in examples:
        item.add_marker(needs.compiler)
        if item.path.name == "gemm.py":
            item.add_marker(needs.dot_products)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if session.config.getoption("skip_limits") and exitstatus == pytest.ExitCode.OK and _exceeded(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    counts = count(_reasons(config))
    if not counts:
        return
    terminalreporter.section("skipped, by reason")
    for reason, number in counts.most_common():
        terminalreporter.write_line(f"{number:5}  {reason}")
    for line in _exceeded(config) if config.getoption("skip_limits") else ():
        terminalreporter.write_line(f"error: {line}", red=True)


def count(reasons: Sequence[str]) -> Counter[str]:
    """Tests for each reason, of which the first line counts."""
    return Counter(reason.removeprefix("Skipped: ").partition("\n")[0] for reason in reasons)


def read_limits(text: str) -> dict[str, int]:
    """Pattern -> largest number, from lines `NUMBER PATTERN`; `#` starts a comment.

    >>> read_limits("# comment\\n3 real data is not at *")
    {'real data is not at *': 3}
    """
    lines = (line.strip() for line in text.splitlines())
    parts = (line.split(maxsplit=1) for line in lines if line and not line.startswith("#"))
    return {pattern: int(number) for number, pattern in parts}


def exceeded(counts: Counter[str], limits: dict[str, int]) -> list[str]:
    """A line for each reason that skips more than it may.

    >>> exceeded(Counter({"no data at /a": 2, "no data at /b": 1, "flaky": 1}), {"no data at *": 2})
    ['3 tests skipped, at most 2 may be: no data at *', '1 test skipped, at most 0 may be: flaky']
    """
    found: Counter[str] = Counter()
    for reason, number in counts.items():
        found[_pattern(reason, limits) or reason] += number
    return [
        f"{number} test{'s' if number > 1 else ''} skipped, at most {limits.get(name, 0)} may be: {name}"
        for name, number in found.items()
        if number > limits.get(name, 0)
    ]


def _pattern(reason: str, limits: dict[str, int]) -> Optional[str]:
    return next((pattern for pattern in limits if fnmatch.fnmatchcase(reason, pattern)), None)


def _reasons(config: pytest.Config) -> list[str]:
    reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
    reports = reporter.stats.get("skipped", []) if reporter else []
    return [report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr) for report in reports]


def _exceeded(config: pytest.Config) -> list[str]:
    path = Path(config.rootpath, config.getoption("skip_limits"))
    return exceeded(count(_reasons(config)), read_limits(path.read_text(encoding="utf-8")))
