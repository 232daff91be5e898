"""The page of a study: what it holds, and how it looks and works in headless Chromium."""

import json
import sys

import pytest
from page_runs import HOSTILE, make_study

from fairseq.pages.study_page import write_study_page
from fairseq.studies.study_folder import read_study
from fairseq_cli.report import cli_main


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_study(tmp_path_factory.mktemp("study") / "OUT", text=HOSTILE)


@pytest.fixture(scope="module")
def text(folder):
    return write_study_page(read_study(folder)).read_text()


def test_results_cells_and_failures_are_there(text):
    assert "10 of 12 cells have finished" in text
    assert "1 cell failed" in text and "error: &lt;script&gt;" in text and "<img" not in text
    for part in (
        "rte: accuracy (%) and BitOPs",
        "cola: accuracy (%) in training",
        "12.0 %",
        "fairseq-hydra-train task.data",
    ):
        assert part in text, part
    assert text.count('class="cell"') == 12 and text.count("There is no log.") == 0
    assert text.count("encoder.layers.1.fc1.weight: 4-8 bits") == 2  # one plan a quantized row
    assert len(text) < 400_000


def test_fairseq_report_makes_it_too(folder, tmp_path, monkeypatch, capsys):
    out = tmp_path / "study.html"
    monkeypatch.setattr(sys, "argv", ["fairseq-report", str(folder), "--out", str(out), "--title", "mine"])
    cli_main()
    assert capsys.readouterr().out.startswith(f"{out}: 12 cells")
    assert "<title>mine</title>" in out.read_text() and "Cells in detail" in out.read_text()


def test_a_study_that_has_not_begun(tmp_path):
    folder = make_study(tmp_path / "OUT")
    for path in folder.glob("cells/*/cell.json"):
        cell = {"name": path.parent.name, "row": "a", "status": "waiting"}
        path.write_text(json.dumps(cell))
        for file in path.parent.glob("[!c]*"):
            file.unlink()
    text = write_study_page(read_study(folder), tmp_path / "page.html").read_text()
    assert "No cell has reported anything yet." in text and "0 of 12 cells have finished" in text


@pytest.fixture
def page(browser, folder, text):
    page = browser.open((folder / "index.html").as_uri())
    yield page
    complaints = page.complaints()
    page.close()
    assert complaints == []


def test_it_sorts_and_shows_points(page):
    assert page.evaluate("typeof window.hacked") == "undefined"
    headings = page.text("#results ~ .scroll thead th")
    page.click(f"#results ~ .scroll thead th:nth-child({headings.index('mean') + 1}) button")
    rows = [line.split("\t") for line in page.text("#results ~ .scroll tbody tr")]
    means = [row[headings.index("mean")] for row in rows]
    assert means == ["72", "74", "76", "78", "80", "-"] and rows[0][:2] == ["fp32", "rte"]
    assert rows[1][headings.index("to fp32")] == "+2" and rows[0][headings.index("deviation")] == "1.414"
    svg = "#plots ~ .charts figure:first-of-type svg"
    page.evaluate(f"document.querySelector('{svg}').focus()")
    page.press("End")  # the dearest point
    assert "fp32, 2 seeds" in page.text("#tip")[0] and "72 ± 1.4142" in page.text("#tip")[0]


def test_a_link_opens_its_cell(page):
    page.click("#overview ~ .warn a")
    page.wait_for("document.querySelector('#cell-11').open")
    assert HOSTILE in page.text("#cell-11 pre")[0] and "common.seed=1" in page.text("#cell-11 .facts")[0]


def test_axe_finds_nothing_serious_in_a_study(page, axe_core):
    page.look(width=390, theme="dark")
    page.evaluate("[...document.querySelectorAll('details')].forEach((d) => { d.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.serious_findings(axe_core) == []
