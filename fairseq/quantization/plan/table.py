"""The resolved plan: one row per quantizer, as an aligned table and as JSON.

>>> from torch import nn
>>> from fairseq.quantization import quantize_model
>>> model = quantize_model(nn.Sequential(nn.Linear(4, 4)), "int8")
>>> print(model.quantization.plan.table())
quantizer      format     bits       granularity  range              rounding    ste    compute
0.weight       symmetric  8          channel      minmax             nearest     plain  simulate
0.input        affine     8          tensor       ema(momentum=0.9)  nearest     plain  simulate
0.grad_output  symmetric  8, pinned  tensor       minmax             stochastic         simulate
"""

import html
import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional

from fairseq.quantization.spec import FOLLOW, GRADIENT, QuantizerSpec

FULL = "full precision"
BY_AUTO, NO_KERNEL, NOT_ALONE = "by auto", "no integer kernel", "as the other operand"  # notes
_KEYS = {BY_AUTO: "compute_by_auto", NO_KERNEL: "compute_without_kernel", NOT_ALONE: "compute_as_other_operand"}
PRODUCT = "product"  # the role of a row that stands for a product without quantizers


@dataclass(frozen=True)
class PlanRow:
    """One quantizer: its path, role and settings; or a product that has none.

    `active` is False where the tensor stays in full precision; `low` and `high` are the schedule's bounds; `product` is
    the path of the matrix product that the tensor enters, None for an embedding's table; `note` says why `compute` is
    what it is, where that was not asked for: `BY_AUTO`, `NO_KERNEL` or `NOT_ALONE`; `kind` is what multiplies
    without quantizers, the module's type or a function's name.
    """

    quantizer: str
    role: str
    spec: QuantizerSpec
    active: bool
    low: int
    high: int
    product: Optional[str] = None
    note: str = ""
    kind: str = ""

    @classmethod
    def in_full_precision(cls, path: str, kind: str) -> "PlanRow":
        """The row of a product that no quantizer can see."""
        return cls(path, PRODUCT, QuantizerSpec(quantize=False), False, 0, 0, product=path, kind=kind)

    def as_dict(self) -> dict[str, Any]:
        """Settings as JSON values; bits are a number if pinned, bounds if they follow, None in full precision."""
        if not self.active:
            kind = {"kind": self.kind} if self.kind else {}
            return {"quantizer": self.quantizer, "role": self.role, "bits": None, **kind}
        row: dict[str, Any] = {"quantizer": self.quantizer, "role": self.role, **self.spec.describe()}
        pinned = self.spec.bits != FOLLOW
        row.update(bits=self.spec.bits if pinned else [self.low, self.high], follows=not pinned)
        if self.note:
            row[_KEYS[self.note]] = True
        if self.role == GRADIENT:
            del row["ste"]
        return row

    def settings(self) -> str:
        """Settings in words, without the path."""
        if not self.active:
            return FULL
        cells = self.cells()
        bits, _, pinned = cells["bits"].partition(", ")
        return (
            f"{bits} bits{f' ({pinned})' if pinned else ''} {cells['format']} per {cells['granularity']}, "
            f"range {cells['range']}, rounding {cells['rounding']}, {cells['compute']}"
        )

    def cells(self) -> dict[str, str]:
        """Settings as text."""
        if not self.active:
            return {"quantizer": self.quantizer, "format": f"{FULL} ({self.kind})" if self.kind else FULL}
        cells = {"quantizer": self.quantizer, **self.spec.describe()}
        if self.spec.bits == FOLLOW:
            cells["bits"] = f"{self.low}-{self.high}" if self.low < self.high else str(self.high)
        else:
            cells["bits"] += ", pinned"
        if self.note:
            cells["compute"] += f", {self.note}"
        if self.role == GRADIENT:
            cells["ste"] = ""
        return cells


