"""Errors of quantizers over a training as one picture: `fairseq-plot RUN_DIR --errors`.

One column per measure: above, the median of each role (weights, activations, gradients) over updates; below, a map of
all quantizers, from the model's first layer to its last. It reads `point_errors.jsonl`, which a run writes that has
`common.point_errors_interval`.
"""

import bisect
import fnmatch
import itertools
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

from fairseq.errors import ConfigError, DataError, unknown
from fairseq.logging.history import read_history

FILE_NAME = "point_errors.jsonl"
MEASURES = {
    "sqnr": "SQNR (dB)",
    "clipped": "clipped (%)",
    "relative_l2": "relative error",
    "cosine": "cosine",
    "bias": "bias",
    "worst_channel_sqnr": "SQNR of the worst channel (dB)",
}
USUAL = ("sqnr", "clipped")
COLORS = {"weight": "#0072B2", "activation": "#D55E00", "gradient": "#009E73", "bias": "#CC79A7"}
MAX_ROWS = 400  # of a map


def read_errors(path: Path, match: Optional[str] = None) -> list[dict[str, Any]]:
    """The records of a run, in the order of the file; those of quantizers whose path fits the glob `match`.

    Raises:
        DataError: there are none.
        ConfigError: `match` fits none.
    """
    file = path / FILE_NAME if path.is_dir() else path
    if not file.exists():
        raise DataError(
            f"no errors of quantizers at {file}; train with common.point_errors_interval=100 "
            "(--point-errors-interval 100)"
        )
    records = [record for record in read_history(file) if isinstance(record.get("quantizer"), str)]
    if not records:
        raise DataError(f"{file} holds no errors of quantizers")
    found = [record for record in records if match is None or fnmatch.fnmatchcase(record["quantizer"], match)]
    if not found:
        paths = list(dict.fromkeys(record["quantizer"] for record in records))
        raise ConfigError(unknown("quantizer", str(match), paths, where=str(file)))
    return found


def draw_errors(records: Sequence[dict[str, Any]], measures: Optional[Sequence[str]] = None) -> tuple[Any, list[str]]:
    """A matplotlib figure, and the measures in it.

    Raises:
        ConfigError: an unknown measure; more quantizers than a picture holds; matplotlib is not installed.
    """
    measures = list(measures or USUAL)
    for name in measures:
        if name not in MEASURES:
            raise ConfigError(unknown("measure", name, MEASURES))
    paths = list(dict.fromkeys(record["quantizer"] for record in records))
    if len(paths) > MAX_ROWS:
        raise ConfigError(f"{len(paths)} quantizers are too many for a picture; choose some by --match, as '*.weight'")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ConfigError("fairseq-plot needs matplotlib; install it with: pip install 'fairseq[plot]'") from None
    height = 0.8 + 0.16 * len(paths)
    figure = Figure(figsize=(1.5 + 5.0 * len(measures), 2.6 + height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(measures), squeeze=False, sharex=True, height_ratios=[2.2, height])
    for column, name in enumerate(measures):
        _draw_medians(axes[0][column], records, name)
        _draw_map(figure, axes[1][column], records, name, paths)
        if column:
            axes[1][column].set_yticklabels([])
    axes[0][0].legend(fontsize=7.5, frameon=False)
    return figure, measures


def _draw_medians(axis: Any, records: Sequence[dict[str, Any]], name: str) -> None:
    updates = sorted({record["num_updates"] for record in records})
    for role, color in COLORS.items():
        points = []
        for update in updates:
            values = [_value(record, name) for record in records
                      if record["num_updates"] == update and record["tag"] == role]  # fmt: skip
            finite = [value for value in values if math.isfinite(value)]
            points.append(statistics.median(finite) if finite else math.nan)
        if any(math.isfinite(point) for point in points):
            axis.plot(updates, points, "o-", markersize=3, linewidth=1.3, color=color, label=role)
    axis.set_title(f"{MEASURES[name]}, median", loc="left", fontsize=9.5)
    axis.grid(True, color="#e6e6e6", linewidth=0.8)
    axis.tick_params(labelsize=8)


def _draw_map(figure: Any, axis: Any, records: Sequence[dict[str, Any]], name: str, paths: list[str]) -> None:
    updates = sorted({record["num_updates"] for record in records})
    values = [[math.nan] * len(updates) for _ in paths]
    row = {path: place for place, path in enumerate(paths)}
    for record in records:
        values[row[record["quantizer"]]][bisect.bisect_left(updates, record["num_updates"])] = _value(record, name)
    middles = [(a + b) / 2 for a, b in itertools.pairwise(updates)]
    reach = middles[0] - updates[0] if middles else 0.5
    edges = [updates[0] - reach, *middles, updates[-1] + reach]
    shades = axis.pcolormesh(edges, range(len(paths) + 1), values, cmap="viridis" if "sqnr" in name else "magma_r")
    axis.set_ylim(len(paths), 0)
    axis.set_yticks([place + 0.5 for place in range(len(paths))], paths, fontsize=5.5)
    axis.set_xlabel("updates", fontsize=9)
    axis.tick_params(axis="x", labelsize=8)
    figure.colorbar(shades, ax=axis, shrink=0.6, pad=0.01).ax.tick_params(labelsize=7)


def _value(record: dict[str, Any], name: str) -> float:
    value = record.get(name)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
