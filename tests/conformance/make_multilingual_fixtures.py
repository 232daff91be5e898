"""Writes tests/fixtures/multilingual.json: what fairseq 0.12 prints in the runs of multilingual_cases.py.

Run it as make_training_fixtures.py. `python make_multilingual_fixtures.py START WORD ...` writes the weights that the
run of a command line begins with.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from make_training_fixtures import command
from multilingual_cases import RUNS, binarise, words, write_start, write_text
from training_cases import printed

OUT = Path(__file__).resolve().parents[1] / "fixtures" / "multilingual.json"


def main() -> None:
    """Prepare the data, train everything and write the file."""
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_text(folder / "text")
        data = binarise(folder, lambda line: command("preprocess", line, cwd=folder) and None)
        for number, name in enumerate(RUNS):
            start = folder / f"start{number}.pt"
            line = words(name, data, folder / f"out{number}", start, resume=False)
            subprocess.run([sys.executable, "-W", "ignore", __file__, start, *line], check=True, cwd=folder)
            found[name] = printed(command("train", line, folder))
            print(name, len(found[name]), "lines", file=sys.stderr)
    OUT.write_text(json.dumps(found, indent=0) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        write_start(Path(sys.argv[1]), sys.argv[2:])
    else:
        main()
