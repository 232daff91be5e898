"""The page of runs in headless Chromium: it loads without a complaint, sorts, shows values, prints, follows a run."""

import json
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest
from page_runs import HOSTILE, make_run

from fairseq.errors import DataError
from fairseq.pages.live import PageServer
from fairseq.pages.run_data import read_run
from fairseq.pages.run_page import run_page

FIRST = "table.sortable tbody tr"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """URL of a page of three runs, one of which has text that wants to be a script."""
    folder = tmp_path_factory.mktemp("pages")
    runs = [
        read_run("fp32", make_run(folder / "fp32", quantized=False)),
        read_run(f"{HOSTILE} cpt", make_run(folder / "cpt", text=HOSTILE, updates=200)),
        read_run("broken", make_run(folder / "broken", state="failed", updates=60)),
    ]
    (folder / "broken" / "train.log").unlink()
    runs[2] = read_run("broken", folder / "broken")
    (folder / "report.html").write_text(run_page(runs))
    return (folder / "report.html").as_uri()


@pytest.fixture
def page(browser, report):
    page = browser.open(report)
    yield page
    complaints = page.complaints()
    page.close()
    assert complaints == []


def column(page, number, table="table.sortable"):
    return page.evaluate(
        f"[...document.querySelector('{table}').tBodies[0].rows].map((r) => r.cells[{number}].innerText)"
    )


def test_it_loads_and_runs_nothing_of_a_run(page):
    assert page.evaluate("document.title") == "3 runs" and page.evaluate("typeof window.hacked") == "undefined"
    assert HOSTILE in page.evaluate("document.body.innerText")
    assert page.evaluate("document.images.length") == 0
    assert "broken: train.log" in " ".join(page.text(".warn"))
    assert page.evaluate("document.querySelectorAll('#curves ~ .charts svg').length") >= 4


def test_a_click_sorts_and_another_one_turns_it_round(page):
    headings = page.text("table.sortable thead th")
    updates = headings.index("updates")
    heading = f"table.sortable thead th:nth-child({updates + 1}) button"
    page.click(heading)
    assert column(page, updates) == ["60", "100", "200"]  # as numbers
    page.click(heading)
    assert column(page, updates) == ["200", "100", "60"]
    assert page.evaluate(f"document.querySelector({json.dumps(heading)}).closest('th').ariaSort") == "descending"
    page.evaluate(f"document.querySelector({json.dumps(heading)}).focus()")
    page.press("Enter")
    assert column(page, updates) == ["60", "100", "200"]
    bitops = headings.index("BitOPs")
    for _ in range(2):  # what has no value stays at the end
        page.click(f"table.sortable thead th:nth-child({bitops + 1}) button")
        assert column(page, bitops)[-1] == "-"


def test_values_under_the_pointer_and_the_arrow_keys(page):
    svg = "#curves ~ .charts figure:nth-child(2) svg"  # accuracy of up to 200 updates
    page.move(svg, x=52 / 400 + 0.001)
    shown = page.text("#tip")[0]
    assert shown.startswith("updates 10") and "fp32, training: 52.5" in shown and "cpt, training: 52.5" in shown
    page.move("h1")
    assert page.evaluate("document.getElementById('tip').hidden")
    page.evaluate(f"document.querySelector('{svg}').focus()")
    page.press("End")
    assert "updates 200" in page.text("#tip")[0] and "training: 100" in page.text("#tip")[0]
    page.press("ArrowLeft")
    assert page.text("#said")[0].startswith("updates 190;")
    page.press("Escape")
    assert page.evaluate("document.getElementById('tip').hidden")


def test_bits_under_the_pointer_are_those_that_hold(page):
    figures = page.text("#curves ~ .charts figcaption")
    place = [text.strip() for text in figures].index("bits")
    svg = f"#curves ~ .charts figure:nth-child({place + 1}) svg"
    x = 52 + (400 - 18 - 52) * (25 - 10) / (200 - 10)  # update 25: what was set at 20
    page.move(svg, x=x / 400)
    assert "updates 25" in page.text("#tip")[0] and "cpt: 6" in page.text("#tip")[0]


def test_a_map_of_errors_shows_its_values(page):
    page.evaluate("[...document.querySelectorAll('details')].forEach((d) => { d.open = true })")
    page.move(".errors svg", x=0.01, y=0.01)
    first = page.evaluate("JSON.parse(document.querySelector('.errors script').textContent)")
    assert page.text("#tip")[0].split() == [first["rows"][0], "update", "20:", str(first["values"][0][0])]
    page.evaluate("document.querySelector('.errors svg').focus()")
    page.press("ArrowDown")
    page.press("ArrowRight")
    assert page.text("#said")[0] == f"{first['rows'][1]}; update 40: {first['values'][1][1]}"


