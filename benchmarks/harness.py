"""What the benchmarks share: both sides in one run, alternating; the median ratio with its spread; machine and
versions.

    sides = [Side("ours", sys.executable, pythonpath=REPOSITORY), Side("fairseq 0.12", oracle_python)]
    seconds = alternate(sides, measure, repeats=5)     # {"ours": [...], "fairseq 0.12": [...]}
    print(ratio(seconds["fairseq 0.12"], seconds["ours"]))

A side is a Python interpreter; commands run in a temporary folder, so that neither side finds the other's code.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

REPOSITORY = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Side:
    """One of the things compared: a label and the interpreter that runs its commands."""

    label: str
    python: str
    pythonpath: Optional[Path] = None

    def environment(self, threads: int) -> dict[str, str]:
        env = {
            **os.environ,
            "OMP_NUM_THREADS": str(threads),
            "MKL_NUM_THREADS": str(threads),
            "CUDA_VISIBLE_DEVICES": "",
        }
        env["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"  # fairseq 0.12 cannot read its own checkpoints without it
        env["PYTHONPATH"] = str(self.pythonpath or "")
        env["PYTHONUNBUFFERED"] = "1"
        env.pop("PYTHONDONTWRITEBYTECODE", None)  # as users run: modules are compiled once, not at every start
        return env

    def lines(self, module: str, words: Sequence[str], threads: int, cwd: str) -> Iterator[tuple[float, str]]:
        """Run `python -m module words` and yield (seconds since the start, line) as each line of output appears.

        Raises:
            SystemExit: the command failed; its last lines are shown.
        """
        start = time.perf_counter()
        command = [self.python, "-m", module, *words]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=cwd, env=self.environment(threads)
        )
        tail: list[str] = []
        try:
            assert process.stdout is not None
            for line in process.stdout:
                tail = [*tail[-4:], line]
                yield time.perf_counter() - start, line
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait()
        if process.returncode:
            raise SystemExit(f"{self.label}: {' '.join(command)} failed:\n{''.join(tail)}")

    def seconds(self, module: str, words: Sequence[str], threads: int) -> float:
        """How long `python -m module words` takes."""
        with tempfile.TemporaryDirectory() as cwd:
            start = time.perf_counter()
            for _ in self.lines(module, words, threads, cwd):
                pass
            return time.perf_counter() - start

    def versions(self) -> dict[str, str]:
        code = "import json, sys, torch; print(json.dumps([sys.version.split()[0], torch.__version__]))"
        with tempfile.TemporaryDirectory() as cwd:  # an empty one: Python imports what lies there
            done = subprocess.run(
                [self.python, "-c", code], capture_output=True, text=True, check=True, cwd=cwd, env=self.environment(1)
            )
        python, torch = json.loads(done.stdout)
        return {"python": python, "torch": torch}


def add_arguments(parser: argparse.ArgumentParser, repeats: int) -> None:
    parser.add_argument(
        "--oracle",
        default=os.environ.get("FAIRSEQ_ORACLE"),
        metavar="PYTHON",
        help="interpreter with fairseq 0.12.3 installed (or FAIRSEQ_ORACLE); without it only our side is measured",
    )
    parser.add_argument("--python", default=None, metavar="PYTHON", help="our side's interpreter (default: this one)")
    parser.add_argument("--repeats", type=int, default=repeats, metavar="N", help="runs of each side")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), metavar="N", help="threads of each side")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")


def sides(args: argparse.Namespace) -> list[Side]:
    """Ours, and the oracle where one was given."""
    found = [Side("ours", args.python or sys.executable, REPOSITORY)]
    if args.oracle:
        found.append(Side("fairseq 0.12", args.oracle))
    return found


def alternate(
    sides: Sequence[Side], measure: Callable[[Side], float], repeats: int, warm_up: bool = True
) -> dict[str, list[float]]:
    """`measure` each side `repeats` times in turn (ABAB...), after one unrecorded run of each."""
    values: dict[str, list[float]] = {side.label: [] for side in sides}
    for repeat in range(-1 if warm_up else 0, repeats):
        for side in sides:
            value = measure(side)
            if repeat >= 0:
                values[side.label].append(value)
    return values


def ratio(over: Sequence[float], under: Sequence[float]) -> dict[str, float]:
    """Median, smallest and largest of the ratios of runs that lay next to each other."""
    ratios = [a / b for a, b in zip(over, under, strict=True)]
    return {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}


def table(name: str, unit: str, values: dict[str, list[float]], better: str = "lower") -> dict[str, Any]:
    """Print one measure of all sides and the first's ratio to each other (above 1: it is better); returns it as plain
    data, `ratio` to the second side and `ratios` to all."""
    result: dict[str, Any] = {"unit": unit, "runs": values}
    for label, runs in values.items():
        print(f"{name:<28} {label:<14} {statistics.median(runs):8.2f} {unit}   ({min(runs):.2f} - {max(runs):.2f})")
    (_, ours), *others = values.items()
    ratios = {label: ratio(runs, ours) if better == "lower" else ratio(ours, runs) for label, runs in others}
    for label, r in ratios.items():
        what = "ratio" if len(others) == 1 else f"/ {label}"
        print(f"{name:<28} {what:<14} {r['median']:8.2f} x   ({r['min']:.2f} - {r['max']:.2f})")
    if ratios:
        result |= {"ratio": next(iter(ratios.values())), "ratios": ratios}
    return result


def machine(threads: int) -> dict[str, Any]:
    """CPU model, cores, vector units and threads."""
    model, flags = platform.processor(), []
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        entries = dict(line.split(":", 1) for line in cpuinfo.read_text().splitlines() if ":" in line)
        entries = {key.strip(): value.strip() for key, value in entries.items()}
        model = entries.get("model name", model)
        known = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
        flags = [flag for flag in known if flag in entries.get("flags", "").split()]
    return {"cpu": model, "cores": os.cpu_count(), "flags": flags, "threads": threads}


def finish(args: argparse.Namespace, sides: Sequence[Side], results: dict[str, Any]) -> None:
    """Print machine and versions, and write the JSON file."""
    report = {
        "machine": machine(args.threads),
        "versions": {side.label: side.versions() for side in sides},
        "results": results,
    }
    m = report["machine"]
    print(f"{m['cpu']}, {m['cores']} cores, {m['threads']} threads, {' '.join(m['flags'])}")
    print(", ".join(f"{label}: python {v['python']}, torch {v['torch']}" for label, v in report["versions"].items()))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(report, indent=1) + "\n")
