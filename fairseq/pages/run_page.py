"""The page of one or several runs: `fairseq-report RUN_DIR... --out report.html`.

runs = [read_run(name, folder) for path in paths for name, folder in find_run_folders(path)]
Path("report.html").write_text(run_page(runs))
"""

from collections.abc import Sequence
from typing import Any, Optional

from fairseq.pages.charts import LINE, MARKED, STEP, THIN, Series, chart, color, legend
from fairseq.pages.comparison import comparison
from fairseq.pages.document import Section, facts, notes, page
from fairseq.pages.error_map import error_section
from fairseq.pages.markup import Html, join, tag
from fairseq.pages.numbers import count, duration, percent, si, size
from fairseq.pages.plan_map import average_bits, plan_map
from fairseq.pages.run_data import RunData
from fairseq.pages.settings import settings_section
from fairseq.pages.tables import Cell, table
from fairseq.studies.plots import LABELS, default_panels
from fairseq.studies.records import Run

STATES = {
    "done": "finished",
    "running": "running",
    "stopped": "stopped by a signal",
    "failed": "failed",
    "killed": "ended without a word (killed?)",
    "unknown": "not known to have finished",
}
MORE_PANELS = ("bitops", "gnorm", "ups")
TITLES = {**LABELS, "bitops": "BitOPs so far", "gnorm": "norm of gradients", "ups": "updates per second"}


def run_page(runs: Sequence[RunData], title: str = "", live: bool = False) -> str:
    """The text of the page."""
    title = title or (runs[0].name if len(runs) == 1 else f"{len(runs)} runs")
    sections = [Section("overview", "Overview", join(_missing(runs), comparison(runs)))]
    sections.append(Section("curves", "Curves", curves_section([run.run for run in runs])))
    if any(run.config for run in runs):
        sections.append(Section("settings", "Settings", settings_section(runs)))
    sections += [_run_section(place, run) for place, run in enumerate(runs)]
    states = ", ".join(dict.fromkeys(STATES[run.state()] for run in runs))
    return page(title, sections, subtitle=states, live=live)


def _missing(runs: Sequence[RunData]) -> Optional[Html]:
    several = len(runs) > 1
    lines = [f"{run.name}: {line}" if several else line for run in runs for line in run.missing]
    return notes(lines, "What is missing") if lines else None


# -- curves ------------------------------------------------------------------------------------------------------------


def curves_section(runs: Sequence[Run]) -> Html:
    """Loss, metrics, learning rate, bits and costs over updates, one colour a run."""
    reported = {key for run in runs for key in run.reported()}
    panels = [key for key in (*default_panels(runs), *MORE_PANELS) if key in reported]
    if not panels:
        return tag("p", "No run has reported anything.", class_="note")
    how = tag("span", "thin: training, with dots: validation; arrow keys move along a chart", class_="note")
    charts = [
        chart(
            TITLES.get(key, key.replace("_", " ")),
            [one for place, run in enumerate(runs) for one in series_of(run, key, place)],
            whole_numbers=key == "num_bits",
        )
        for key in panels
    ]
    return join(legend([run.name for run in runs], how), tag("div", charts, class_="charts"))


def series_of(run: Run, key: str, place: int) -> list[Series]:
    """The curves of `key`: of training and validation; bits as steps, at every change where the run recorded them."""
    if key in ("lr", "num_bits", "bitops"):
        points = run.series("bits", key) or run.series("train_inner", key) or run.series("train", key)
        if key == "num_bits" and points and run.last_update() > points[-1][0]:
            points.append((run.last_update(), points[-1][1]))  # bits hold until others are reported
        return [Series(run.name, list(points), place, STEP if key == "num_bits" else LINE)]
    valid = run.series("valid", key)
    training = run.series("train_inner", key) or run.series("train", key)
    found = [Series(f"{run.name}, training", list(training), place, THIN)] if training else []
    return [*found, Series(f"{run.name}, validation", list(valid), place, MARKED)] if valid else found


# -- one run -----------------------------------------------------------------------------------------------------------


