"""One clear message when a run of several processes fails, whichever process failed and however many notice.

Each process that fails calls `Failures.settle`, which decides through the group's key-value store

- what the *cause* is: the first error that is not merely a lost connection; if there is none, a process was killed,
  and the ranks that do not answer are named;
- who the *speaker* is: rank 0 where it lives, else the first other rank. The speaker's exception goes up to the
  command, which prints it; every other process exits silently.
"""

import contextlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any, Optional

from fairseq.errors import FairseqError, TrainingError

RESUMES = "the same command resumes from the last checkpoint, on any number of processes"
# seconds: for the cause to arrive, for every survivor to answer, for rank 0 to speak
_CAUSE, _ANSWERS, _RANK_0 = 1.0, 1.5, 4.0
_LOST = ("gloo", "nccl", "connection closed", "connection reset", "broken pipe", "socket", "tcpstore")


def is_lost_connection(error: BaseException) -> bool:
    """Whether `error` is what a collective raises because another process is gone."""
    from torch import distributed as dist

    if isinstance(error, FairseqError):
        return False
    lines = str(error).lower()
    return isinstance(error, dist.DistError) or (
        isinstance(error, (RuntimeError, OSError)) and any(word in lines for word in _LOST)
    )


class Failures:
    """A process's view of the failures of its group.

    Args:
        store: the group's key-value store; None or a dead one: this process speaks for itself.
        explain: returns what happened to a process that does not answer, if its parent can say.
    """

    def __init__(
        self, store: Any, rank: int, world_size: int, explain: Optional[Callable[[], Optional[str]]] = None
    ) -> None:
        self._store, self.rank, self.world_size, self._explain = store, rank, world_size, explain

    def settle(self, error: Exception) -> Exception:
        """The exception that this process should raise for `error`; does not return where another one speaks."""
        self._put(f"failed/{self.rank}", "1")
        if is_lost_connection(error):
            cause = self._await_cause() or self._name_the_lost()
            result: Exception = TrainingError(cause["message"])
            result.exit_code = cause["exit_code"]  # type: ignore[attr-defined]
            result.__cause__ = error
        else:
            known = isinstance(error, FairseqError)
            message = str(error) if known else f"rank {self.rank} failed: {type(error).__name__}: {error}"
            cause = self._claim("cause", {"message": message, "exit_code": getattr(error, "exit_code", 1)})
            result = error
        if not self._speaks():
            if not isinstance(error, FairseqError) and result is error and cause["message"] == message:
                sys.excepthook(type(error), error, error.__traceback__)  # a defect, whose traceback is here only
            sys.exit(cause["exit_code"])
        return result

    def spoken(self) -> bool:
        """Whether some process prints the message, or already has."""
        return self._get("speaker") is not None

    # -- cause and speaker -------------------------------------------------------------------------------------------

    def _await_cause(self) -> Optional[dict[str, Any]]:
        return self._wait_for("cause", _CAUSE)

    def _name_the_lost(self) -> dict[str, Any]:
        explained = self._explain() if self._explain is not None else None
        if explained is None:
            deadline = time.monotonic() + _ANSWERS
            while (lost := self._silent_ranks()) and time.monotonic() < deadline:
                time.sleep(0.05)
            names = ", ".join(map(str, lost))
            explained = (
                f"rank {names} was killed or cannot be reached, so the other ranks were stopped; {RESUMES}"
                if lost
                else f"rank {self.rank} lost its connection to the other ranks; {RESUMES}"
            )
        return self._claim("cause", {"message": explained, "exit_code": 1})

    def _silent_ranks(self) -> list[int]:
        return [rank for rank in range(self.world_size) if self._get(f"failed/{rank}") is None and rank != self.rank]

    def _speaks(self) -> bool:
        if self.rank != 0:
            self._wait_for("speaker", _RANK_0)
        return self._claim("speaker", self.rank) == self.rank

    # -- the store, which may be gone --------------------------------------------------------------------------------

    def _put(self, key: str, value: str) -> None:
        if self._store is not None:
            with contextlib.suppress(Exception):
                self._store.set(key, value)

    def _get(self, key: str) -> Any:
        if self._store is None:
            return None
        try:
            return json.loads(self._store.get(key)) if self._store.check([key]) else None
        except Exception:
            return None

    def _wait_for(self, key: str, seconds: float) -> Any:
        deadline = time.monotonic() + seconds
        while (value := self._get(key)) is None and self._store is not None and time.monotonic() < deadline:
            time.sleep(0.05)
        return value

    def _claim(self, key: str, value: Any) -> Any:
        """Set `key` to `value` unless it is set; returns what it is set to."""
        if self._store is None:
            return value
        try:
            return json.loads(self._store.compare_set(key, "", json.dumps(value)))
        except Exception:
            return value
