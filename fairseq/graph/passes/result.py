"""What a pass has changed: prints as a table of types, is saved as CSV, and is compared with `==`."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Union

from fairseq.errors import ConfigError, reason
from fairseq.graph.diff import DiffRow, described, histogram, rows_between
from fairseq.graph.model_graph import ModelGraph
from fairseq.graph.tracing import trace
from fairseq.text_table import text_table


@dataclass(frozen=True)
class Result:
    """The result of one pass.

    Attributes:
        name: of the pass.
        rows: every node, before and after.
        details: what the pass says besides, a row each.
        notes: a line each: settings that had no effect, layers that were left out, what else has changed.
    """

    name: str
    rows: tuple[DiffRow, ...]
    details: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def changed(self) -> list[str]:
        """Names of the nodes that have changed."""
        return [row.name for row in self.rows if row.changed]

    def histogram(self) -> list[dict[str, Any]]:
        """By type: nodes in total, changed, unchanged."""
        return histogram(list(self.rows))

    def differences(self, other: "Result") -> list[tuple[DiffRow, DiffRow]]:
        """Nodes that have become something else in `other`; nodes that only one of them has are left out."""
        theirs = {row.name: row for row in other.rows}
        pairs = [(row, theirs[row.name]) for row in self.rows if row.name in theirs]
        return [(row, their) for row, their in pairs if row.after != their.after]

    def __str__(self) -> str:
        tables = [text_table(rows) for rows in (self.details, self.histogram()) if rows]
        return "\n\n".join([*tables, *self.notes])

    def save(self, folder: Union[str, Path]) -> list[Path]:
        """Write `<name>_table.csv`, `<name>_histogram.csv`, and `<name>_details.csv` where there are any; return them.

        Raises:
            ConfigError: the folder cannot be written.
        """
        folder = Path(folder)
        table = [{**asdict(row), "changed": row.changed} for row in self.rows]
        parts: dict[str, Sequence[Mapping[str, Any]]] = {
            "table": table, "histogram": self.histogram(), "details": self.details
        }  # fmt: skip
        written = []
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for part, rows in parts.items():
                if rows:
                    written.append(folder / f"{self.name}_{part}.csv")
                    _replace(written[-1], _csv(rows))
        except OSError as error:
            raise ConfigError(f"cannot write the result of {self.name} to {folder}: {reason(error)}") from None
        return written


def changed_in_place(
    before: Mapping[str, tuple[str, str]], graph: ModelGraph, model: Any, name: str, **more: Any
) -> tuple[ModelGraph, Result]:
    """The graph of `model`, traced as `graph` was, and how it differs from what `before` says of the old one."""
    after = trace(model, graph.inputs, graph.leaves)
    return after, Result(name, tuple(rows_between(dict(before), described(after))), **more)


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _replace(path: Path, text: str) -> None:
    """All of it or nothing."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
