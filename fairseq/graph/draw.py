"""A picture of a graph: a line per node, in the order in which they run, and an arc for each value that is used later.

Colours say at how many bits a layer's product runs; white nodes are in full precision or multiply nothing.
"""

from pathlib import Path
from typing import Any, Union

from torch import fx

from fairseq.graph.flops import FULL_BITS, operand_bits
from fairseq.graph.model_graph import ModelGraph
from fairseq.graph.report import shape_text

ROW = 0.24  # inches
COLOURS = {1: "#67001f", 2: "#b2182b", 3: "#d6604d", 4: "#f4a582", 6: "#ffd92f", 8: "#4393c3", 16: "#92c5de"}
OTHER = "#a0a0a0"
MAX_NODES = 1500


def draw(graph: ModelGraph, path: Union[str, Path]) -> None:
    """Write the picture to `path`, as SVG or PNG by its ending. Needs matplotlib.

    Args:
        graph: of any model; of 1500 nodes at most.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    from fairseq.errors import ConfigError

    nodes = list(graph.graph.nodes)
    if len(nodes) > MAX_NODES:
        raise ConfigError(f"a graph of {len(nodes)} nodes cannot be drawn; name blocks of layers as leaves")
    figure = Figure(figsize=(11, max(2.0, ROW * (len(nodes) + 3))), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    bits = operand_bits(graph.model)
    place = {node: row for row, node in enumerate(nodes)}
    widest = 1
    for node in nodes:
        row = place[node]
        colour, _ = _colour(bits.get(str(node.target))) if node.op == "call_module" else ("white", "")
        axes.plot(0, -row, "o", markersize=8, markerfacecolor=colour, markeredgecolor="black", markeredgewidth=0.6)
        axes.text(0.6, -row, _label(node), fontsize=7, va="center", family="monospace")
        for user in node.users:
            widest = max(widest, place[user] - row)
    for node in nodes:
        for user in node.users:
            if node.meta["info"].shape is not None or place[user] - place[node] == 1:  # sizes are used everywhere
                _arc(axes, place[node], place[user], widest)
    paths = {str(node.target) for node in nodes}
    used = {_colour(pair) for path, pair in bits.items() if path in paths and min(pair) < FULL_BITS}
    axes.legend(
        handles=[Patch(facecolor=colour, edgecolor="black", label=text) for colour, text in sorted(used, key=str)]
        + [Patch(facecolor="white", edgecolor="black", label="not quantized")],
        loc="upper right", fontsize=7, frameon=False,
    )  # fmt: skip
    axes.set_xlim(-4, 14)
    axes.set_ylim(-len(nodes), 1)
    axes.set_axis_off()
    axes.set_title(f"{type(graph.model).__name__}: {len(nodes)} nodes", fontsize=9, loc="left")
    figure.savefig(path, dpi=110)


def _label(node: fx.Node) -> str:
    info = node.meta["info"]
    where = f" {info.target}" if info.kind in ("call_module", "get_attr") else ""
    shape = f"  {shape_text(info.shape)}" if isinstance(info.shape, tuple) else ""
    return f"{info.type}{where}{shape}"


def _colour(bits: Any) -> tuple[str, str]:
    """A fill and what the legend says of it."""
    if bits is None or min(bits) >= FULL_BITS:
        return "white", ""
    return COLOURS.get(min(bits), OTHER), f"{bits[0]} x {bits[1]} bits"


def _arc(axes: Any, start: int, end: int, widest: int) -> None:
    """From a node to one that uses its value; a straight line to the next one."""
    if end - start == 1:
        axes.plot([0, 0], [-start, -end], color="black", linewidth=0.8, zorder=0)
        return
    reach = 0.4 + 3.4 * ((end - start) / widest) ** 0.5
    steps = [step / 24 for step in range(25)]
    x = [-4 * reach * t * (1 - t) for t in steps]
    y = [-start - (end - start) * t for t in steps]
    axes.plot(x, y, color="0.45", linewidth=0.7, zorder=0)
