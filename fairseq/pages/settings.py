"""Settings of runs: what differs from the defaults or between runs, and all of them."""

from collections.abc import Sequence
from typing import Any

from fairseq.pages.markup import Html, join, tag
from fairseq.pages.run_data import RunData
from fairseq.pages.tables import scrolling

LONGEST = 300  # characters of a value
_ABSENT = object()


def settings_section(runs: Sequence[RunData]) -> Html:
    """Two tables with a column for each run; with several, the lines in which they differ are marked."""
    runs = [run for run in runs if run.config]
    keys = list(dict.fromkeys(key for run in runs for key in run.config))
    differing = {key for key in keys if len({shown(run.config.get(key, _ABSENT)) for run in runs}) > 1}
    chosen = [key for key in keys if key in differing or any(key in run.usual or "." not in key for run in runs)]
    chosen = [key for key in chosen if key in differing or any(run.config.get(key) is not None for run in runs)]
    parts = []
    if len(runs) > 1:
        only = tag("input", type="checkbox", class_="only-differing")
        parts.append(tag("p", tag("label", only, f" only the {len(differing)} lines in which the runs differ")))
    name = "settings that differ from their defaults" + (" or between runs" if len(runs) > 1 else "")
    parts.append(_table(runs, chosen, differing, name))
    everything = join(
        tag("p", tag("label", "Filter ", tag("input", type="search", class_="filter", autocomplete="off"))),
        _table(runs, keys, differing, "all settings"),
    )
    parts.append(tag("details", tag("summary", f"All {len(keys)} settings"), everything, class_="bulk"))
    return join(*parts)


def _table(runs: Sequence[RunData], keys: Sequence[str], differing: set[str], caption: str) -> Html:
    head = tag("tr", [tag("th", name, scope="col") for name in ("setting", "default", *(run.name for run in runs))])
    body = []
    for key in keys:
        usual = next((shown(run.usual[key]) for run in runs if key in run.usual), "")
        cells = [_value(run, key) for run in runs]
        differs = key in differing
        name = [tag("code", key), tag("span", " differs", class_="mark") if differs else None]
        body.append(
            tag("tr", tag("th", name, scope="row"), tag("td", usual, class_="usual"), cells, data_differs=differs)
        )
    inner = tag("table", tag("caption", caption), tag("thead", head), tag("tbody", body), class_="settings")
    return scrolling(inner, caption)


def _value(run: RunData, key: str) -> Html:
    return tag("td", shown(run.config.get(key, _ABSENT)), class_="changed" if key in run.usual else None)


def shown(value: Any) -> str:
    """A value as text.

    >>> shown(None), shown(True), shown([0.1, 2]), shown("a" * 1000)[-5:]
    ('null', 'true', '[0.1, 2]', 'a ...')
    """
    if value is _ABSENT:
        return ""
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."
