"""Writes tests/fixtures/translation/: what fairseq 0.12 prints in the runs of translation_cases.py.

    printed.json     run -> the lines of its 40 updates; continued from update `SPLIT` it prints the same ones
    smoothed.pt      the checkpoint of that run at update `SPLIT`, optimizer state included

Run it as make_training_fixtures.py.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from make_training_fixtures import command
from training_cases import after, printed
from translation_cases import RUNS, SPLIT, binarise, write_pairs, write_start

OUT = Path(__file__).resolve().parents[1] / "fixtures" / "translation"
KEPT = "smoothed"


def main() -> None:
    """Prepare the data, train everything and write the files."""
    OUT.mkdir(parents=True, exist_ok=True)
    found = {}
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        data = {}
        for kind in ("apart", "joined"):
            write_pairs(scratch / kind / "text")
            data[kind] = binarise(
                scratch / kind, kind == "joined", lambda words: command("preprocess", words, cwd=scratch) and None
            )
        for run_name, run in RUNS.items():
            folder = scratch / run_name.replace(" ", "_")
            folder.mkdir()
            start = write_start(folder / "start.pt", data[run.data], run.start)
            words = run.words(folder, data[run.data], start, folder / "a", resume=False)
            lines = printed(command(run.command, words, scratch))
            (middle,) = (folder / "a").glob(f"checkpoint_*_{SPLIT}.pt")
            words = run.words(folder, data[run.data], middle, folder / "b", resume=True)
            continued = printed(command(run.command, words, scratch))
            assert continued == after(lines, SPLIT), run_name
            found[run_name] = lines
            if run_name == KEPT:
                shutil.copyfile(middle, OUT / "smoothed.pt")
            print(run_name, len(lines), "lines", file=sys.stderr)
    (OUT / "printed.json").write_text(json.dumps(found, indent=0) + "\n", encoding="utf-8")
    print(*(f"{file.name} {file.stat().st_size}" for file in sorted(OUT.iterdir())))


if __name__ == "__main__":
    main()
