"""A page whose files are written, whose commands run and whose outputs are compared: the blocks of a Markdown file.

A block that begins with `# NAME.py` or `# NAME.toml` is that file. A ```bash block runs in the folder of those files.
A ```text block is what the last one printed.

    python tests/cli/tutorial_blocks.py docs/graph_tutorial.md FOLDER     # fills in what the commands print now
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
DECIMAL = re.compile(r"\d\.\d|\de[-+]\d|^result [0-9a-f]{64}$")
NUMBER = re.compile(r"\b[0-9a-f]{64}\b|(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?:e[-+]\d+)?")
REPOSITORY = Path(__file__).resolve().parents[2]
PREAMBLE = """
set -euo pipefail
fairseq-graph() {{ {python} -m fairseq_cli.graph "$@"; }}
python() {{ {python} "$@"; }}
"""


def run(script: str, folder: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "MPLBACKEND": "agg", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["bash", "-c", PREAMBLE.format(python=sys.executable) + script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def outputs(page: str, folder: Path) -> Iterator[tuple[str, str]]:
    """What each ```text block has, and what it should have."""
    printed = ""
    for language, text in BLOCK.findall(page):
        name = re.match(r"# ([\w-]+\.\w+)\n", text)
        if language == "text":
            yield text, printed
        elif name:
            (folder / name[1]).write_text(text, encoding="utf-8")
        elif language == "bash":
            printed = run(text, folder)


def words(text: str) -> list[list[str]]:
    """Lines as words. Of lines with a decimal number all numbers are `#`: they depend on how a machine adds."""
    return [(NUMBER.sub("#", line) if DECIMAL.search(line) else line).split() for line in text.splitlines()]


def refresh(page: Path, folder: Path) -> None:
    found = iter([printed for _, printed in outputs(page.read_text(encoding="utf-8"), folder)])

    def filled(block: re.Match[str]) -> str:
        if block[1] != "text":
            return block[0]
        lines = [line.rstrip() for line in next(found).rstrip().splitlines()]
        return "```text\n" + "\n".join(lines) + "\n```"

    page.write_text(BLOCK.sub(filled, page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    refresh(Path(sys.argv[1]), Path(sys.argv[2]))
