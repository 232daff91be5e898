"""Damage valid files by seed and read them: only errors of ours on one line, and no memory beyond what files hold.

    python tests/fuzz/run.py --mutations 20000                      # all readers, about 10 minutes
    python tests/fuzz/run.py --mutations 3000 --reader "hf bert" --seed 7
    python tests/fuzz/run.py --reader yaml --only 123 --keep folder # one of them again; its files stay in `folder`

Readers run in a process of their own, whose address space may grow by 192 MiB: a larger allocation fails, and that is
a failure, as is any exception but `FairseqError`, a message of several lines, a process that ends, or 20 seconds of
processor time.
"""

import argparse
import gc
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Optional

HERE = Path(__file__).parent
GROWTH = 192 << 20  # bytes
SECONDS = 20
BROKEN = ("raises", "two lines", "allocates", "ends", "hangs")  # readers that test this runner


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=500, metavar="N", help="of all readers (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", action="append", metavar="NAME", help="only this one (may be repeated)")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="only this mutation")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave the damaged files of --only here")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child is not None:
        child(args.child)
        return 0
    failures = run(args.mutations, args.seed, args.reader, args.only, args.keep, report=_print)
    print(f"{len(failures)} failures")
    return 1 if failures else 0


def _print(failure: dict[str, Any]) -> None:
    print(describe(failure), flush=True)


def describe(failure: dict[str, Any]) -> str:
    return f"{failure['reader']} --only {failure['number']} ({failure['file']}): {failure['error']}"


def run(
    mutations: int,
    seed: int = 0,
    readers: Optional[list[str]] = None,
    only: Optional[int] = None,
    keep: Optional[Path] = None,
    seconds: int = SECONDS,
    report: Callable[[dict[str, Any]], None] = lambda failure: None,
) -> list[dict[str, Any]]:
    """The failures: `reader`, `number`, `file` and `error` of each; `report` gets each as it is found."""
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1", "RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    environment["TOKENIZERS_PARALLELISM"] = "false"
    environment["PYTHONPATH"] = os.pathsep.join([str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])
    failures: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as temporary:
        job = Path(temporary) / "job.json"
        at: dict[str, Any] = {"reader": None, "number": 0, "file": ""}
        plan = {"mutations": mutations, "seed": seed, "readers": readers, "only": only, "seconds": seconds}
        plan["keep"] = None if keep is None else str(keep)
        for start in itertools.count():  # a process that ended leaves damaged files: the next makes its own
            folder, before = Path(temporary) / str(start), at
            folder.mkdir()
            job.write_text(json.dumps({**plan, "after": at, "folder": str(folder)}))
            with open(folder / "stderr", "w+") as told:
                command = [sys.executable, __file__, "--child", str(job)]
                done = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=told, text=True)
                assert done.stdout is not None
                for line in done.stdout:
                    event = json.loads(line)
                    if "error" in event:
                        failures.append(event)
                        report(event)
                    else:
                        at = event
                done.wait()
                told.seek(0)
                said = told.read().strip()
            if at.get("finished"):
                return failures
            if at is before:  # it did not get as far as damaging a file
                raise RuntimeError(said)
            last = said.rpartition("\n")[2][:200]
            failures.append({**at, "error": f"the process ended with {done.returncode} ({last})"})
            report(failures[-1])
    raise AssertionError("not reached")


# -- the process that reads --------------------------------------------------------------------------------------------


