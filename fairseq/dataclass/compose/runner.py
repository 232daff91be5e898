"""Run a function under Hydra: one job, a sweep, or only print the config.

    run(hydra_main, sys.argv[1:], job_name="hydra_train")

Hydra makes the run's folder (outputs/DATE/TIME, or `hydra.run.dir`), saves the config in its `.hydra`, sets up logging
to the console and to JOB_NAME.log, and hands sweeps to the chosen sweeper and launcher. The job stays in the folder
that the command was started in.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from typing import Any, List, Optional

from hydra._internal.callbacks import Callbacks
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import JobReturn, JobStatus, run_job
from hydra.errors import HydraException
from hydra.types import HydraContext, RunMode, TaskFunction
from omegaconf.errors import OmegaConfBaseException

import fairseq
from fairseq.dataclass.compose.arguments import make_parser
from fairseq.dataclass.compose.loader import Loader, search_path
from fairseq.dataclass.devices import place_in_group
from fairseq.dataclass.finish import check_complete
from fairseq.errors import ConfigError


class _Hydra(Hydra):
    """Hydra whose single run checks the config first and raises the job's own exception, without another line."""

    def __init__(self, task_name: str, loader: Loader):
        super().__init__(task_name, loader)
        self.loader = loader

    def run(
        self,
        config_name: Optional[str],
        task_function: TaskFunction,
        overrides: List[str],
        with_log_configuration: bool = True,
    ) -> JobReturn:
        cfg = self.compose_config(config_name, overrides, RunMode.RUN, with_log_configuration)
        self.loader.check(cfg)
        cfg.hydra.mode = RunMode.RUN
        callbacks = Callbacks(cfg)
        callbacks.on_run_start(config=cfg, config_name=config_name)
        try:
            result = run_job(
                hydra_context=HydraContext(config_loader=self.config_loader, callbacks=callbacks),
                task_function=task_function,
                config=cfg,
                job_dir_key="hydra.run.dir",
                job_subdir_key=None,
                configure_logging=with_log_configuration,
            )
        except (OmegaConfBaseException, OSError) as error:  # the job's own exceptions are in the result
            raise ConfigError(f"cannot set up the run's folder, hydra.run.dir: {error}") from error
        callbacks.on_run_end(config=cfg, config_name=config_name, job_return=result)
        if result.status == JobStatus.FAILED:
            raise result._return_value
        return result


def run(
    function: Callable[[Any], Any],
    args: argparse.Namespace,
    job_name: str,
    *,
    config_name: str = "config",
    check: Callable[[Any], None] = check_complete,
) -> Any:
    """Do what the parsed options (see `arguments.parse`) ask for.

    Args:
        function: called with the config of each job; what it returns goes to the sweeper.
        job_name: names the log file.
        config_name: the config to run where no --config-name is given.
        check: raises ConfigError where a job's config lacks something.

    Returns:
        the function's result for one job, the sweeper's result for a sweep, None if nothing ran.
    """
    if args.version:
        print(fairseq.__version__)
        return None
    name, words = args.config_name or config_name, list(args.overrides)
    rank, world_size = place_in_group(os.environ)
    if world_size > 1 and (args.multirun or _asks_for_sweep(words)):
        raise ConfigError(
            f"a sweep cannot run in a group of {world_size} processes that was started from outside; start it once, "
            "and let each job start its own with distributed_training.distributed_world_size=N"
        )
    if rank > 0:  # rank 0's folder is the run's: the others make none, and write no log
        words += ["hydra.run.dir=.", "hydra.output_subdir=null", "hydra/job_logging=stdout"]
    hydra = _Hydra(job_name, Loader(search_path(args.config_dir), job=True, check=check))
    GlobalHydra.instance().initialize(hydra)
    try:
        if args.hydra_help:
            args.overrides = []
            hydra.hydra_help(config_name=None, args_parser=make_parser(), args=args)
        elif args.cfg:
            hydra.show_cfg(name, words, args.cfg, args.package, args.resolve)
        elif args.info:
            hydra.show_info(args.info, name, words)
        elif args.shell_completion:
            hydra.shell_completion(name, words)
        elif args.multirun or _asks_for_sweep(words):
            return hydra.multirun(name, function, [*words, "hydra.mode=MULTIRUN"])
        else:
            return hydra.run(name, function, words).return_value
    except HydraException as error:
        raise ConfigError(" ".join(f"{error} {error.__cause__ or ''}".split())) from error
    finally:
        GlobalHydra.instance().clear()
    return None


def _asks_for_sweep(words: Sequence[str]) -> bool:
    return "hydra.mode=MULTIRUN" in words
