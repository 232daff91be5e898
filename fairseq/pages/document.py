"""A whole page: one file with its style and script inside, which loads nothing from anywhere.

    page("Report", [section("curves", "Curves", charts)])

The page's policy lets only its own script run, by that script's hash: were text of a run ever taken for HTML, it could
still do nothing.
"""

import base64
import datetime
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from fairseq.pages.files import MARK
from fairseq.pages.markup import Html, join, tag


@dataclass(frozen=True)
class Section:
    """A part of the page: `key` is its anchor, `nav` its name in the list of sections."""

    key: str
    title: Any
    body: Html
    nav: str = ""

    def html(self) -> Html:
        return tag("section", tag("h2", self.title, id=self.key), self.body, aria_labelledby=self.key)


def asset(name: str) -> str:
    """The text of a file of this package's `assets`."""
    return (resources.files("fairseq.pages") / "assets" / name).read_text(encoding="utf-8")


def page(title: str, sections: Sequence[Section], *, subtitle: Any = None, live: bool = False) -> str:
    """The text of the page.

    Args:
        live: the page is served, and looks for a newer one itself.
    """
    script = asset("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:; "
        f"base-uri 'none'; form-action 'none'; connect-src {chr(39)}{'self' if live else 'none'}{chr(39)}"
    )
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Html(asset("page.css"))),
    ]
    links = [tag("a", each.nav or each.title, href=f"#{each.key}") for each in sections]
    made = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
    body = [
        tag("a", "Skip to the contents", href="#contents", class_="skip"),
        tag(
            "header",
            tag("h1", title),
            tag("p", subtitle, class_="note") if subtitle else None,
            tag("nav", links, aria_label="Sections"),
            tag("div", tag("button", "Dark", type="button", id="theme", aria_pressed="false"), class_="tools"),
        ),
        tag("main", [each.html() for each in sections], id="contents", tabindex="-1"),
        tag("footer", tag("p", "Made ", tag("time", made), " by fairseq at any precision.")),
        tag("div", id="tip", hidden=True),
        tag("div", id="said", role="status", class_="unseen"),
        tag("script", Html(script)),
    ]
    root = tag("html", tag("head", head), tag("body", body), lang="en", data_live=live)
    return f"<!DOCTYPE html>\n{MARK}\n{root}\n"


def facts(pairs: Sequence[tuple[str, Any]]) -> Html:
    """A list of names and values; those without a value are left out."""
    rows = [
        tag("div", tag("dt", name), tag("dd", value), class_="wide" if len(str(value)) > 60 else None)
        for name, value in pairs
        if value not in (None, "", "-")
    ]
    return tag("dl", rows, class_="facts")


def notes(lines: Sequence[str], title: str) -> Html:
    """A box with lines that a reader must not miss."""
    return tag("div", tag("strong", title), tag("ul", join(*(tag("li", line) for line in lines))), class_="warn")