class Plan:
    """Rows in the order of the model's modules."""

    def __init__(self, rows: Sequence[PlanRow]):
        self.rows: tuple[PlanRow, ...] = ()
        self._by_path: dict[str, PlanRow] = {}
        self.add(rows)

    def add(self, rows: Sequence[PlanRow]) -> None:
        """Append `rows`; one whose path has a row already is left out."""
        new = {row.quantizer: row for row in rows if row.quantizer not in self._by_path}
        self.rows = (*self.rows, *new.values())
        self._by_path.update(new)

    def __repr__(self) -> str:
        return self.table()

    def _repr_html_(self) -> str:
        """For notebooks."""
        return html_table([row.cells() for row in self.rows])

    def __getitem__(self, path: str) -> PlanRow:
        return self._by_path[path]

    def __contains__(self, path: object) -> bool:
        return path in self._by_path

    @property
    def active(self) -> list[PlanRow]:
        """Rows of tensors that are quantized."""
        return [row for row in self.rows if row.active]

    def bits(self, path: str, num_bits: Optional[int]) -> Optional[int]:
        """Bits of a quantizer where `num_bits` is threaded."""
        row = self[path]
        if not row.active:
            return None
        return num_bits if row.spec.bits == FOLLOW else row.spec.bits  # type: ignore[return-value]

    def table(self) -> str:
        """Aligned text; quantizers in full precision are listed, too."""
        return align([row.cells() for row in self.rows])

    def summary(self) -> str:
        """`table` in a few lines: which quantizers share their settings. Layers that differ in their number alone are
        written as one.
        """
        places: dict[tuple[str, str], list[str]] = {}  # (settings, role) -> products
        for row in self.active:
            path, _, role = row.quantizer.rpartition(".")
            places.setdefault((row.settings(), role), []).append(_any_layer(path))
        shared = _common([path for paths in places.values() for path in paths])
        groups: dict[tuple[str, str], list[str]] = {}  # (settings, products) -> roles
        for (settings, role), paths in places.items():
            below = _braces([path[len(shared) :].lstrip(".") for path in paths])
            groups.setdefault((settings, below), []).append(f"{len(paths)} {role}")
        lines = [f"in {shared}"] if shared else []
        for (settings, below), counts in groups.items():
            lines += [f"  {', '.join(counts)} of {below}" if below else f"  {', '.join(counts)}", f"    {settings}"]
        full = [_any_layer(row.product or row.quantizer) for row in self.rows if not row.active]
        return "\n".join(lines + ([f"{FULL}: {len(full)} of {_braces(full)}"] if full else []))

    def as_dicts(self) -> list[dict[str, Any]]:
        """Rows as JSON values."""
        return [row.as_dict() for row in self.rows]

    def to_json(self) -> str:
        """Rows as JSON text."""
        return json.dumps(self.as_dicts(), indent=2, default=dict)


def _any_layer(path: str) -> str:
    return re.sub(r"\b\d+\b", "*", path)


def _common(paths: Sequence[str]) -> str:
    """The dotted beginning that all `paths` share."""
    parts = [path.split(".") for path in paths]
    shared = itertools.takewhile(lambda level: len(set(level)) == 1, zip(*parts, strict=False))
    return ".".join(level[0] for level in shared)


def _braces(paths: Sequence[str]) -> str:
    """Paths with what they begin with in common written once.

    >>> _braces(["layers.*.attn.q", "layers.*.attn.k", "layers.*.fc1", "head"])
    'layers.*.{attn.{q, k}, fc1}, head'
    """
    below: dict[str, list[str]] = {}
    for path in dict.fromkeys(paths):
        first, _, rest = path.partition(".")
        below.setdefault(first, []).append(rest)
    parts = []
    for first, rests in below.items():
        inner = _braces([rest for rest in rests if rest])
        if inner:
            inner = f".{{{inner}}}" if ", " in inner and not _is_one(inner) else f".{inner}"
        parts.append(first + inner)
    return ", ".join(parts)


def _is_one(text: str) -> bool:
    """Whether no comma of `text` stands outside of braces."""
    depth = 0
    for character in text:
        depth += (character == "{") - (character == "}")
        if character == "," and depth == 0:
            return False
    return True


def align(rows: Sequence[dict[str, str]]) -> str:
    """Rows as text with a heading and columns of equal width."""
    lines = _lines(rows)
    columns = lines[0]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def html_table(rows: Sequence[dict[str, str]]) -> str:
    """`align`, as an HTML table."""
    heading, *lines = _lines(rows)
    cells = [[f"<th>{html.escape(cell)}</th>" for cell in heading]]
    cells += [[f"<td>{html.escape(cell)}</td>" for cell in line] for line in lines]
    return "<table>" + "".join("<tr>" + "".join(line) + "</tr>" for line in cells) + "</table>"


def _lines(rows: Sequence[dict[str, str]]) -> list[list[str]]:
    """The heading and the rows' cells in its order."""
    columns = list(dict.fromkeys(name for row in sorted(rows, key=len, reverse=True) for name in row))
    return [columns, *([row.get(name, "") for name in columns] for row in rows)]
