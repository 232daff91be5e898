"""The precision plan as a map: a line for each layer, a column for each tensor that it multiplies, bits in the cells.

    plan_map(rows)          # `plan` of quantization_plan.json

What a schedule drives shows both bounds; what stays in full precision shows 32 and no colour.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Optional

from fairseq.pages.markup import Html, join, tag
from fairseq.pages.numbers import number
from fairseq.pages.tables import scrolling

FULL = 32
ROLES = {"weight": "weights", "activation": "activations", "gradient": "gradients", "bias": "biases"}
_OTHER = "not quantized"
_LAYER = re.compile(r"(?P<layer>(?:.*?\.)?(?:layers|layer|h|blocks?)\.\d+)\.(?P<rest>.+)$")
_SUFFIXES = (".weight", ".input", ".grad_output", ".bias", ".output")
SETTINGS = ("format", "granularity", "range", "rounding", "compute")


def plan_map(rows: Sequence[dict[str, Any]]) -> Html:
    """One table for each role that has quantizers; rows that are damaged are left out."""
    parts = []
    found = [row for row in rows if isinstance(row, dict) and isinstance(row.get("quantizer"), str)]
    for role, name in (*ROLES.items(), (None, _OTHER)):
        chosen = [row for row in found if row.get("role") == role or (role is None and row.get("role") not in ROLES)]
        if chosen:
            parts.append(_table(chosen, name))
    return tag("div", parts, _scale(), class_="maps")


def _table(rows: Sequence[dict[str, Any]], name: str) -> Html:
    cells: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        cells[_place(row["quantizer"])] = row
    layers, columns = _unique(layer for layer, _ in cells), _unique(column for _, column in cells)
    short = _shortened(layers)
    head = tag(
        "tr", tag("th", "layer", scope="col"), [tag("th", tag("span", _turned(c)), scope="col") for c in columns]
    )
    body = [
        tag("tr", tag("th", short[layer], scope="row", title=layer), [_cell(cells.get((layer, c))) for c in columns])
        for layer in layers
    ]
    table = tag("table", tag("caption", name), tag("thead", head), tag("tbody", body), class_="map")
    return scrolling(table, f"bits of {name}")


def _place(path: str) -> tuple[str, str]:
    """Layer and column.

    >>> _place("encoder.layers.1.self_attn.q_proj.weight"), _place("encoder.embed_tokens.weight")
    (('encoder.layers.1', 'self_attn.q_proj'), ('encoder', 'embed_tokens'))
    """
    for suffix in _SUFFIXES[:3]:
        path = path.removesuffix(suffix)
    found = _LAYER.match(path)
    if found is not None:
        return found["layer"], found["rest"]
    layer, _, column = path.rpartition(".")
    return layer or "model", column


def _cell(row: Optional[dict[str, Any]]) -> Html:
    if row is None:
        return tag("td", class_="none")
    low, high = bounds(row)
    if high is None:
        return tag("td", FULL, class_="full", title=f"{row['quantizer']}: full precision")
    shown = f"{low}-{high}" if low != high else f"{high}"
    settings = ", ".join(str(row[key]) for key in SETTINGS if row.get(key) is not None)
    pinned = "" if row.get("follows") else ", pinned"
    return tag(
        "td", shown, class_=f"h{shade(low or high)}", title=f"{row['quantizer']}: {shown} bits{pinned}, {settings}"
    )


def bounds(row: dict[str, Any]) -> tuple[Optional[int], Optional[int]]:
    """Fewest and most bits of a plan's row; None, None in full precision."""
    bits = row.get("bits")
    edges = bits if isinstance(bits, list) and bits else [bits]
    found = [int(value) for edge in edges if (value := number(edge)) is not None]
    return (min(found), max(found)) if found else (None, None)


def average_bits(rows: Sequence[dict[str, Any]]) -> Optional[float]:
    """Mean of the upper bounds over all rows of the plan that multiply, full precision as 32; None without rows."""
    highs = [bounds(row)[1] or FULL for row in rows if isinstance(row, dict)]
    return sum(highs) / len(highs) if highs else None


def shade(bits: int) -> int:
    """0 (pale, 16 bits and more) to 9 (strong, 1 bit).

    >>> [shade(bits) for bits in (32, 16, 8, 6, 4, 3, 2, 1)]
    [0, 1, 3, 4, 6, 7, 8, 9]
    """
    for step, least in enumerate((17, 12, 9, 8, 6, 5, 4, 3, 2)):
        if bits >= least:
            return step
    return 9


def _scale() -> Html:
    samples = [tag("span", bits, class_=f"h{shade(bits)}") for bits in (16, 8, 6, 4, 3, 2, 1)]
    return tag("p", "bits ", tag("span", FULL, class_="full"), join(*samples), class_="scale")


def _shortened(layers: Sequence[str]) -> dict[str, str]:
    """Without what comes before the number, where all numbered layers share it; else, and without a number, the last
    part of the path, where that is enough to tell them apart.
    """
    numbered = [layer for layer in layers if re.search(r"\d$", layer)]
    stems = {re.sub(r"\d+$", "", layer) for layer in numbered}
    stem = stems.pop() if len(stems) == 1 else None
    ends = [layer.rpartition(".")[2] for layer in layers]
    short = {}
    for layer, end in zip(layers, ends, strict=True):
        if stem is not None and layer in numbered:
            short[layer] = f"layer {layer[len(stem) :]}"
        else:
            short[layer] = end if ends.count(end) == 1 and layer not in numbered else layer
    return short


def _turned(column: str) -> str:
    return column.removeprefix("self_attn.")


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
