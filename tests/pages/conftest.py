"""One browser for all tests of pages, and axe-core; a skip where they are not."""

import os
from pathlib import Path

import pytest
from browser import Browser, find_browser

AXE = Path(__file__).resolve().parents[2] / ".venv" / "browser" / "node_modules" / "axe-core" / "axe.min.js"


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium."""
    if find_browser() is None:
        pytest.skip("no Chromium (CHROMIUM may name one)")
    with Browser() as browser:
        yield browser


@pytest.fixture(scope="session")
def axe_core():
    """The source of axe-core, which finds what keeps people from using a page."""
    path = Path(os.environ.get("AXE_CORE", AXE))
    if not path.is_file():
        pytest.skip("axe-core is not installed (scripts/browser.sh installs it; AXE_CORE may name its axe.min.js)")
    return path.read_text(encoding="utf-8")
