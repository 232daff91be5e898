"""A debugger inside worker processes, which have no terminal: `from fairseq import pdb; pdb.set_trace()`."""

import multiprocessing
import os
import pdb
import sys
from typing import Any

_lock = multiprocessing.Lock()


class MultiprocessingPdb(pdb.Pdb):
    """Reads the terminal itself, one process at a time."""

    def _cmdloop(self) -> None:
        before = sys.stdin
        with _lock, open(os.ctermid()) as terminal:
            sys.stdin = terminal
            try:
                self.cmdloop()
            finally:
                sys.stdin = before


def set_trace() -> Any:
    debugger = MultiprocessingPdb()
    debugger.set_trace(sys._getframe().f_back)
