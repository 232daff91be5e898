"""Workers that take turns: sides of a comparison as processes (`worker.py`), a step of each after the other.

    with Turns(specs, pythons) as turns:                  # {"ours, int8": {...}, ...}
        seconds, first = turns.measure(repeats=7)

All sides of a RoBERTa-base step together would need more memory than most machines have, so `compare` runs them in
groups; the first side, which all ratios refer to, takes part in each group.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Optional

from harness import REPOSITORY, Side, machine, ratio

Spec = dict[str, Any]


class Worker:
    """A process that does one side's steps."""

    def __init__(self, label: str, python: str, spec: Spec):
        # the errors of a library that is not there are kept to be told, warnings of those that work are not shown
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by close()
        script = REPOSITORY / "benchmarks" / spec.get("script", "worker.py")
        command = [python, str(script), json.dumps(spec)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True,
            cwd=tempfile.gettempdir(), env=Side(label, python).environment(spec["threads"]),
        )  # fmt: skip
        self.label = label
        self.versions = self._reply()

    def ask(self, what: str) -> dict[str, Any]:
        """Send a command and wait for what comes back.

        Raises:
            RuntimeError: the worker has ended; with its last line.
        """
        assert self.process.stdin is not None
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return self._reply()

    def _reply(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.errors.seek(0)
            raise RuntimeError((self.errors.read().strip().splitlines() or ["ended without a word"])[-1])
        reply: dict[str, Any] = json.loads(line)
        return reply

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()
        self.errors.close()


class Turns:
    """Workers of several sides; those that cannot start or do a step are left out, with the reason in `missing`."""

    def __init__(self, specs: dict[str, Spec], pythons: dict[str, str]):
        self.workers: list[Worker] = []
        self.missing: dict[str, str] = {}
        for label, spec in specs.items():
            try:
                self.workers.append(Worker(label, pythons[spec["library"]], spec))
            except (RuntimeError, OSError) as error:
                self.missing[label] = str(error)

    def __enter__(self) -> "Turns":
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        for worker in self.workers:
            worker.close()

    def measure(self, repeats: int, warm_up: int) -> tuple[dict[str, dict[str, list[float]]], dict[str, float]]:
        """Wall-clock and processor seconds of `repeats` steps of each side, and how long its very first one took."""
        runs: dict[str, dict[str, list[float]]] = {
            worker.label: {"seconds": [], "processor": []} for worker in self.workers
        }
        first: dict[str, float] = {}
        for repeat in range(-warm_up, repeats):
            for worker in list(self.workers):
                try:
                    reply = worker.ask("step")
                except (RuntimeError, OSError) as error:  # it was built, and cannot do a step
                    self.workers.remove(worker)
                    self.missing[worker.label] = str(error)
                    worker.close()
                    continue
                first.setdefault(worker.label, reply["seconds"])
                if repeat >= 0:
                    for clock, values in runs[worker.label].items():
                        values.append(reply[clock])
        return runs, first


def compare(
    specs: dict[str, Spec], pythons: dict[str, str], repeats: int, warm_up: int = 2, at_once: int = 3
) -> dict[str, Any]:
    """Measure all sides against the first, print a table and return it as plain data."""
    labels = list(specs)
    anchor, others = labels[0], labels[1:]
    results: dict[str, Any] = {}
    for start in range(0, max(len(others), 1), at_once - 1):
        group = [anchor, *others[start : start + at_once - 1]]
        with Turns({label: specs[label] for label in group}, pythons) as turns:
            runs, first = turns.measure(repeats, warm_up)
            for label, reason in turns.missing.items():
                print(f"{label:<26} left out: {reason}")
                results[label] = {"left out": reason}
            for worker in turns.workers:
                label, mine = worker.label, runs[worker.label]
                found: dict[str, Any] = {**mine, "first step": first[label], "versions": worker.versions}
                wall, processor = (1e3 * statistics.median(mine[clock]) for clock in ("seconds", "processor"))
                text = f"{label:<26} {wall:7.0f} ms, processor {processor:7.0f} ms, first {first[label]:5.1f} s"
                if anchor not in turns.missing and label != anchor:
                    for clock, values in mine.items():
                        r = found[f"{clock} over {anchor}"] = ratio(values, runs[anchor][clock])
                        text += f"   {r['median']:.2f}x ({r['min']:.2f} - {r['max']:.2f})"
                print(text, flush=True)
                results.setdefault(label, found)
    print(f"ratios to {anchor}: of wall-clock time, then of processor time")
    return results


def add_arguments(parser: Any) -> None:
    """Interpreters of the other sides."""
    parser.add_argument("--transformers", metavar="PYTHON", help="interpreter that has Hugging Face transformers")
    parser.add_argument("--peers", metavar="PYTHON", help="interpreter that has transformers, torchao and brevitas")
    parser.add_argument("--sides", nargs="+", metavar="SIDE", help="only these, by label; the first is the yardstick")
    parser.add_argument("--at-once", type=int, default=3, metavar="N", help="processes in memory at a time")


def interpreters(args: Any, ours: str) -> dict[str, str]:
    """Library -> interpreter, of those that were given."""
    given = {"ours": args.python or ours, "fairseq": args.oracle, "transformers": args.transformers,
             "torchao": args.peers, "brevitas": args.peers}  # fmt: skip
    return {library: str(Path(python).absolute()) for library, python in given.items() if python}


def chosen(args: Any, specs: dict[str, Spec], pythons: dict[str, str], parser: Any) -> dict[str, Spec]:
    """The sides asked for whose interpreters are there."""
    wanted: Sequence[str] = args.sides or list(specs)
    unknown = [label for label in wanted if label not in specs]
    if unknown:
        parser.error(f"no side {unknown[0]!r}; there are: {', '.join(specs)}")
    for label in wanted:
        if specs[label]["library"] not in pythons:
            print(f"{label:<28} left out: no interpreter given")
    return {label: specs[label] for label in wanted if specs[label]["library"] in pythons}


def run(args: Any, parser: Any, sides: dict[str, tuple[str, str]], common: Spec, title: str) -> None:
    """A whole benchmark: measure `sides`, label -> (library, precision), print the table, write the JSON file."""
    specs = {label: {"library": library, "precision": kind, **common} for label, (library, kind) in sides.items()}
    pythons = interpreters(args, sys.executable)
    specs = chosen(args, specs, pythons, parser)
    results = compare(specs, pythons, args.repeats, at_once=args.at_once)
    info = machine(args.threads)
    print(title)
    print(f"{info['cpu']}, {info['cores']} cores, {args.threads} threads, {' '.join(info['flags'])}")
    for label, found in results.items():
        if "versions" in found:
            print(f"{label}: {', '.join(f'{name} {number}' for name, number in found['versions'].items())}")
    if args.json:
        write_report(args.json, info, common, results)


def write_report(path: Path, info: dict[str, Any], common: Spec, results: dict[str, Any]) -> None:
    """All figures as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": info, "settings": common, "results": results}, indent=1) + "\n")
