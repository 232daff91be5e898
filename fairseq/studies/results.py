"""What a study has found: `results.csv` (long form, one line a cell) and `table.md` (mean and deviation over seeds).

write_results(read_study(Path("OUT")))
"""

import csv
import io
import math
import statistics
from collections.abc import Sequence
from typing import Any, Optional

from fairseq.studies.files import replace_file
from fairseq.studies.study_folder import FINISHED, Cell, Study
from fairseq.studies.study_lines import panel_dimension

CSV, TABLE = "results.csv", "table.md"
COSTS = ("num_updates", "bitops", "relative_bitops", "relative_product_bitops", "seconds", "peak_memory")


def write_results(study: Study, plots: bool = True) -> None:
    """Write the files anew.

    Args:
        plots: the pictures, too.

    Raises:
        OSError: they cannot be written.
    """
    replace_file(study.folder / CSV, as_csv(study))
    replace_file(study.folder / TABLE, as_table(study))
    if plots:
        from fairseq.studies.study_plots import draw_study

        draw_study(study)


def as_csv(study: Study) -> str:
    """One line a cell: row, dimensions, seed, status, metrics, costs, commit; the last line of failed ones."""
    dimensions = list(study.dimensions)
    text = io.StringIO()
    columns = ["row", *dimensions, "seed", "status", *metric_names(study), *COSTS, "commit", "cell", "last_line"]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for cell in study.cells:
        values = [cell.row, *(cell.dimensions.get(name, "") for name in dimensions), cell.seed, cell.status]
        values += [_number(cell.metrics.get(name, "")) for name in metric_names(study)]
        values += [_number(getattr(cell, name)) if cell.status == FINISHED else "" for name in COSTS]
        writer.writerow([*values, cell.commit or "", cell.name, cell.last_line])
    return text.getvalue()


def metric_names(study: Study) -> list[str]:
    """The shown metrics, then all others in the order of the cells."""
    shown = dict.fromkeys(cell.metric for cell in study.cells if cell.metric in cell.metrics)
    return list(dict.fromkeys([*shown, *(name for cell in study.cells for name in cell.metrics)]))


def _number(value: Any) -> Any:
    """As a CSV holds it; `nan` is a number that was not finite, nothing one that there is not."""
    return "nan" if value is None else value


def as_table(study: Study) -> str:
    """Markdown: a line for each row and number, a column for each value of the first dimension of names."""
    first = panel_dimension(study, []) or ""
    others = [name for name in study.dimensions if name != first]
    columns = study.dimensions.get(first, [""])
    lines: dict[tuple[str, ...], dict[str, list[Cell]]] = {}
    for cell in study.cells:
        key = (cell.row, *(cell.dimensions.get(name, "") for name in others))
        lines.setdefault(key, {}).setdefault(cell.dimensions.get(first, columns[0]), []).append(cell)
    metrics = {column: _metric(study, first, column) for column in columns}
    head = ["row", *others, *(f"{column} {metrics[column]}".strip() for column in columns)]
    if len(columns) > 1:
        head.append("average")
    head += ["BitOPs", "BitOPs of products", "seconds", "seeds"]
    rows = []
    for key, by_column in lines.items():
        cells = [cell for group in by_column.values() for cell in group if cell.status == FINISHED]
        values = [_mean_text(_values(by_column.get(column, []))) for column in columns]
        if key[0] != study.config.get("control"):
            place = {name: value for name, value in zip(others, key[1:], strict=True) if value}
            controls = [_control(study, {**place, first: column} if first else place) for column in columns]
            values = [_with_difference(text, _values(by_column.get(column, [])), control)
                      for text, column, control in zip(values, columns, controls, strict=True)]  # fmt: skip
        if len(columns) > 1:
            values.append(_mean_text(_averages(by_column, columns)))
        values += [_percent([cell.relative_bitops for cell in cells])]
        values += [_percent([cell.relative_product_bitops for cell in cells])]
        values.append(f"{statistics.mean(cell.seconds for cell in cells):.1f}" if cells else "")
        rows.append([*key, *values, _counts(by_column)])
    title = study.config.get("title") or "Results"
    text = [f"# {title}", "", _markdown(head, rows), "", _legend(study)]
    if study.failed:
        text += ["", f"## {len(study.failed)} failed", ""]
        text += [f"- `{cell.name}`: {cell.last_line}" for cell in study.failed]
    return "\n".join(text) + "\n"


def _legend(study: Study) -> str:
    control = study.config.get("control")
    done, all_cells = len(study.finished), len(study.cells)
    return (
        f"Mean ± standard deviation over seeds, at the last update; {done} of {all_cells} cells have finished. BitOPs "
        "are those of training over full precision: all, and the products alone without the quantizers' own work."
        + (f" In brackets: difference to {control}." if control else "")
    )


def _metric(study: Study, dimension: str, value: str) -> str:
    names = dict.fromkeys(cell.metric for cell in study.cells if cell.dimensions.get(dimension, "") in (value, ""))
    return "/".join(names)


def _values(cells: Sequence[Cell]) -> list[float]:
    return [cell.value for cell in cells if cell.status == FINISHED and cell.value is not None]


def _averages(by_column: dict[str, list[Cell]], columns: Sequence[str]) -> list[float]:
    """Over the columns, one for each seed that has all of them."""
    seeds = dict.fromkeys(cell.seed for cells in by_column.values() for cell in cells)
    found = []
    for seed in seeds:
        own = [_values([c for c in by_column.get(column, []) if c.seed == seed]) for column in columns]
        if all(own):
            found.append(statistics.mean(values[0] for values in own))
    return found


def _control(study: Study, where: dict[str, str]) -> Optional[float]:
    """Mean of the control row's cells at the place `where`; dimensions that the row lacks do not matter."""
    row = study.config.get("control")
    cells = [cell for cell in study.cells if cell.row == row
             and all(cell.dimensions.get(name, value) == value for name, value in where.items())]  # fmt: skip
    values = _values(cells)
    return statistics.mean(values) if values else None


def _with_difference(text: str, values: Sequence[float], control: Optional[float]) -> str:
    return text if control is None or not values else f"{text} ({statistics.mean(values) - control:+.2f})"


def _mean_text(values: Sequence[float]) -> str:
    if not values:
        return ""
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"


def _percent(values: Sequence[Optional[float]]) -> str:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return f"{100 * statistics.mean(known):.1f} %" if known else ""


def _counts(by_column: dict[str, list[Cell]]) -> str:
    counts = sorted({sum(cell.status == FINISHED for cell in cells) for cells in by_column.values()})
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]}-{counts[-1]}"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = [[str(value).replace("|", "\\|") for value in row] for row in (head, *rows)]
    widths = [max(len(row[index]) for row in cells) for index in range(len(head))]
    lines = ["| " + " | ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)) + " |"
             for row in cells]  # fmt: skip
    rule = "| " + " | ".join("-" * width for width in widths) + " |"
    return "\n".join([lines[0], rule, *lines[1:]])