def _run_section(place: int, run: RunData) -> Section:
    record = run.record
    parts = [facts(_facts(run))]
    if record.get("error"):
        parts.insert(0, notes([str(record["error"])], "How it ended"))
    if run.plan:
        low = average_bits(run.plan)
        parts.append(tag("h3", f"Precision plan ({low:.1f} bits on average over its rows, at the upper bound)"))
        parts.append(plan_map(run.plan))
    elif run.run.records or run.config:
        parts.append(tag("p", "No precision plan: the run is in full precision.", class_="note"))
    if run.errors:
        parts += [tag("h3", "Errors of quantizers"), error_section(run.errors)]
    if run.checkpoints:
        parts += [tag("h3", "Files"), _files(run)]
    if run.log:
        parts += [tag("h3", "Log"), log_box(run.log, open_=record.get("state") == "failed")]
    title = join(tag("i", class_="swatch", **color(place)), run.name)
    return Section(run_key(place), title, join(*parts), nav=run.name)


def run_key(place: int) -> str:
    """The anchor of a run's section."""
    return f"run-{place + 1}"


def log_box(lines: Sequence[str], open_: bool = False) -> Html:
    """The last lines of a log."""
    pre = tag("pre", "\n".join(lines), tabindex="0", aria_label="last lines of the log")
    return tag("details", tag("summary", f"Last {len(lines)} lines"), pre, open=open_)


def _facts(run: RunData) -> list[tuple[str, Any]]:
    record = run.record
    pairs: list[tuple[str, Any]] = [
        ("state", STATES[run.state()]),
        ("folder", tag("code", run.folder.resolve())),
        ("command", tag("code", record["command"]) if record.get("command") else None),
        ("started", record.get("started")),
        ("starts", record["starts"] if record.get("starts") not in (None, 1) else None),
        ("updated", record.get("updated")),
        ("updates", count(run.run.last_update()) if run.run.records else None),
        ("training", duration(record.get("seconds"))),
    ]
    parameters = record.get("parameters")
    if isinstance(parameters, dict):
        total, trained = parameters.get("total"), parameters.get("trained")
        pairs.append(("parameters", count(total) if total == trained else f"{count(total)}, {count(trained)} trained"))
    peaks = record.get("peak_memory")
    if isinstance(peaks, dict):
        pairs.append(("peak memory", ", ".join(f"{size(peak)} ({device})" for device, peak in peaks.items())))
    pairs += _costs(record.get("bitops"))
    versions = record.get("versions")
    if isinstance(versions, dict):
        pairs.append(("versions", ", ".join(f"{name} {version}" for name, version in versions.items())))
    return [*pairs, ("machine", record.get("machine"))]


def _costs(bitops: Any) -> list[tuple[str, Any]]:
    """How many bit operations went where (`fairseq.quantization.analysis.bitops.Cost`)."""
    if not isinstance(bitops, dict):
        return []
    try:
        quantized, full, quantizing, static = (float(bitops[k]) for k in ("quantized", "full", "quantizing", "static"))
    except (KeyError, TypeError, ValueError):
        return []
    parts = f"{si(quantized)} quantized products, {si(full)} products in full precision, {si(quantizing)} quantizing"
    pairs: list[tuple[str, Any]] = [("BitOPs", f"{si(quantized + full + quantizing)}: {parts}")]
    if static and static != quantized:
        saved, of_all = 1 - quantized / static, 1 - (quantized + full + quantizing) / (static + full + quantizing)
        pairs.append(("saved by the schedule", f"{percent(saved)} of quantized products, {percent(of_all)} of all"))
    return pairs


def _files(run: RunData) -> Html:
    import datetime

    rows = [
        [
            tag("code", file.name),
            Cell(file.size, size),
            Cell(file.updated, lambda at: f"{datetime.datetime.fromtimestamp(at):%Y-%m-%d %H:%M:%S}"),
        ]
        for file in run.checkpoints
    ]
    return table(["file", "size", "written"], rows, "checkpoints")
