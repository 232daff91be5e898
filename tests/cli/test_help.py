"""`--help` of every command fits a terminal of 80 columns."""

import sys
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["scripts"]


@pytest.mark.parametrize("command", SCRIPTS)
def test_help_fits_80_columns(command: str, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "argv", [command, "--help"])
    try:
        import_module(SCRIPTS[command].partition(":")[0]).cli_main()
    except SystemExit as stop:
        assert not stop.code
    lines = capsys.readouterr().out.splitlines()
    lines = [line for line in lines if "|" not in line]  # a list of choices is not broken
    assert len(lines) > 5 and not [line for line in lines if len(line) > 80]