def child(job: Path) -> None:
    """Work through the plan from where an earlier process ended, and print one JSON object an event."""
    sys.path.insert(0, str(HERE))
    import readers as everything

    everything.quiet()
    plan = json.loads(job.read_text())
    names = plan["readers"] or list(everything.READERS)
    each = -(-plan["mutations"] // len(names))
    after, started = plan["after"], plan["after"]["reader"] is None
    known = everything.READERS | everything.BROKEN
    prepared = {name: Prepared(name, known[name], plan) for name in names}
    limit_memory()
    for number in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(number, _too_long)
    for name, reader in prepared.items():
        numbers = range(each) if plan["only"] is None else [plan["only"]]
        for number in numbers:
            if not started:
                started = (name, number) == (after["reader"], after["number"])
                continue
            reader.attempt(number)
    print(json.dumps({"finished": True}), flush=True)


class Prepared:
    """A reader with its valid files, which have been read once: what that imports and keeps is not counted."""

    def __init__(self, name: str, reader: Any, plan: dict[str, Any]):
        self.name, self.reader, self.plan = name, reader, plan
        self.folder, self.out = (Path(plan["folder"]) / f"{name} {part}" for part in ("in", "out"))
        self.folder.mkdir()
        reader.write(self.folder)
        files = sorted(path for path in self.folder.rglob("*") if path.is_file())
        self.files = [p for p in files if any(fnmatch(self._relative(p), pattern) for pattern in self._patterns())]
        self.contents = {path: path.read_bytes() for path in files}
        self._read()

    def _patterns(self) -> tuple[str, ...]:
        return tuple("*" if pattern == "**/*" else pattern for pattern in self.reader.damaged)

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _read(self) -> None:
        self.out.mkdir()
        try:
            self.reader.read(self.folder, self.out)
        finally:
            shutil.rmtree(self.out)

    def attempt(self, number: int) -> None:
        """Damage one file, read, and restore it."""
        import mutations
        from readers import dump_nested, load_nested

        rng = random.Random(f"{self.plan['seed']} {self.name} {number}")
        path = rng.choice(self.files)
        content = None
        if path.suffix in self.reader.nested and rng.random() < 0.6:
            changed = mutations.change(load_nested(path.name, self.contents[path]), rng)
            content = dump_nested(path.name, changed)
        if content is None:
            content = mutations.damage(self.contents[path], rng)
        event = {"reader": self.name, "number": number, "file": self._relative(path)}
        print(json.dumps(event), flush=True)
        path.write_bytes(content)
        if self.plan["keep"]:
            shutil.copytree(self.folder, self.plan["keep"], dirs_exist_ok=True)
        signal.setitimer(signal.ITIMER_PROF, self.plan["seconds"])  # of the processor: the machine may be busy
        signal.alarm(30 * self.plan["seconds"])  # and of the clock: it may wait for ever
        error = self._error()
        if error is not None and error.startswith("memory: "):  # again without what earlier readings left behind
            gc.collect()
            error = self._error()
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        if error is not None:
            print(json.dumps({**event, "error": error}), flush=True)
        if path.is_dir():
            shutil.rmtree(path)
        path.write_bytes(self.contents[path])

    def _error(self) -> Optional[str]:
        """What is wrong with how the damaged files were read."""
        from fairseq.errors import FairseqError

        try:
            self._read()
        except FairseqError as error:
            if "\n" in str(error) or len(str(error)) > 2000:
                return f"a message of {len(str(error))} characters: {str(error)[:300]!r}"
            return f"memory: {error}" if out_of_memory(error) else None
        except BaseException as error:
            frames = traceback.extract_tb(error.__traceback__)
            ours = [frame for frame in frames if "fairseq" in frame.filename] or list(frames)
            where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"
            text = f"{type(error).__name__} at {where}: {' '.join(str(error).split())[:200]}"
            return f"memory: {text}" if out_of_memory(error) else text
        return None


class TooLongError(BaseException):
    """Reading took more than `SECONDS`."""


def _too_long(*_: Any) -> None:
    raise TooLongError


def limit_memory() -> None:
    import resource

    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + GROWTH, resource.RLIM_INFINITY))


def out_of_memory(error: Optional[BaseException]) -> bool:
    """Whether the error came from an allocation that failed, however it was reported."""
    while error is not None:
        if isinstance(error, MemoryError) or "allocate memory" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


if __name__ == "__main__":
    sys.exit(main())
