"""Errors of quantizers over a training: the median of each role as curves, all quantizers as a map over updates, and
their last values as a table.

    error_section(read_errors(run))         # records of point_errors.jsonl
"""

import statistics
from collections.abc import Sequence
from typing import Any

from fairseq.pages.charts import MARKED, Series, chart
from fairseq.pages.markup import Html, data_block, join, tag
from fairseq.pages.numbers import number, short
from fairseq.pages.tables import Cell, scrolling, table
from fairseq.studies.error_plots import COLORS, MEASURES, USUAL

MOST_ROWS, MOST_COLUMNS = 400, 60
SHADES = 10
ROW = 9  # units of a cell; columns take what they need up to WIDTH
WIDTH, NARROWEST, WIDEST = 560, 8, 40


def error_section(records: Sequence[dict[str, Any]]) -> Html:
    """Curves, maps and table of a run."""
    records = [record for record in records if _is_record(record)]
    if not records:
        return tag("p", "no errors of quantizers were recorded", class_="note")
    curves = [chart(f"{MEASURES[name]}, median", _medians(records, name), named=True) for name in USUAL]
    maps = [
        tag("details", tag("summary", f"{MEASURES[name]} of each quantizer"), _map(records, name)) for name in USUAL
    ]
    return join(
        tag("div", curves, class_="charts"), *maps, tag("details", tag("summary", "Last values"), _last(records))
    )


def _is_record(record: Any) -> bool:
    return isinstance(record.get("quantizer"), str) and isinstance(record.get("num_updates"), int)


def _medians(records: Sequence[dict[str, Any]], measure: str) -> list[Series]:
    series = []
    for place, role in enumerate(COLORS):
        values: dict[int, list[float]] = {}
        for record in records:
            value = number(record.get(measure))
            if record.get("tag") == role and value is not None:
                values.setdefault(record["num_updates"], []).append(value)
        points = [(float(update), statistics.median(found)) for update, found in sorted(values.items())]
        series.append(Series(role, points, place, MARKED))
    return series


def _map(records: Sequence[dict[str, Any]], measure: str) -> Html:
    """A line for each quantizer, a column for each update; one path for each shade keeps it small."""
    paths = list(dict.fromkeys(record["quantizer"] for record in records))
    updates = sorted({record["num_updates"] for record in records})
    updates = updates[:: -(-len(updates) // MOST_COLUMNS)]
    left_out = len(paths) - MOST_ROWS
    paths = paths[:MOST_ROWS]
    rows, columns = {path: i for i, path in enumerate(paths)}, {update: i for i, update in enumerate(updates)}
    values: list[list[Any]] = [[None] * len(updates) for _ in paths]
    for record in records:
        if record["quantizer"] in rows and record["num_updates"] in columns:
            value = number(record.get(measure))
            found = None if value is None else float(f"{value:.4g}")
            values[rows[record["quantizer"]]][columns[record["num_updates"]]] = found
    numbers = [value for line in values for value in line if value is not None]
    if not numbers:
        return tag("p", "nothing was reported", class_="note")
    low, high = min(numbers), max(numbers)
    if low == high:
        return tag("p", f"{short(low)} for all {len(paths)} quantizers at all {len(updates)} updates", class_="note")
    wide = min(max(WIDTH // len(updates), NARROWEST), WIDEST)
    squares: dict[int, list[str]] = {}
    for y, line in enumerate(values):
        for x, value in enumerate(line):
            if value is not None:
                share = (value - low) / (high - low)
                share = 1 - share if "sqnr" in measure else share  # strong is bad
                step = min(int(share * SHADES), SHADES - 1)
                squares.setdefault(step, []).append(f"M{x * wide} {y * ROW}h{wide}v{ROW}h-{wide}z")
    shapes = [tag("path", d="".join(found), class_=f"f{step}") for step, found in sorted(squares.items())]
    width, height = len(updates) * wide, len(paths) * ROW
    svg = tag(
        "svg",
        shapes,
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        role="img",
        tabindex="0",
        aria_label=f"{MEASURES[measure]} of {len(paths)} quantizers at {len(updates)} updates: "
        f"{short(low)} to {short(high)}; arrow keys read the values",
    )
    names = tag("div", [tag("span", path, title=path) for path in paths], class_="names", aria_hidden="true")
    data = {"rows": paths, "columns": updates, "values": values, "cell": [wide, ROW]}
    ends = (high, low) if "sqnr" in measure else (low, high)
    samples = [tag("span", class_=f"h{step}") for step in range(SHADES)]
    span = f" {short(ends[1])}; updates {updates[0]:,} to {updates[-1]:,}"
    scale = tag("p", f"{MEASURES[measure]} {short(ends[0])} ", samples, span, class_="scale")
    more = tag("p", f"{left_out} more quantizers are left out", class_="note") if left_out > 0 else None
    grid = tag("div", names, svg, data_block(data), class_="errors")
    return join(scrolling(grid, f"map of {MEASURES[measure]}"), scale, more)


def _last(records: Sequence[dict[str, Any]]) -> Html:
    last = {record["quantizer"]: record for record in records}
    measures = [name for name in MEASURES if any(number(record.get(name)) is not None for record in last.values())]
    rows = [
        [path, str(record.get("tag", "")), str(record.get("bits", "")), Cell(record["num_updates"]),
         *(Cell(record.get(name)) for name in measures)]
        for path, record in list(last.items())[:MOST_ROWS]
    ]  # fmt: skip
    headings = ["quantizer", "role", "bits", "update", *(MEASURES[name] for name in measures)]
    return table(headings, rows, "errors of quantizers, as last recorded")
