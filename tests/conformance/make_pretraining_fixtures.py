"""Writes tests/fixtures/pretraining/: what fairseq 0.12 prints in the runs of pretraining_cases.py.

    printed.json     run -> the lines of its 40 updates
    denoising.pt     its checkpoint at update `SPLIT`, optimizer state included

Run it with the Python of an environment that holds fairseq 0.12 (`pip install fairseq-fixed`), never with ours on the
path:

    TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 python tests/conformance/make_pretraining_fixtures.py
"""

import importlib
import json
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from pretraining_cases import KEPT, RUNS, prepare, write_start
from training_cases import SPLIT, after, printed

OUT = Path(__file__).resolve().parents[1] / "fixtures" / "pretraining"


def command(name: str, words: list[str], cwd: Path) -> str:
    """What a command of fairseq 0.12 prints, in a copy of this process, which has imported it already."""
    output = cwd / "output.txt"
    child = os.fork()
    if child == 0:
        with output.open("w") as file:
            os.dup2(file.fileno(), 1)
        form = "%(asctime)s | %(levelname)s | %(name)s | %(message)s"
        logging.basicConfig(format=form, level="INFO", stream=sys.stdout, force=True)
        sys.argv = [name, *map(str, words)]
        importlib.import_module(f"fairseq_cli.{name}").cli_main()
        sys.stdout.flush()
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        raise SystemExit(f"{name} {words}\n{output.read_text()[-1500:]}")
    return output.read_text()


def main() -> None:
    """Prepare the data, train everything and write the files."""
    OUT.mkdir(parents=True, exist_ok=True)
    for name in ("preprocess", "train"):
        importlib.import_module(f"fairseq_cli.{name}")
    found = {}
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        data = prepare(scratch / "data", lambda words: command("preprocess", words, cwd=scratch) and None)
        for run_name, run in RUNS.items():
            start = write_start(scratch / "start.pt", data, run)
            save_dir = scratch / run_name.replace(" ", "_")
            lines = printed(command("train", run.words(data, start, save_dir, resume=False), scratch))
            found[run_name] = lines
            if run_name == KEPT:
                (middle,) = save_dir.glob(f"checkpoint_*_{SPLIT}.pt")
                words = run.words(data, middle, scratch / "b", resume=True)
                assert printed(command("train", words, scratch)) == after(lines, SPLIT), run_name
                shutil.copyfile(middle, OUT / f"{KEPT}.pt")
            print(run_name, len(lines), "lines", lines[-1].get("train_loss"), file=sys.stderr, flush=True)
    rows = [f"{json.dumps(key)}: {json.dumps(value, separators=(',', ':'))}" for key, value in found.items()]
    (OUT / "printed.json").write_text("{\n" + ",\n".join(rows) + "\n}\n", encoding="utf-8")
    print(*(f"{file.name} {file.stat().st_size}" for file in sorted(OUT.iterdir())))


if __name__ == "__main__":
    main()
