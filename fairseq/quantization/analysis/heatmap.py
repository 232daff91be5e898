"""A report as a picture: layers from top to bottom, quantizers from left to right, one colour per value.

    write_heatmap(report(model), "report.png", value="sqnr")

Needs matplotlib, which is imported when a picture is drawn.
"""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Optional, Union

from fairseq.errors import ConfigError, unknown
from fairseq.quantization.analysis.report import ReportRow

LABELS = {
    "sqnr": "SQNR, dB",
    "num_bits": "bits",
    "codes_used": "codes used, %",
    "clipped": "clipped, %",
    "bitops": "BitOPs, %",
}

Grid = tuple[list[str], list[str], list[list[Optional[float]]]]  # layers, quantizers, values


def by_layer(rows: Sequence[ReportRow], value: str = "sqnr") -> Grid:
    """Rows as a grid: names of layers, names of quantizers within a layer, values.

    >>> rows = [ReportRow(f"layers.{i}.fc1.weight", "weight", "symmetric", 8, sqnr=40.0 + i) for i in range(2)]
    >>> by_layer([*rows, ReportRow("head.weight", "weight", "symmetric", 8, sqnr=30.0)])
    (['layers.0', 'layers.1', 'head'], ['fc1.weight', 'weight'], [[40.0, None], [41.0, None], [None, 30.0]])
    """
    if value not in LABELS:
        raise ConfigError(unknown("value", value, LABELS, where="heat map"))
    cells: dict[tuple[str, str], Optional[float]] = {}
    for row in rows:
        found = re.match(r"(?P<layer>.*?layers\.\d+)\.(?P<rest>.+)", row.quantizer)
        layer, _, rest = (found["layer"], "", found["rest"]) if found else row.quantizer.rpartition(".")
        cells[layer, rest] = getattr(row, value)
    layers = list(dict.fromkeys(layer for layer, _ in cells))
    columns = list(dict.fromkeys(rest for _, rest in cells))
    return layers, columns, [[cells.get((layer, column)) for column in columns] for layer in layers]


def write_heatmap(rows: Sequence[ReportRow], path: Union[str, Path], value: str = "sqnr") -> None:
    """Draw `value` (sqnr, num_bits, codes_used, clipped or bitops) of every quantizer into a PNG file."""
    grid = by_layer([row for row in rows if getattr(row, value) is not None], value)
    if not grid[0]:
        raise ConfigError(f"heat map: no quantizer has a {LABELS[value]} value; activations need data")
    write_grids([("", grid)], path, LABELS[value], "{:.0f}")


def write_grids(grids: Sequence[tuple[str, Grid]], path: Union[str, Path], label: str, form: str) -> None:
    """Draw grids below each other, each with its title and its own scale of colours.

    Args:
        label: what the values are.
        form: how a value is written, `{:.1f}`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    widest = max(len(columns) for _, (_, columns, _) in grids)
    heights = [2.4 + 0.32 * len(layers) for _, (layers, _, _) in grids]
    figure = Figure(figsize=(2.5 + 0.42 * widest, 1.8 + sum(heights)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(grids), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (title, (layers, columns, values)) in zip(panels, grids, strict=True):
        grid = [[math.nan if cell is None or math.isinf(cell) else cell for cell in line] for line in values]
        image = axes.imshow(grid, aspect="auto", cmap="viridis")
        axes.set_title(title, loc="left")
        axes.set_xticks(range(len(columns)), columns, rotation=90)
        axes.set_yticks(range(len(layers)), layers)
        figure.colorbar(image, ax=axes, label=label, location="top", fraction=0.05, shrink=0.5)
        found = [cell for line in grid for cell in line if not math.isnan(cell)]
        bright = min(found) + 0.6 * (max(found) - min(found)) if found else 0.0
        for y, line in enumerate(grid):
            for x, cell in enumerate(line):
                if not math.isnan(cell):
                    color = "white" if cell <= bright else "black"
                    axes.text(x, y, form.format(cell), ha="center", va="center", fontsize=6, color=color)
    figure.savefig(path, dpi=120)
