"""Writes tests/fixtures/release/: files of this build, and what it makes of them, for later builds to live up to.

    data/              a tiny sentence-pair task, binarised
    NAME.pt.gz         checkpoint of a run of release_cases.py, in mid-epoch and mid-cycle
    NAME_plan.json     its quantization_plan.json
    NAME_packed.pt.gz  the same by fairseq-quantize-checkpoint
    expected.json      what each uninterrupted run did after that checkpoint, and evaluations of all files

Run it once per release, with one thread, before what the release changes; older folders stay as they are:

    OMP_NUM_THREADS=1 python tests/conformance/make_release_fixtures.py tests/fixtures/release
"""

import gzip
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from release_cases import CASES, CHECKPOINT, arithmetic, evaluated, outcome, write_data


def command(module: str, words: list[str], cwd: Path) -> None:
    """Run `fairseq_cli.module` in the folder `cwd`."""
    line = [sys.executable, "-m", f"fairseq_cli.{module}", *words]
    done = subprocess.run(line, capture_output=True, text=True, cwd=cwd)
    if done.returncode:
        raise SystemExit(f"{module} {words}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}")


def main(out: Path) -> None:
    """Train everything and write the files into `out`, which must not exist."""
    out.mkdir(parents=True)
    write_data(out / "data")
    expected: dict = {"arithmetic": arithmetic(), "resumed": {}, "evaluated": {}}
    with tempfile.TemporaryDirectory() as name:
        for case_name, case in CASES.items():
            whole, rest = Path(name) / case_name / "whole", Path(name) / case_name / "rest"
            command("train", case.words(Path("data"), whole), out)  # files must not name this folder
            file = Path(name) / f"{case_name}.pt"
            shutil.copyfile(whole / CHECKPOINT, file)
            plan = whole / "quantization_plan.json"
            if plan.exists():
                shutil.copyfile(plan, out / f"{case_name}_plan.json")
            command("train", case.words(Path("data"), rest, restored=file), out)
            assert outcome(rest) == outcome(whole), case_name
            expected["resumed"][case_name] = outcome(whole)
            files = [file]
            if case.packed:
                files.append(Path(name) / f"{case_name}_packed.pt")
                command("quantize_checkpoint", [str(file), "--out", str(files[1])], out)
            for each in files:
                (out / f"{each.name}.gz").write_bytes(gzip.compress(each.read_bytes(), mtime=0))
                expected["evaluated"][each.stem] = {
                    compute: evaluated(each, out / "data", compute) for compute in case.computes
                }
            print(case_name, file=sys.stderr)
    (out / "expected.json").write_text(json.dumps(expected, indent=0) + "\n", encoding="utf-8")
    print(*(f"{file.name} {file.stat().st_size}" for file in sorted(out.iterdir())), sep="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
