"""Writes tests/fixtures/translate/: two checkpoints of a small model, and what fairseq 0.12 prints of it.

    model.pt, other.pt    after 300 and 140 updates
    told.json             case of translate_cases.py -> lines

Run it as make_training_fixtures.py.
"""

import contextlib
import io
import json
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from make_training_fixtures import command
from translate_cases import CASES, TRAIN, told, words_of
from translation_cases import binarise, write_pairs

OUT = Path(__file__).resolve().parents[1] / "fixtures" / "translate"


def run(case: str, folder: Path, data: Path) -> list[str]:
    """What fairseq 0.12 prints of a case, in this process."""
    from fairseq_cli import generate, interactive

    name, words = words_of(case, folder, data, OUT / "model.pt", OUT / "other.pt")
    sys.argv = [name, *words]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        {"generate": generate, "interactive": interactive}[name].cli_main()
    return told(printed.getvalue())


def main() -> None:
    """Train the model where it is not there yet, then run all cases."""
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        write_pairs(scratch / "text")
        data = binarise(scratch, False, lambda words: command("preprocess", words, cwd=scratch) and None)
        if not (OUT / "model.pt").exists():
            command("train", [str(data), *TRAIN.split(), "--save-dir", str(scratch / "out")], scratch)
            shutil.copyfile(scratch / "out" / "checkpoint_last.pt", OUT / "model.pt")
            (middle,) = (scratch / "out").glob("checkpoint_*_140.pt")
            shutil.copyfile(middle, OUT / "other.pt")
        found = {case: run(case, scratch, data) for case in CASES}
    (OUT / "told.json").write_text(json.dumps(found, indent=0, ensure_ascii=False) + "\n", encoding="utf-8")
    print(*(f"{file.name} {file.stat().st_size}" for file in sorted(OUT.iterdir())))


if __name__ == "__main__":
    main()
