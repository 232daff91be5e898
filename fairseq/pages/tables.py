"""Tables that a click on a heading sorts.

    table(["run", "loss"], [["fp32", Cell(0.61)], ["int8", Cell(None)]], caption="runs")

A heading is a button; the page's script sorts by `data-v` of the cells where they have one, else by their text, and
leaves what has no value at the end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Callable, Optional, Union

from fairseq.pages.markup import Html, tag
from fairseq.pages.numbers import NOTHING, number, short


@dataclass(frozen=True)
class Cell:
    """A number, which is sorted by, and how it is shown (default: four digits); `note` shows with the pointer on it."""

    value: Any
    shown: Optional[Union[str, Callable[[Any], str]]] = None
    note: str = ""
    class_: str = ""

    def html(self) -> Html:
        found = number(self.value)
        if callable(self.shown):
            shown = self.shown(self.value)
        else:
            shown = short(self.value) if self.shown is None else self.shown
        missing = found is None and shown == NOTHING
        value = None if found is None else repr(found)
        classes = f"n {self.class_}".strip()
        return tag("td", shown, class_=classes, data_v=value, data_missing=missing, title=self.note or None)


def table(
    headings: Sequence[Any],
    rows: Sequence[Sequence[Any]],
    caption: str,
    *,
    row_attributes: Sequence[dict[str, Any]] = (),
    sortable: bool = True,
    class_: str = "",
) -> Html:
    """A table in a box that scrolls by itself where the page is narrower.

    Args:
        rows: cells are `Cell`, `Html` or text; the first one heads its row.
        caption: names the table for screen readers, and is shown above it.
        row_attributes: of `<tr>`, for each row.
    """
    head = [
        tag("th", tag("button", heading, type="button", class_="sort") if sortable else heading, scope="col")
        for heading in headings
    ]
    body = []
    for place, row in enumerate(rows):
        first, *others = row
        cells = [tag("th", first, scope="row"), *(_cell(cell) for cell in others)]
        body.append(tag("tr", cells, **(row_attributes[place] if row_attributes else {})))
    inner = tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", head)),
        tag("tbody", body),
        class_=f"sortable {class_}".strip() if sortable else class_ or None,
    )
    return scrolling(inner, caption)


def scrolling(inner: Html, name: str) -> Html:
    """A box as wide as the page, reachable by the keyboard so that it can be scrolled."""
    return tag("div", inner, class_="scroll", role="region", aria_label=name, tabindex="0")


def _cell(cell: Any) -> Html:
    if isinstance(cell, Cell):
        return cell.html()
    if isinstance(cell, Html) and cell.startswith("<td"):
        return cell
    missing = cell == NOTHING
    return tag("td", cell, data_missing=missing)
