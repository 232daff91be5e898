"""Spread the jobs of a study by Hydra's launchers: this process, joblib on one machine, submitit for Slurm.

    launch(Path("OUT"), jobs=2, launcher="joblib", since=now())

A job is one warm process that runs cells one after the other (`fairseq.studies.worker`), not a cell of its own.
"""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Optional

from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from hydra.core.singleton import Singleton
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from fairseq.errors import ConfigError, reason
from fairseq.orphans import end_with_parent
from fairseq.studies.worker import work

logger = logging.getLogger(__name__)

# what launchers raise when a process that they started has been killed
DEATHS = ("TerminatedWorkerError", "BrokenProcessPool", "UncompletedJobError", "FailedJobError")
LAUNCHERS = {"joblib": "joblib", "submitit": "submitit_slurm", "submitit-local": "submitit_local"}


def launch(study: Path, jobs: int, launcher: str, since: str, settings: Optional[Mapping[str, str]] = None) -> None:
    """Run the study's cells in `jobs` processes; returns when these have ended, killed ones too.

    Args:
        launcher: one of LAUNCHERS. One job of joblib is this process.
        since: when the study was started.
        settings: of the launcher, `hydra.launcher.KEY`.

    Raises:
        ConfigError: the launcher is not installed, or has no such setting.
    """
    words = [
        "hydra.mode=MULTIRUN",
        f"hydra.sweep.dir={_quoted(study / 'jobs')}",
        "hydra.output_subdir=null",
        "hydra/job_logging=none",
        "hydra/hydra_logging=none",
        "hydra.job.name=fairseq-study",
        f"+study={_quoted(study)}",
        f"+since='{since}'",
        f"+parent={os.getpid()}",
        f"+watch={str(launcher != 'submitit').lower()}",  # jobs of Slurm go on without the process that started them
        f"+worker={','.join(str(worker) for worker in range(jobs))}",
    ]
    if launcher != "joblib" or jobs > 1:
        words.append(f"hydra/launcher={LAUNCHERS[launcher]}")
        if launcher == "joblib":
            words.append(f"hydra.launcher.n_jobs={jobs}")
        words += [f"hydra.launcher.{key}={value}" for key, value in (settings or {}).items()]
    with _hydra() as hydra:
        try:
            hydra.multirun(None, _job, words, with_log_configuration=False)
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigError(_explained(error, launcher)) from None
        except Exception as error:
            if type(error).__name__ in DEATHS:
                logger.warning(f"a job of the study ended: {reason(error)}")
                return
            if launcher == "joblib":
                raise
            raise ConfigError(f"launcher {launcher}: {reason(error)}") from error


def _explained(error: Exception, launcher: str) -> str:
    text = " ".join(f"{error} {error.__cause__ or ''}".split())
    if "hydra/launcher" in text:
        return f"the launcher {launcher} is not installed; install it with: pip install 'fairseq-any-precision[study]'"
    return f"launcher {launcher}: {text}"


@contextlib.contextmanager
def _hydra() -> Iterator[Hydra]:
    """Hydra for the length of a block, without a trace: cells use it, too."""
    before = Singleton.get_state()
    GlobalHydra.instance().clear()
    hydra_log = logging.getLogger("hydra")
    disabled = hydra_log.disabled
    try:
        yield Hydra.create_main_hydra2("fairseq-study", create_config_search_path(None))
    finally:
        GlobalHydra.instance().clear()
        Singleton.set_state(before)
        hydra_log.disabled = disabled


def _job(cfg: Any) -> None:
    """What each process of a launcher runs."""
    if os.getpid() != cfg.parent and cfg.watch:
        _end_with(cfg.parent)
    work(Path(cfg.study), cfg.since)


def _end_with(parent: int) -> None:
    """End when the process that started the study is gone."""
    if os.getppid() == parent:
        end_with_parent(parent)
    else:  # submitit's own process is in between
        threading.Thread(target=_watch, args=(parent,), daemon=True, name="end-with-study").start()


def _watch(parent: int) -> None:
    while True:
        try:
            os.kill(parent, 0)
        except ProcessLookupError:
            os._exit(1)
        time.sleep(1.0)


def _quoted(path: Path) -> str:
    escaped = str(path.absolute()).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
