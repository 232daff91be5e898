"""HTML as text that cannot be mistaken: whatever is not `Html` already is escaped.

>>> tag("td", "<script>", title='"')
'<td title="&quot;">&lt;script&gt;</td>'
>>> tag("p", "loss ", tag("b", 0.5), None, [tag("br"), "x"], class_="note", hidden=True)
'<p class="note" hidden>loss <b>0.5</b><br>x</p>'
"""

import html
import json
import re
from typing import Any

VOID = ("br", "col", "hr", "input", "link", "meta")
_BAD = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\x1b\\[[0-9;]*[A-Za-z]|[\ud800-\udfff]"
)  # HTML has no word for them


class Html(str):
    """Text that is HTML: only `tag`, `join` and this package's own templates make it."""

    __slots__ = ()


def text(value: Any) -> Html:
    """`value` as text, whatever it contains."""
    if isinstance(value, Html):
        return value
    return Html(html.escape(_BAD.sub("", str(value))))


def join(*parts: Any) -> Html:
    """Parts one after the other; None is left out, lists are joined themselves."""
    return Html("".join(_flat(part) for part in parts))


def _flat(part: Any) -> str:
    if part is None:
        return ""
    if isinstance(part, (list, tuple)):
        return join(*part)
    return text(part)


def tag(name: str, /, *children: Any, **attributes: Any) -> Html:
    """An element. Attributes: `class_` is `class`, `data_run` is `data-run`; True has no value, None and False are left
    out.
    """
    written = ""
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        written += f" {key}" if value is True else f' {key}="{text(str(value))}"'
    if name in VOID:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{join(*children)}</{name}>")


def data_block(value: Any, **attributes: Any) -> Html:
    """Data for the page's script, in a `<script>` element that is no program.

    >>> data_block({"name": "</script><b>"})
    '<script type="application/json">{"name":"\\\\u003c/script>\\\\u003cb>"}</script>'
    """
    written = json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return tag("script", Html(written), type="application/json", **attributes)
