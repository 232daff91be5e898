"""Work on the pieces of a text file, in this process or one for each piece, with progress by bytes.

    counters = over_pieces(count_words, [("train.txt", 0, 5000), ("train.txt", 5000, 9000)], what="reading train.txt")

The last two words of a piece are its offsets. The function is called with the words of a piece and `seen`, which it
tells how many bytes it has read.
"""

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from itertools import pairwise
from typing import Any, TypeVar

from fairseq.file_chunker_utils import find_offsets
from fairseq.job_progress import JobProgress
from fairseq.orphans import end_with_parent

T = TypeVar("T")
SMALLEST_PIECE = 1 << 20  # bytes: starting a process takes as long as reading about so many
INTERVAL = 0.2  # seconds between two looks at what the processes have read

_read: list[Any] = []  # in a process that works for another one: the counter that both see


def pieces_of(filename: str, workers: int) -> list[tuple[int, int]]:
    """Offsets of the pieces of a file, at most one for each worker, none so small that a process would not pay."""
    worth = max(os.path.getsize(filename) // SMALLEST_PIECE, 1)
    return list(pairwise(find_offsets(filename, min(max(workers, 1), worth))))


def over_pieces(work: Callable[..., T], pieces: Sequence[tuple[Any, ...]], what: str) -> list[T]:
    """What `work(*piece, seen=...)` returns for each piece."""
    total = sum(end - start for *_, start, end in pieces)
    with JobProgress(what, total, "B") as progress:
        if len(pieces) == 1:
            return [work(*pieces[0], seen=progress.advance)]
        counter = multiprocessing.Value("q", 0)
        with ProcessPoolExecutor(len(pieces), initializer=_begin, initargs=(os.getpid(), counter)) as pool:
            jobs = [pool.submit(_work, work, piece) for piece in pieces]
            while wait(jobs, INTERVAL).not_done:
                progress.advance(counter.value - progress.done)
            return [job.result() for job in jobs]


def _begin(parent: int, counter: Any) -> None:
    end_with_parent(parent)
    _read[:] = [counter]


def _work(work: Callable[..., T], piece: tuple[Any, ...]) -> T:
    return work(*piece, seen=_count)


def _count(number: int) -> None:
    with _read[0].get_lock():
        _read[0].value += number
