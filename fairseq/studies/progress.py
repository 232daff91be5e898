"""What a person sees of a study: a line for each cell that ends, and a bar with an estimate of the time left.

    with Progress(Path("OUT"), jobs=2) as progress: ...

A thread looks at the study's folder, since cells run in other processes, also of other machines. It writes the results
anew after each cell.
"""

import contextlib
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Optional

from tqdm import tqdm

from fairseq.errors import FairseqError
from fairseq.studies.estimates import Estimates, duration
from fairseq.studies.results import write_results
from fairseq.studies.study_folder import FAILED, FINISHED, RUNNING, Cell, Study, read_study

INTERVAL = 1.0  # seconds between two looks


class Progress:
    """Context manager around a study.

    Args:
        jobs: processes, for the estimate.
        say: gets the lines.
    """

    def __init__(self, out: Path, jobs: int, say: Callable[[str], Any] = print):
        self.out, self.jobs, self.say = out, jobs, say
        self._known: dict[str, str] = {}  # cell -> status and end, as it was last seen
        self._end = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="study-progress")
        self._waited = False
        self._stream = sys.stderr  # cells redirect it while they run in this process
        self._bar: Optional[tqdm] = None

    def __enter__(self) -> "Progress":
        study = read_study(self.out)
        self._known = {cell.name: _state(cell) for cell in study.cells}
        done = len(study.finished)
        self.say(f"{len(study.cells)} cells in {self.out}" + (f", {done} of them finished" if done else ""))
        if self._stream.isatty():
            self._bar = tqdm(total=len(study.cells), initial=done, unit="cell", file=self._stream, leave=False,
                             bar_format="{desc} {n}/{total} [{bar}] {elapsed}{postfix}")  # fmt: skip
        self._thread.start()
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self._end.set()
        self._thread.join()
        self.look()
        if self._bar is not None:
            self._bar.close()

    def _watch(self) -> None:
        while not self._end.wait(INTERVAL):
            self.look()

    def look(self) -> None:
        """Report what has changed since the last look."""
        with self._lock, contextlib.suppress(FairseqError, OSError):  # a file that is being laid out
            study = read_study(self.out)
            ended = [cell for cell in study.cells if self._known.get(cell.name) != _state(cell)]
            for cell in ended:
                self._known[cell.name] = _state(cell)
                if cell.status in (FINISHED, FAILED):
                    self._say(self._line(cell, study))
            if self._bar is not None:
                self._bar.n = len(study.finished) + len(study.failed)
                running = [cell.name for cell in study.cells if cell.status == RUNNING]
                self._bar.set_description_str(", ".join(running[:2]) or "waiting", refresh=False)
                self._bar.set_postfix_str(self._left(study))
            if any(cell.status in (FINISHED, FAILED) for cell in ended):
                write_results(study, plots=False)

    def _line(self, cell: Cell, study: Study) -> str:
        done = len(study.finished) + len(study.failed)
        left = self._left(study)
        place = f"{done}/{len(study.cells)}{left and ', ' + left}"
        if cell.status == FAILED:
            return f"{cell.name} failed ({place}): {cell.last_line}"
        value = f"{cell.metric} {cell.value:g}, " if cell.value is not None else ""
        return f"{cell.name}: {value}{duration(cell.seconds)} ({place})"

    def _left(self, study: Study) -> str:
        waiting = [cell for cell in study.cells if cell.status not in (FINISHED, FAILED)]
        seconds = Estimates(study.cells).seconds_left(waiting, self.jobs) if waiting else None
        return "" if seconds is None else f"about {duration(seconds)} left"

    def wait_for(self, cells: Sequence[Cell]) -> None:
        """Say once that other processes run the cells that are left."""
        if not self._waited:
            self._waited = True
            running = [cell for cell in cells if cell.status == RUNNING] or cells
            self._say(f"waiting for {len(cells)} cells of other processes, such as {running[0].name} "
                      f"({running[0].host}, process {running[0].pid})")  # fmt: skip

    def _say(self, line: str) -> None:
        if self._bar is not None:
            tqdm.write(line, file=self._stream)
        else:
            self.say(line)


def _state(cell: Cell) -> str:
    return f"{cell.status} {cell.end if cell.status in (FINISHED, FAILED) else ''}"
