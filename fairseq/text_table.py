"""`text_table`: rows as aligned text, numbers to the right.

>>> print(text_table([{"name": "fc1", "macs": 512}, {"name": "total", "macs": 123456}]))
name      macs
fc1        512
total  123,456
"""

from collections.abc import Mapping, Sequence
from typing import Any


def text_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """One line per row below a heading; columns in the order in which rows name them; whole numbers with commas."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    columns = [name for name in columns if any(_cell(row.get(name, "")) for row in rows)]
    cells = [columns, *([_cell(row.get(name, "")) for name in columns] for row in rows)]
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    right = [all(not isinstance(row.get(name, 0), str) for row in rows) for name in columns]
    lines = []
    for line in cells:
        padded = (
            cell.rjust(width) if is_number else cell.ljust(width)
            for cell, width, is_number in zip(line, widths, right, strict=True)
        )
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
