"""Workers that take turns: sides of a comparison as processes (`worker.py`), a step of each after the other.

    with Turns(specs, pythons) as turns:                  # {"ours, int8": {...}, ...}
        seconds, first = turns.measure(repeats=7)

All sides of a RoBERTa-base step together would need more memory than most machines have, so `compare` runs them in
groups; the first side, which all ratios refer to, takes part in each group.
"""

import json
import statistics
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Optional

from harness import REPOSITORY, Side, ratio

Spec = dict[str, Any]


class Worker:
    """A process that does one side's steps."""

    def __init__(self, label: str, python: str, spec: Spec):
        # the errors of a library that is not there are kept to be told, warnings of those that work are not shown
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by close()
        command = [python, str(REPOSITORY / "benchmarks" / "worker.py"), json.dumps(spec)]
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
    """Workers of several sides; those that cannot be started are left out, with the reason in `missing`."""

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

    def measure(self, repeats: int, warm_up: int, clock: str) -> tuple[dict[str, list[float]], dict[str, float]]:
        """Seconds of `repeats` steps of each side, and of its very first one."""
        seconds: dict[str, list[float]] = {worker.label: [] for worker in self.workers}
        first: dict[str, float] = {}
        for repeat in range(-warm_up, repeats):
            for worker in self.workers:
                reply = worker.ask("step")
                first.setdefault(worker.label, reply["seconds"])
                if repeat >= 0:
                    seconds[worker.label].append(reply[clock])
        return seconds, first


def compare(
    specs: dict[str, Spec],
    pythons: dict[str, str],
    repeats: int,
    warm_up: int = 2,
    at_once: int = 3,
    clock: str = "seconds",
) -> dict[str, Any]:
    """Measure all sides against the first, print a table and return it as plain data."""
    labels = list(specs)
    anchor, others = labels[0], labels[1:]
    results: dict[str, Any] = {}
    for start in range(0, max(len(others), 1), at_once - 1):
        group = [anchor, *others[start : start + at_once - 1]]
        with Turns({label: specs[label] for label in group}, pythons) as turns:
            seconds, first = turns.measure(repeats, warm_up, clock)
            for label, reason in turns.missing.items():
                print(f"{label:<28} left out: {reason}")
                results[label] = {"left out": reason}
            for worker in turns.workers:
                runs = seconds[worker.label]
                found = {"runs": runs, "first step": first[worker.label], "versions": worker.versions}
                text = (
                    f"{worker.label:<28} {1e3 * statistics.median(runs):8.1f} ms   first {first[worker.label]:5.1f} s"
                )
                if anchor in seconds and worker.label != anchor:
                    r = found["over first side"] = ratio(runs, seconds[anchor])
                    text += f"   {r['median']:.2f}x {anchor} ({r['min']:.2f} - {r['max']:.2f})"
                print(text, flush=True)
                results.setdefault(worker.label, found)
    return results


def add_arguments(parser: Any) -> None:
    """Interpreters of the other sides."""
    parser.add_argument("--transformers", metavar="PYTHON", help="interpreter that has Hugging Face transformers")
    parser.add_argument("--peers", metavar="PYTHON", help="interpreter that has transformers, torchao and brevitas")
    parser.add_argument("--sides", nargs="+", metavar="SIDE", help="only these, by label; the first is the yardstick")
    parser.add_argument("--at-once", type=int, default=3, metavar="N", help="processes in memory at a time")
    parser.add_argument(
        "--clock", choices=("seconds", "processor"), default="seconds", help="wall-clock or processor time"
    )


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
