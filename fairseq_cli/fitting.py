"""Tables in a terminal that is narrower than they are.

    show(report.table(rows))        # to a terminal as it fits there, to a pipe or file unchanged

A wide table is cut between columns into several below each other, each with the first column. Where that is more than
half of the width, such as the path of a quantizer, it gets a line of its own. Other lines are wrapped at words.

>>> print(fitted("path.of.a.layer  bits  error  share\\nencoder.fc1      8     0.25   0.5", 20))
path.of.a.layer
  bits  error  share
encoder.fc1
  8     0.25   0.5
"""

import shutil
import sys
import textwrap

GAP = 2  # spaces between columns, at least
TITLES = 2  # lines above a table, at most


def show(text: str) -> None:
    """Print text with tables."""
    print(fitted(text, shutil.get_terminal_size().columns) if sys.stdout.isatty() else text)


def fitted(text: str, width: int) -> str:
    """Text with tables, in blocks with empty lines between them, in lines of at most `width` characters."""
    return "\n\n".join(_block(block, width) for block in text.split("\n\n"))


def _block(block: str, width: int) -> str:
    lines = block.split("\n")
    if max(map(len, lines)) <= width:
        return block
    # lines above a table belong to it: it begins where it has most columns
    tables = [(title, _cells(lines[title:])) for title in range(max(min(TITLES, len(lines) - 2), 0) + 1)]
    title, cells = max(tables, key=lambda table: len(table[1][0]))
    if len(cells[0]) > 1:
        return "\n".join([*(_wrapped(line, width) for line in lines[:title]), _table(cells, width)])
    return "\n".join(_wrapped(line, width) for line in lines)


def _cells(lines: list[str]) -> list[list[str]]:
    """The cells of an aligned table, with the spaces that align them: cut where all lines have a gap."""
    length = max(map(len, lines), default=0)
    padded = [line.ljust(length) for line in lines]
    empty = [all(line[index] == " " for line in padded) for index in range(length)]
    starts = [0]
    for index in range(GAP, length):
        if not empty[index] and all(empty[index - GAP : index]):
            starts.append(index)
    ends = [*starts[1:], length]
    columns = [[line[start:end] for line in padded] for start, end in zip(starts, ends, strict=True)]
    columns = [[cell[: max(len(each.rstrip()) for each in column)] for cell in column] for column in columns]
    return [list(row) for row in zip(*columns, strict=True)] or [[]]


def _table(cells: list[list[str]], width: int) -> str:
    first = len(cells[0][0])
    own_line = first > width // 2
    room = width - (GAP if own_line else first + GAP)
    parts: list[list[int]] = []
    used = width + 1
    for column in range(1, len(cells[0])):
        needed = len(cells[0][column])
        if used + GAP + needed > room:
            parts.append([])
            used = -GAP
        parts[-1].append(column)
        used += GAP + needed
    texts = []
    for part in parts:
        for row in cells:
            rest = (" " * GAP).join(row[column] for column in part).rstrip()
            lines = [row[0].rstrip(), f"{'':{GAP}}{rest}"] if own_line else [f"{row[0]}{'':{GAP}}{rest}"]
            texts.append("\n".join(_wrapped(line.rstrip(), width) for line in lines))
        texts.append("")
    return "\n".join(texts[:-1])


def _wrapped(line: str, width: int) -> str:
    if len(line) <= width:
        return line
    indent = " " * (len(line) - len(line.lstrip()) + GAP)
    return textwrap.fill(line, width, subsequent_indent=indent, break_on_hyphens=False)
