"""docs/graph_tutorial.md: its files are written, its commands run, and they print what the page shows."""

import re
from pathlib import Path

import pytest
from tutorial_blocks import REPOSITORY, outputs, words

PAGE = REPOSITORY / "docs" / "graph_tutorial.md"


@pytest.mark.slow
def test_commands_of_the_tutorial_print_what_it_shows(tmp_path: Path) -> None:
    page = PAGE.read_text(encoding="utf-8")
    compared = 0
    for shown, printed in outputs(page, tmp_path):
        assert words(shown) == words(printed)
        compared += 1
    assert compared > 8
    for picture in re.findall(r"\]\(graph_tutorial/([\w.]+)\)", page):
        assert (tmp_path / picture).stat().st_size > 1000 and (PAGE.parent / "graph_tutorial" / picture).is_file()


def test_numbers_that_depend_on_the_machine_are_not_compared() -> None:
    assert words("fc1  2,048  0.5\nconv  2,304\n") == [["fc1", "#", "#"], ["conv", "2,304"]]
    assert words("97.8 % are right") == words("97.1 % are right") != words("97.1 % are wrong")
