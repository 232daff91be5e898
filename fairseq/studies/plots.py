"""Curves of training runs as one PNG: `fairseq-plot`.

    runs = [run for path in paths for run in find_runs(path)]
    plot(runs, Path("curves.png"))

One panel each for the loss, the validation metrics, the learning rate and (where the run reports it) `num_bits`, over
updates; one colour a run, thin lines for training, marked ones for validation. Bits are drawn as they were in each
update where the run recorded their changes (tag `bits`), else as often as it reported.
"""

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from fairseq.errors import ConfigError, DataError, reason, unknown
from fairseq.studies.records import Run

# what fairseq-validated runs report in addition to the loss, in the order of interest
METRICS = ("accuracy", "mcc", "f1", "acc_and_f1", "pearson", "spearman", "pearson_and_spearman", "bleu", "ppl")
ALWAYS = ("loss", "lr", "num_bits")
LABELS = {"loss": "loss (bits)", "lr": "learning rate", "num_bits": "bits", "accuracy": "accuracy (%)"}
_COLORS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
)  # distinct for colour-blind readers too
LEGEND_HEIGHT = 0.5  # inches, of two lines
_INK, _MUTED = "#222222", "#8a8a8a"


def default_panels(runs: Sequence[Run]) -> list[str]:
    """The keys to draw: the loss, the metric by which the best checkpoint is chosen (or all known ones), lr, bits."""
    keys = {key for run in runs for key in run.reported()}
    best = [key.removeprefix("best_") for key in sorted(keys) if key.startswith("best_")]
    metrics = [key for key in best if key in keys and key != "loss"] or [key for key in METRICS if key in keys][:2]
    return ["loss", *metrics, *(key for key in ALWAYS[1:] if key in keys)]


def plot(runs: Sequence[Run], out: Path, metrics: Optional[Sequence[str]] = None) -> list[str]:
    """Draw `runs` and write `out`, whole or not at all; returns the keys that were drawn, one a panel. See `draw`.

    Raises:
        DataError: `out` cannot be written.
    """
    figure, panels = draw(runs, metrics)
    save(figure, out)
    return panels


def save(figure: Any, out: Path) -> None:
    """Write a figure, whole or not at all.

    Raises:
        DataError: `out` cannot be written.
    """
    partial = out.with_name(f".{out.name}.tmp")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(partial, format=out.suffix.removeprefix(".") or "png", dpi=150, facecolor="white")
        os.replace(partial, out)
    except OSError as error:
        raise DataError(f"cannot write {out}: {reason(error)}; choose another file by --out") from None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def draw(runs: Sequence[Run], metrics: Optional[Sequence[str]] = None) -> tuple[Any, list[str]]:
    """A matplotlib figure of `runs` with one panel for each of `metrics` (default: `default_panels`), and these.

    Raises:
        ConfigError: a metric that no run reports, or matplotlib is not installed.
    """
    available = {key for run in runs for key in run.reported()}
    for key in metrics or ():
        if key not in available:
            raise ConfigError(unknown("metric", key, available))
    panels = list(metrics) if metrics else [key for key in default_panels(runs) if key in available]
    figure = new_figure()
    rows = 1 if len(panels) <= 3 else 2
    columns = -(-len(panels) // rows)
    figure.set_size_inches(4.4 * columns, 0.7 + 3.0 * rows)
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True).flatten()
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    for key, axis in zip(panels, axes):  # noqa: B905 (a last cell may stay empty)
        style(axis, LABELS.get(key, key.replace("_", " ")))
        for run, color in zip(runs, colors(len(runs)), strict=True):
            _draw(axis, run, key, color)
        if key == "lr":
            axis.yaxis.set_major_formatter("{x:.3g}")
        if key == "num_bits":
            axis.yaxis.get_major_locator().set_params(integer=True)
        axis.margins(x=0.02)
    _legend(figure, runs, columns)
    return figure, panels


def new_figure() -> Any:
    """An empty matplotlib figure for PNGs.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ConfigError("fairseq-plot needs matplotlib; install it with: pip install 'fairseq[plot]'") from None
    figure = Figure(layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08, wspace=0.03, hspace=0.04)  # type: ignore[union-attr, call-arg]
    FigureCanvasAgg(figure)
    return figure


def colors(count: int) -> list[Any]:
    """So many, as distinct as possible."""
    if count <= len(_COLORS):
        return list(_COLORS[:count])
    import matplotlib

    return [matplotlib.colormaps["viridis"](i / (count - 1)) for i in range(count)]


def _draw(axis: Any, run: Run, key: str, color: Any) -> None:
    if key not in ("lr", "num_bits"):
        valid = run.series("valid", key)
        training = run.series("train_inner", key) or run.series("train", key)
        if training:
            alpha, marker = 0.55 if valid else 0.9, "." if len(training) == 1 else None
            axis.plot(*zip(*training, strict=True), color=color, linewidth=1.0, alpha=alpha, marker=marker)
        if valid:
            axis.plot(*zip(*valid, strict=True), color=color, linewidth=1.6, marker="o", markersize=3.5)
        return
    points = run.series("bits", key) or run.series("train_inner", key) or run.series("train", key)
    points = points or run.series("valid", key)
    if points:
        if key == "num_bits" and run.last_update() > points[-1][0]:
            points.append((run.last_update(), points[-1][1]))  # bits hold until others are reported
        drawstyle = "steps-post" if key == "num_bits" else "default"
        axis.plot(*zip(*points, strict=True), color=color, linewidth=1.4, drawstyle=drawstyle)


def style(axis: Any, title: str) -> None:
    """The look of all panels."""
    axis.set_title(title, loc="left", fontsize=10.5, color=_INK)
    axis.set_xlabel("updates", fontsize=9, color=_MUTED)
    axis.tick_params(labelsize=8.5, colors=_MUTED, length=0, labelbottom=True)
    axis.grid(True, color="#e6e6e6", linewidth=0.8)
    axis.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.spines["bottom"].set_color("#bbbbbb")


def _legend(figure: Any, runs: Sequence[Run], columns: int) -> None:
    from matplotlib.lines import Line2D

    entries = [
        Line2D([], [], color=_MUTED, linewidth=1.0, alpha=0.7, label="training"),
        Line2D([], [], color=_MUTED, linewidth=1.6, marker="o", markersize=3.5, label="validation"),
    ]
    if len(runs) > 1:
        hues = colors(len(runs))
        entries += [Line2D([], [], color=c, linewidth=2.4, label=run.name) for c, run in zip(hues, runs, strict=True)]
    legend_below(figure, {str(entry.get_label()): entry for entry in entries}, most=2 * columns + 1)
    if len(runs) == 1:
        figure.suptitle(runs[0].name, x=0.01, ha="left", fontsize=11.5, color=_INK, fontweight="bold")


def legend_below(figure: Any, entries: Mapping[str, Any], most: int = 12) -> None:
    """A legend (text -> what is drawn so) below the panels, in as many columns, at most `most`, as the figure is wide
    enough for; the figure becomes taller by the lines after the second."""
    renderer = figure.canvas.get_renderer()
    for columns in range(max(1, min(len(entries), most)), 0, -1):
        legend = figure.legend(
            entries.values(), entries.keys(), loc="outside lower left", ncols=columns, fontsize=8.5, frameon=False
        )
        extent = legend.get_window_extent(renderer)
        if extent.width <= figure.bbox.width or columns == 1:
            break
        legend.remove()
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + max(0.0, extent.height / figure.dpi - LEGEND_HEIGHT))
