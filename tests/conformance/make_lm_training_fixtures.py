"""Writes tests/fixtures/lm/: what fairseq 0.12 prints in the runs of lm_training_cases.py.

    printed.json     run -> the lines of its 40 updates, and what its evaluations reported
    adaptive.pt      its checkpoint at update `SPLIT`, optimizer state included

Run it with the Python of an environment that holds fairseq 0.12 (`pip install fairseq-fixed`), never with ours on the
path:

    TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 python tests/conformance/make_lm_training_fixtures.py
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from lm_training_cases import KEPT, RUNS, reported, words_with_marks, write_start
from make_training_fixtures import command
from training_cases import SPLIT, after, binarise, printed, write_text

OUT = Path(__file__).resolve().parents[1] / "fixtures" / "lm"


def evaluate(words: list[str], cwd: Path) -> str:
    """What fairseq 0.12's `fairseq-eval-lm` prints, wherever: packages that it imports may have set up logging."""
    line = [sys.executable, "-W", "ignore", "-m", "fairseq_cli.eval_lm", *words]
    env = {**os.environ, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(line, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)
    if done.returncode:
        raise SystemExit(f"{line}\n{done.stdout[-1500:]}")
    return done.stdout


def main() -> None:
    """Prepare the data, train everything, evaluate, and write the files."""
    found = {}
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        write_text(scratch / "text")
        words_with_marks(scratch / "text")
        data = binarise(scratch, lambda words: command("preprocess", words, cwd=scratch) and None)
        for run_name, run in RUNS.items():
            start = write_start(scratch / f"{run_name}.pt", data / "dict.txt", run_name)
            save_dir = scratch / run_name
            lines = printed(command("train", run.words(data, start, save_dir, resume=False), scratch))
            (middle,) = save_dir.glob(f"checkpoint_*_{SPLIT}.pt")
            words = run.words(data, middle, scratch / f"{run_name}-b", resume=True)
            assert printed(command("train", words, scratch)) == after(lines, SPLIT), run_name
            evaluated = [
                reported(evaluate(run.evaluating(data, save_dir / "checkpoint_last.pt", number), scratch))
                for number in range(len(run.evaluations))
            ]
            found[run_name] = {"lines": lines, "evaluated": evaluated}
            if run_name == KEPT:
                shutil.copyfile(middle, OUT / f"{run_name}.pt")
            print(run_name, len(lines), "lines", [each[-1:] for each in evaluated], file=sys.stderr)
    (OUT / "printed.json").write_text(json.dumps(found, indent=0) + "\n", encoding="utf-8")
    print(*(f"{file.name} {file.stat().st_size}" for file in sorted(OUT.iterdir())))


if __name__ == "__main__":
    main()