def test_runs_can_be_hidden(page):
    curve = "document.querySelector('#curves ~ .charts g[data-color=\"0\"]').style.display"
    page.click(".legend button")
    assert (
        page.evaluate(curve) == "none"
        and page.evaluate("document.querySelector('.legend button').ariaPressed") == "false"
    )
    page.move("#curves ~ .charts figure:nth-child(2) svg")
    assert "fp32" not in page.text("#tip")[0]
    page.click(".legend button")
    assert page.evaluate(curve) == ""


def test_values_of_a_chart_as_a_table(page):
    page.click("details.values summary")
    page.wait_for("document.querySelector('details.values table') !== null")
    rows = page.text("details.values tbody tr")
    assert len(rows) == 10 + 5 + 20 + 10 + 6 + 3 and rows[0].split() == ["fp32,", "training", "10", "0.8187"]


def test_settings_can_be_filtered(page):
    visible = (
        "[...document.querySelectorAll('.settings')].map((t) => [...t.tBodies[0].rows].filter((r) => !r.hidden).length)"
    )
    before = page.evaluate(visible)
    page.click(".only-differing")
    some, every = page.evaluate(visible)
    assert some == every == 2 < before[1]  # user_dir and preset
    page.evaluate("document.querySelector('.filter').closest('details').open = true")
    page.click(".filter")
    page.call("Input.insertText", text="LR")
    assert page.evaluate(visible)[1] == 1


def test_both_themes(page):
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    assert page.evaluate(ground) == "rgb(255, 255, 255)" and page.text("#theme") == ["Dark"]
    page.click("#theme")
    dark = page.evaluate(ground)
    assert dark != "rgb(255, 255, 255)" and page.text("#theme") == ["Light"]
    page.evaluate("localStorage.removeItem('fairseq-theme'); delete document.documentElement.dataset.theme")
    page.look(theme="dark")  # the system's choice
    assert page.evaluate(ground) == dark


def test_a_phone_scrolls_down_only(page):
    page.look(width=390)
    page.evaluate("[...document.querySelectorAll('details')].forEach((d) => { d.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.evaluate("document.querySelector('#curves ~ .charts svg').getBoundingClientRect().width") > 350


def test_it_prints_everything_on_white(page):
    page.look(theme="dark")
    page.call("Emulation.setEmulatedMedia", media="print")
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("[...document.querySelectorAll('details:not(.values, .bulk)')].every((d) => d.open)")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not page.evaluate("[...document.querySelectorAll('details:not(.values, .bulk)')].every((d) => d.open)")
    printed = page.print()
    assert printed.startswith(b"%PDF") and len(printed) > 20_000


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 390)])
def test_axe_finds_nothing_serious(page, theme, width, axe_core):
    page.look(width=width, theme=theme)
    page.evaluate("[...document.querySelectorAll('details')].forEach((d) => { d.open = true })")
    assert page.serious_findings(axe_core) == []


def test_axe_finds_what_is_there_to_find(page, axe_core):
    page.evaluate(
        "document.querySelector('#theme').replaceChildren(); document.querySelector('#theme').ariaLabel = null"
    )
    assert [name for name, _ in page.serious_findings(axe_core)] == ["button-name"]


@contextmanager
def serving(make):
    with PageServer(make) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def test_a_served_page_follows_its_run(browser, tmp_path):
    folder = make_run(tmp_path / "run", state="running")
    with serving(lambda: run_page([read_run("run", folder)], live=True)) as server:
        page = browser.open(server.url)
        page.evaluate("document.querySelector('#run-1 ~ details').open = true")
        assert column(page, 2) == ["100"]
        with open(folder / "history.jsonl", "a") as file:
            file.write(json.dumps({"tag": "train_inner", "epoch": 1, "num_updates": 110, "loss": 0.01}) + "\n")
        page.wait_for("document.querySelector('table.sortable').tBodies[0].rows[0].cells[2].innerText === '110'")
        assert page.evaluate("document.querySelector('#run-1 ~ details').open")  # as the reader left it
        assert [line for line in page.complaints() if server.url not in line] == []
        page.close()


def test_a_server_gives_the_page_and_nothing_else():
    with serving(lambda: "<p>page") as server:
        assert server.server_address[0] == "127.0.0.1"
        with urllib.request.urlopen(server.url) as answer:
            assert answer.read() == b"<p>page"
        requests = [("etc/passwd", {}), ("../run.json", {}), ("", {"Host": "elsewhere.example"})]
        for path, headers in requests:
            with pytest.raises(urllib.error.HTTPError) as error:
                urllib.request.urlopen(urllib.request.Request(server.url + path, headers=headers))
            assert error.value.code == (403 if headers else 404)
            error.value.close()

    def gone():
        raise DataError("the folder is gone")

    with serving(gone) as server:
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(server.url + "version")
        assert error.value.code == 503 and error.value.read() == b"the folder is gone"
