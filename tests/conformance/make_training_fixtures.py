"""Writes tests/fixtures/training/: what fairseq 0.12 prints in the runs of training_cases.py.

    printed.json     run -> the lines of its 40 updates; continued from update `SPLIT` it prints the same ones
    NAME.pt          its checkpoint at update `SPLIT`, optimizer state included, of the runs in `KEPT`

Run it with the Python of an environment that holds fairseq 0.12 (`pip install fairseq-fixed`), never with ours on the
path; `FAIRSEQ_TEST_DATA` names the folder with RTE and RoBERTa's BPE:

    TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 FAIRSEQ_TEST_DATA=... python tests/conformance/make_training_fixtures.py
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from training_cases import KEPT, RUNS, SPLIT, after, binarise, printed, write_pairs, write_rte, write_start, write_text

OUT = Path(__file__).resolve().parents[1] / "fixtures" / "training"


def command(module: str, words: list[str], cwd: Path) -> str:
    """What `module` prints under fairseq 0.12."""
    line = [sys.executable, "-W", "ignore", "-m", f"fairseq_cli.{module}", *words]
    env = {**os.environ, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(line, cwd=cwd, capture_output=True, text=True, env=env)
    if done.returncode:
        raise SystemExit(f"{line}\n{done.stdout[-1500:]}\n{done.stderr[-300:]}")
    return done.stdout


def file_name(run: str) -> str:
    return f"{run.lower().replace(' ', '_')}.pt"


def main() -> None:
    """Prepare the data, train everything and write the files."""
    OUT.mkdir(parents=True, exist_ok=True)
    shared = Path(os.environ["FAIRSEQ_TEST_DATA"])
    from fairseq.data.encoders.gpt2_bpe_utils import get_encoder

    bpe = get_encoder(str(shared / "roberta-bpe/encoder.json"), str(shared / "roberta-bpe/vocab.bpe"))
    found = {}
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        write_pairs(scratch / "pairs" / "text")
        write_text(scratch / "text" / "text")
        write_rte(scratch / "rte" / "text", shared / "glue", lambda text: " ".join(map(str, bpe.encode(text))))
        for kind in ("pairs", "text", "rte"):
            data = binarise(scratch / kind, lambda words: command("preprocess", words, cwd=scratch) and None)
            part = data if kind == "text" else data / "input0"
            start = write_start(scratch / f"{kind}.pt", part / "dict.txt", classes=0 if kind == "text" else 2)
            for run_name, run in RUNS.items():
                if run.data != kind:
                    continue
                folder = scratch / run_name.replace(" ", "_")
                folder.mkdir()
                words = run.words(folder, data, start, folder / "a", resume=False)
                lines = printed(command(run.command, words, scratch))
                (middle,) = (folder / "a").glob(f"checkpoint_*_{SPLIT}.pt")
                words = run.words(folder, data, middle, folder / "b", resume=True)
                continued = printed(command(run.command, words, scratch))
                assert continued == after(lines, SPLIT), run_name
                found[run_name] = lines
                if run_name in KEPT:
                    shutil.copyfile(middle, OUT / file_name(run_name))
                print(run_name, len(lines), "lines", file=sys.stderr)
    (OUT / "printed.json").write_text(json.dumps(found, indent=0) + "\n", encoding="utf-8")
    print(*(f"{file.name} {file.stat().st_size}" for file in sorted(OUT.iterdir())))


if __name__ == "__main__":
    main()
