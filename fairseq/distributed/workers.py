"""Single-machine data parallelism: this process is rank 0 and starts ranks 1..N-1 as child processes.

Rank 0 keeps its logging, its signal handlers and its return value, so one process and several look the same from
outside. No process outlives the group: rank 0 watches its children and stops the run when one of them dies. A
child ends when rank 0 is gone.
"""

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Optional

from fairseq.distributed.failures import RESUMES, Failures
from fairseq.distributed.membership import Membership, free_port, run_member
from fairseq.errors import FairseqError
from fairseq.orphans import end_with_parent

# a stopped run ends with 128 + one of these
SIGNALS = (signal.SIGTERM, signal.SIGINT)

# how long rank 0 may take to notice a dead peer by itself before the watcher ends the process
GRACE_SECONDS = 5.0


def run_with_workers(cfg: Any, main: Callable[..., Any], kwargs: dict[str, Any]) -> Any:
    """Run `main` in `distributed_world_size` processes of this machine; returns rank 0's result.

    Raises:
        FairseqError: what went wrong, in whichever process; for one that was killed, which one and by what.
    """
    world_size = cfg.distributed_training.distributed_world_size
    port = cfg.distributed_training.distributed_port
    address = f"tcp://localhost:{port if port > 0 else free_port()}"
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(
            target=_worker, args=(cfg, Membership(rank, world_size, rank, address), main, kwargs, os.getpid())
        )
        for rank in range(1, world_size)
    ]
    # a worker that loses rank 0 has one line to say, not torch's pages about the connection
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    for worker in workers:
        worker.start()
    watcher = _Watcher(workers)
    watcher.start()
    sigterm = signal.getsignal(signal.SIGTERM)
    try:
        return run_member(cfg, Membership(0, world_size, 0, address), main, kwargs, watcher.explain, watcher.joined)
    finally:
        watcher.stop()
        _end(workers)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, sigterm)


def _worker(cfg: Any, member: Membership, main: Callable[..., Any], kwargs: dict[str, Any], parent: int) -> None:
    logging.basicConfig(format="%(asctime)s | %(levelname)s | %(name)s | %(message)s")
    end_with_parent(parent, partial(_say_gone, parent) if member.rank == 1 else None, interval=0.2)
    try:
        run_member(cfg, member, main, kwargs)
    except FairseqError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


def _say_gone(parent: int) -> None:
    print(f"error: rank 0 (process {parent}) is gone, so the other ranks were stopped; {RESUMES}", file=sys.stderr)


class _Watcher(threading.Thread):
    """Notices a worker that ends with a non-zero code; ends this process if it does not notice by itself."""

    def __init__(self, workers: list[Any]):
        super().__init__(daemon=True)
        self._workers = workers
        self._done = threading.Event()
        self._failed = threading.Event()
        self._failures: Optional[Failures] = None
        self._failure: Optional[str] = None

    def run(self) -> None:
        while not self._done.wait(0.2):
            for rank, worker in enumerate(self._workers, start=1):
                if worker.exitcode not in (None, 0, *(128 + number for number in SIGNALS)):
                    self._failure = _describe(rank, worker)
                    self._failed.set()
                    if not self._done.wait(GRACE_SECONDS):
                        if self._failures is None or not self._failures.spoken():
                            print(f"error: {self._failure}", file=sys.stderr, flush=True)
                        _end(self._workers, patience=0.0)
                        os._exit(1)
                    return

    def joined(self, failures: Failures) -> None:
        """The group exists: from now on its members agree on the cause of a failure."""
        self._failures = failures

    def explain(self) -> Optional[str]:
        """What happened to a worker; None if all of them are well."""
        self._failed.wait(1.0)
        return self._failure

    def stop(self) -> None:
        self._done.set()


def _describe(rank: int, worker: Any) -> str:
    if worker.exitcode < 0:
        how = f"was killed by {signal.Signals(-worker.exitcode).name}"
    else:
        how = f"ended with exit code {worker.exitcode}"
    return f"rank {rank} (process {worker.pid}) {how}, so the other ranks were stopped; {RESUMES}"


def _end(workers: list[Any], patience: float = 5.0) -> None:
    """Wait shortly for workers that are finishing, then terminate, then kill."""
    deadline = time.monotonic() + patience
    for worker in workers:
        worker.join(max(0.0, deadline - time.monotonic()))
    for worker in workers:
        if worker.is_alive():
            worker.terminate()
            worker.join(1.0)
        if worker.is_alive():
            worker.kill()
