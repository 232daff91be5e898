"""Curves and points as inline SVG that is drawn without a script, with the data beside it for the page's script, which
shows values under the pointer or the arrow keys and lists them in a table.

    line_chart("loss", [Series("int8", [(100, 0.9), (200, 0.7)], color=1)])

A curve of more than `MOST` points keeps the extremes of equal pieces.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

from fairseq.pages.markup import Html, data_block, join, tag
from fairseq.pages.numbers import number, short, tick_text, ticks

WIDTH, HEIGHT = 400, 250  # units of the drawing; about pixels
LEFT, RIGHT, TOP, BOTTOM = 52, 18, 10, 38
MOST = 400  # points of a curve
COLORS = 7  # of the page's style; more series take others
LINE, THIN, MARKED, STEP, POINTS = "line", "thin", "marked", "step", "points"

Point = tuple[float, float]


@dataclass
class Series:
    """One curve.

    Attributes:
        points: (x, y), by x.
        color: number of its colour; curves of one colour are shown and hidden together, by the legend.
        kind: `LINE`, `THIN` (training), `MARKED` (validation), `STEP` (holds until the next point) or `POINTS`.
        band: (x, lowest, highest), drawn behind.
        spread: half the length of each point's error bar, None where it has none.
        names: of each point, instead of the curve's, where the pointer is on it.
    """

    name: str
    points: list[Point]
    color: int = 0
    kind: str = LINE
    band: list[tuple[float, float, float]] = field(default_factory=list)
    spread: list[Optional[float]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)


def thinned(points: Sequence[Point], most: int = MOST) -> list[Point]:
    """At most about `most` of the points: of each piece the first, the lowest and the highest.

    >>> len(thinned([(x, x % 7) for x in range(10_000)])) <= 401
    True
    >>> thinned([(0, 1.0), (1, 2.0)])
    [(0, 1.0), (1, 2.0)]
    """
    if len(points) <= most:
        return list(points)
    length = -(-len(points) * 3 // (most - 1))
    kept: list[Point] = []
    for start in range(0, len(points), length):
        piece = points[start : start + length]
        kept += sorted({piece[0], min(piece, key=lambda p: p[1]), max(piece, key=lambda p: p[1])})
    return [*kept, points[-1]] if kept[-1] != points[-1] else kept


def chart(
    title: str, series: Sequence[Series], *, x_label: str = "updates", named: bool = False, whole_numbers: bool = False
) -> Html:
    """A figure of `series`; those without points are left out. One without any says so.

    Args:
        named: the names of the curves are beside the title; else the page has a `legend` for all its charts.
        whole_numbers: ticks of y are integers.
    """
    drawn = [one for one in (_clean(each) for each in series) if one.points]
    names = [tag("span", tag("i", class_="swatch", **color(one.color)), one.name, class_="note") for one in drawn]
    heading = tag("figcaption", tag("strong", title), names if named else None)
    if not drawn:
        return tag("figure", heading, tag("p", "nothing was reported", class_="note"), class_="chart")
    frame = _Frame(drawn)
    label = f"{title} over {x_label}: " + "; ".join(_in_words(one) for one in drawn)
    shapes = [_axes(frame, x_label, whole_numbers), *(_curve(frame, one) for one in drawn)]
    svg = tag(
        "svg",
        shapes,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        tabindex="0",
        aria_label=label[:600],
    )
    data = {
        "x": [frame.x0, frame.x1],
        "y": [frame.y0, frame.y1],
        "box": [LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM],
        "xLabel": x_label,
        "series": [_data(one) for one in drawn],
    }
    values = tag("details", tag("summary", "Values"), class_="values")
    return tag("figure", heading, svg, data_block(data), values, class_="chart")


def legend(names: Sequence[str], note: Any = None) -> Html:
    """A button for each colour, which hides and shows its curves everywhere on the page."""
    buttons = [
        tag(
            "button",
            tag("i", class_="swatch", **color(place)),
            name,
            type="button",
            aria_pressed="true",
            data_color=place,
        )
        for place, name in enumerate(names)
    ]
    return tag("div", buttons, note, class_="legend", role="group", aria_label="Show and hide runs")


def color(place: int) -> dict[str, str]:
    """The `style` attribute of what has the colour number `place`."""
    if place < COLORS:
        return {"style": f"--c:var(--c{place})"}
    return {"style": f"--c:hsl({(place * 137.5) % 360:.0f} 65% var(--lightness))"}


class _Frame:
    """From values to places in the drawing."""

    def __init__(self, series: Sequence[Series]):
        xs = [x for one in series for x, _ in one.points]
        ys = [y for one in series for _, y in one.points]
        ys += [edge for one in series for _, *edges in one.band for edge in edges]
        for one in series:
            for (_, y), spread in zip(one.points, one.spread, strict=False):
                ys += [y - spread, y + spread] if spread is not None else []
        self.x0, self.x1 = _padded(min(xs), max(xs), 0.04 if series[0].kind == POINTS else 0.0)
        self.y0, self.y1 = _padded(min(ys), max(ys), 0.05)

    def x(self, value: float) -> str:
        return _place(LEFT + (value - self.x0) / (self.x1 - self.x0) * (WIDTH - RIGHT - LEFT))

    def y(self, value: float) -> str:
        return _place(HEIGHT - BOTTOM - (value - self.y0) / (self.y1 - self.y0) * (HEIGHT - BOTTOM - TOP))


def _padded(low: float, high: float, share: float) -> tuple[float, float]:
    room = (high - low) * share if high > low else abs(low) * 0.1 or 1.0
    return (max(low - room, 0.0) if low >= 0 else low - room), high + room


def _place(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _clean(series: Series) -> Series:
    """Without what is no number, and thinned; error bars and names belong to their points, which are few."""
    places = [i for i, (x, y) in enumerate(series.points) if number(x) is not None and number(y) is not None]
    points = [series.points[i] for i in places]
    band = [edges for edges in series.band if all(number(edge) is not None for edge in edges)]
    pick = [series.spread[i] if i < len(series.spread) else None for i in places] if series.spread else []
    names = [series.names[i] for i in places] if series.names else []
    if not pick and not names:
        points = thinned(points)
    if len(band) > MOST:
        band = band[:: -(-len(band) // MOST)]
    return Series(series.name, points, series.color, series.kind, band, pick, names)


def _data(one: Series) -> dict[str, Any]:
    data: dict[str, Any] = {
        "name": one.name,
        "color": one.color,
        "style": color(one.color)["style"],
        "step": one.kind == STEP,
        "points": [[_rounded(x), _rounded(y)] for x, y in one.points],
    }
    if one.spread:
        data["spread"] = [None if each is None else _rounded(each) for each in one.spread]
    if one.names:
        data["names"] = one.names
    return data


def _rounded(value: float) -> float:
    whole = int(value)
    return whole if whole == value and abs(whole) < 2**53 else float(f"{value:.6g}")


def _axes(frame: _Frame, x_label: str, whole_numbers: bool) -> Html:
    xs, ys = ticks(frame.x0, frame.x1, 5), ticks(frame.y0, frame.y1, 5)
    if whole_numbers:
        ys = [y for y in ys if y == int(y)] or [float(round(frame.y0))]
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    grid = "".join(f"M{LEFT} {frame.y(y)}H{right}" for y in ys)
    parts = [tag("path", d=grid, class_="grid"), tag("path", d=f"M{LEFT} {bottom}H{right}", class_="axis")]
    for x, label in zip(xs, tick_text(xs), strict=True):
        parts.append(tag("text", label, x=frame.x(x), y=bottom + 15, class_="tick mid"))
    for y, label in zip(ys, tick_text(ys), strict=True):
        parts.append(tag("text", label, x=LEFT - 6, y=float(frame.y(y)) + 4, class_="tick end"))
    parts.append(tag("text", x_label, x=(LEFT + right) / 2, y=HEIGHT - 5, class_="tick mid"))
    return join(*parts)


def _curve(frame: _Frame, one: Series) -> Html:
    parts = []
    if one.band:
        upper = [f"{frame.x(x)} {frame.y(high)}" for x, _, high in one.band]
        lower = [f"{frame.x(x)} {frame.y(low)}" for x, low, _ in reversed(one.band)]
        parts.append(tag("path", d="M" + "L".join([*upper, *lower]) + "Z", class_="band"))
    for (x, y), spread in zip(one.points, one.spread, strict=False):
        if spread:
            parts.append(tag("path", d=f"M{frame.x(x)} {frame.y(y - spread)}V{frame.y(y + spread)}", class_="bar"))
    if one.kind != POINTS and len(one.points) > 1:
        parts.append(tag("path", d=_path(frame, one), class_=f"curve {one.kind}"))
    if one.kind in (MARKED, POINTS) or len(one.points) == 1:
        dots = "".join(f"M{frame.x(x)} {frame.y(y)}h0" for x, y in one.points)
        parts.append(tag("path", d=dots, class_="dots big" if one.kind == POINTS else "dots"))
    return tag("g", parts, data_color=one.color, **color(one.color))


def _path(frame: _Frame, one: Series) -> str:
    (x, y), *others = one.points
    path = f"M{frame.x(x)} {frame.y(y)}"
    for x, y in others:
        path += f"H{frame.x(x)}V{frame.y(y)}" if one.kind == STEP else f"L{frame.x(x)} {frame.y(y)}"
    return path


def _in_words(one: Series) -> str:
    (_, first), (_, last) = one.points[0], one.points[-1]
    if one.names:
        return f"{len(one.points)} points of {one.name}"
    return f"{one.name} from {short(first)} to {short(last)}"
