"""One run inside a process that runs others: what it leaves in the process is put back when it ends.

    with isolated(folder / "train.log"):
        train(cfg)

Put back are loggers, metrics, random numbers, torch's threads and switches, Hydra's state, environment, arguments and
the working folder. What stays is what any import leaves: modules, also those of `--user-dir` with the components that
they register, and compiled kernels.
"""

import contextlib
import gc
import logging
import os
import random
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton

from fairseq.logging import metrics
from fairseq.logging.side_outputs import LogFile

FORMAT = "%(asctime)s | %(levelname)s | %(name)s | %(message)s"


@contextlib.contextmanager
def isolated(log_file: Path) -> Iterator[None]:
    """Around one run.

    Args:
        log_file: fairseq's log lines are added to it, and what the run prints; nothing of both is shown.

    Raises:
        OSError: the log file cannot be written.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(metrics.isolated())
        stack.enter_context(_random_numbers())
        stack.enter_context(_torch_switches())
        stack.enter_context(_process())
        stack.enter_context(logging_to(log_file))
        try:
            yield
        finally:
            gc.collect()  # models hold themselves by their hooks


@contextlib.contextmanager
def logging_to(log_file: Path) -> Iterator[None]:
    """fairseq's log lines and what is printed go to the end of `log_file` alone."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logger.level for name, logger in _loggers().items()}
    handler = LogFile(str(log_file))
    handler.setFormatter(logging.Formatter(FORMAT, "%Y-%m-%d %H:%M:%S"))
    with open(log_file, "a", encoding="utf-8", buffering=1) as printed:
        root.handlers[:] = [handler]
        root.setLevel(os.environ.get("LOGLEVEL", "INFO").upper())
        try:
            with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
                yield
        finally:
            handler.close()
            root.handlers[:] = handlers
            root.setLevel(level)
            for name, logger in _loggers().items():
                logger.setLevel(levels.get(name, logging.NOTSET))


def _loggers() -> dict[str, logging.Logger]:
    found = logging.root.manager.loggerDict.items()
    return {name: logger for name, logger in found if isinstance(logger, logging.Logger)}


@contextlib.contextmanager
def _random_numbers() -> Iterator[None]:
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if gpus:
            torch.cuda.set_rng_state_all(gpus)


@contextlib.contextmanager
def _torch_switches() -> Iterator[None]:
    cudnn: Any = torch.backends.cudnn
    threads, dtype, precision = torch.get_num_threads(), torch.get_default_dtype(), torch.get_float32_matmul_precision()
    deterministic = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark, same = cudnn.benchmark, cudnn.deterministic
    gradients = torch.is_grad_enabled()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)
        torch.set_float32_matmul_precision(precision)
        torch.use_deterministic_algorithms(deterministic[0], warn_only=deterministic[1])
        cudnn.benchmark, cudnn.deterministic = benchmark, same
        torch.set_grad_enabled(gradients)


@contextlib.contextmanager
def _process() -> Iterator[None]:
    hydra, environ, argv, folder = Singleton.get_state(), dict(os.environ), sys.argv[:], os.getcwd()
    # a job of Hydra's may run inside a study's one, which is another
    own = {kind: each for kind, each in hydra["instances"].items() if kind not in (GlobalHydra, HydraConfig)}
    Singleton.set_state({**hydra, "instances": own})
    try:
        with warnings.catch_warnings():
            yield
    finally:
        Singleton.set_state(hydra)
        if os.environ != environ:
            os.environ.clear()
            os.environ.update(environ)
        sys.argv[:] = argv
        os.chdir(folder)
