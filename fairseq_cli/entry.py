"""How every command starts and ends: threads wait asleep (see `fairseq_cli.threads`), errors meant for the user become
one line on stderr and a non-zero exit code.

    cli_main = command(main)

Set FAIRSEQ_TRACEBACK=1 to see the full traceback instead. Where the system ends the process (a mapped data file that
became shorter, a fault in native code), `faulthandler` says where it was.
"""

import faulthandler
import functools
import os
import sys
from collections.abc import Callable
from typing import Any

from fairseq.errors import FairseqError
from fairseq_cli import other_distributions
from fairseq_cli.threads import sleep_while_waiting


def command(main: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a command's entry point: `FairseqError` -> `error: ...` on stderr and its exit code; Ctrl-C -> 130; a file
    that cannot be read or written -> its name and the system's reason.
    """

    @functools.wraps(main)
    def run(*args: Any, **kwargs: Any) -> Any:
        if not faulthandler.is_enabled() and sys.__stderr__ is not None:
            faulthandler.enable(sys.__stderr__)
        _look_around()
        sleep_while_waiting(os.environ)
        try:
            return main(*args, **kwargs)
        except FairseqError as error:
            if os.environ.get("FAIRSEQ_TRACEBACK"):
                raise
            sys.exit(_fail(str(error), error.exit_code))
        except KeyboardInterrupt:
            sys.exit(_fail("interrupted", 130))
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(141)
        except OSError as error:
            if error.filename is None or os.environ.get("FAIRSEQ_TRACEBACK"):
                raise
            sys.exit(_fail(f"{error.filename}: {error.strerror}", 1))

    return run


def _look_around() -> None:
    """Warn about another fairseq in the environment, once for all processes of a run."""
    if os.environ.get("RANK", "0") == "0" and os.environ.get("SLURM_PROCID", "0") == "0":
        line = other_distributions.warning()
        if line is not None:
            print(f"warning: {line}", file=sys.stderr, flush=True)


def _fail(message: str, code: int) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr, flush=True)
    return code
