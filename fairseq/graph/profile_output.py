"""Rows of a profile as tables, JSON values, CSV and a picture."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from fairseq.errors import ConfigError
from fairseq.graph.profile import ProfileRow
from fairseq.text_table import text_table

MARKS = "▁▂▃▄▅▆▇█"
MAX_TENSORS = 400  # in a picture


def tables(rows: Sequence[ProfileRow]) -> str:
    """One table per statistic."""
    names = list(dict.fromkeys(name for row in rows for name in row.statistics))
    parts = []
    for name in names:
        lines = [
            {"module": row.module or "(the model)", "type": row.type, "tensor": row.tensor}
            | {key: _cell(key, value) for key, value in row.statistics[name].items() if key != "data"}
            for row in rows
            if name in row.statistics
        ]
        parts.append(f"{name}\n{text_table(lines)}")
    return "\n\n".join(parts)


def _cell(key: str, value: Any) -> Any:
    if isinstance(value, list):
        most = max(value) or 1
        return "".join(MARKS[min(7, 8 * number // most)] for number in value)
    return value


def json_rows(rows: Sequence[ProfileRow]) -> list[dict[str, Any]]:
    """The same as JSON values; what is not finite is null."""
    return [
        {
            "module": row.module, "type": row.type, "tensor": row.tensor,
            "statistics": {
                name: {key: _plain(value) for key, value in found.items()} for name, found in row.statistics.items()
            },
        }
        for row in rows
    ]  # fmt: skip


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.tolist()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def csv_text(rows: Sequence[ProfileRow]) -> str:
    """One line per tensor, a column per value, such as `range_min_max.max`; bins of a histogram with spaces between."""
    lines = []
    for row in rows:
        line: dict[str, Any] = {"module": row.module, "type": row.type, "tensor": row.tensor}
        for name, found in row.statistics.items():
            for key, value in found.items():
                if key != "data":
                    line[f"{name}.{key}"] = " ".join(map(str, value)) if isinstance(value, list) else value
        lines.append(line)
    out = io.StringIO()
    writer = csv.DictWriter(out, list(dict.fromkeys(key for line in lines for key in line)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return out.getvalue()


def draw(rows: Sequence[ProfileRow], path: Path) -> None:
    """A panel per statistic, tensors from top to bottom: ranges and mean -+ standard deviation as lines, SQNR and means
    as points, histograms in shades. Needs matplotlib.

    Raises:
        ConfigError: nothing to draw, or too much.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = [
        name for name in dict.fromkeys(name for row in rows for name in row.statistics) if name != "record"
    ]  # fmt: skip
    groups = {name: [row for row in rows if name in row.statistics] for name in names}
    longest = max((len(group) for group in groups.values()), default=0)
    if not longest:
        raise ConfigError(f"{path}: there is nothing to draw; choose a statistic other than record")
    if longest > MAX_TENSORS:
        raise ConfigError(f"{path}: {longest} tensors are too many for a picture; choose fewer modules")
    figure = Figure(figsize=(6.5 * len(names), 1.5 + 0.2 * longest), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (name, group) in zip(figure.subplots(1, len(names), squeeze=False)[0], groups.items(), strict=True):
        for place, row in enumerate(group):
            _draw_row(axes, place, row.statistics[name])
        axes.set_yticks(range(len(group)), [f"{row.module} {row.tensor}" for row in group], fontsize=6)
        axes.set_ylim(len(group) - 0.5, -0.5)
        axes.set_title(f"{name} (SQNR, dB)" if name == "error" else name, fontsize=9)
        axes.grid(axis="x", linewidth=0.3)
    figure.savefig(path, dpi=110)


def _draw_row(axes: Any, place: int, found: dict[str, Any]) -> None:
    if found.get("bins") and found["min"] is not None:
        most = max(found["bins"]) or 1
        ends = (found["min"], found["max"], place + 0.4, place - 0.4)
        shades = [[number / most for number in found["bins"]]]
        axes.imshow(shades, extent=ends, aspect="auto", cmap="Blues", vmin=0, vmax=1)
        axes.autoscale(axis="x")
    elif "min" in found:
        axes.plot([found["min"], found["max"]], [place, place], "|-", color="#2166ac")
    elif "variance" in found:
        spread = math.sqrt(found["variance"]) if found["variance"] >= 0 else 0.0  # NaN of one value
        axes.errorbar(found["mean"], place, xerr=spread, fmt="o", markersize=3, color="#2166ac")
    else:
        value = found.get("abs_mean", found.get("sqnr", math.nan))
        axes.plot(value if math.isfinite(value) else math.nan, place, "o", markersize=4, color="#2166ac")
