"""What a run was, kept beside its checkpoints for reports: `run.json`, and its log lines in `train.log`.

    with RunRecord(cfg) as record:                      # keeps log lines in memory
        ...
        record.begin(trainer, trainable, continues)     # from here on they are in the file
        ...
        record.end("done")

`run.json` has the configuration, which of its settings differ from their defaults, the command, versions, and what is
known so far: state (`running`, `done`, `stopped`, `failed`), updates, seconds of training, peak memory of this
process, bit operations. Both are side outputs: a run goes on without them. A run that fails before it has begun
leaves neither.
"""

import datetime
import json
import logging
import logging.handlers
import os
import platform
import resource
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Optional

import torch

import fairseq
from fairseq.checkpoint.writing import atomic
from fairseq.dataclass.changed import changed
from fairseq.dataclass.utils import to_container
from fairseq.distributed import utils as distributed_utils
from fairseq.errors import FairseqError, reason
from fairseq.logging.side_outputs import LogFile, SideOutput

FILE_NAME = "run.json"
LOG_NAME = "train.log"
VERSION = 1
_FORMAT = "%(asctime)s | %(levelname)s | %(name)s | %(message)s"  # fairseq's, as on the console
_NEVER = logging.CRITICAL + 1
_EARLY_LINES = 10_000


class RunRecord:
    """Records the run of `cfg`, the root config, in its `save_dir`; in the first process, if anything is saved."""

    def __init__(self, cfg: Any):
        self.cfg = cfg
        self._wanted = distributed_utils.is_master(cfg.distributed_training) and not cfg.checkpoint.no_save
        self._early: Optional[logging.handlers.MemoryHandler] = None
        self._log: Optional[LogFile] = None
        self._trainer: Any = None
        self._contents: dict[str, Any] = {}
        folder = Path(cfg.checkpoint.save_dir or ".")
        self._path, self._log_path = folder / FILE_NAME, folder / LOG_NAME
        self._output = SideOutput(str(self._path), "reports of this run will lack its settings and costs")

    def __enter__(self) -> "RunRecord":
        if self._wanted:
            self._early = logging.handlers.MemoryHandler(_EARLY_LINES, flushLevel=_NEVER, flushOnClose=False)
            logging.getLogger().addHandler(self._early)
        return self

    def __exit__(self, kind: Optional[type], error: Optional[BaseException], trace: Any) -> None:
        if error is not None and self._contents:
            line = str(error) if isinstance(error, FairseqError) else f"{type(error).__name__}: {reason(error)}"
            self._contents["error"] = line
            if self._log is not None:
                self._log.handle(logging.LogRecord("fairseq", logging.ERROR, "", 0, "error: %s", (line,), None))
            self.end("stopped" if isinstance(error, KeyboardInterrupt) else "failed")
        for handler in (self._early, self._log):
            if handler is not None:
                logging.getLogger().removeHandler(handler)
                handler.close()

    def begin(self, trainer: Any, trainable: Any, continues: bool) -> None:
        """Once it is known whether the run `continues` the one in its folder, of which other files have been moved."""
        if not self._wanted:
            return
        self._trainer = trainer
        before = _read(self._path) if continues else {}
        self._contents = {
            "version": VERSION,
            "started": before.get("started") or _now(),
            "starts": before.get("starts", 0) + 1,
            **_surroundings(),
            "parameters": {"total": trainable.total, "trained": trainable.trained},
            "changed": [{k: to_container(v) for k, v in vars(change).items()} for change in changed(self.cfg)],
            "config": to_container(self.cfg),
            "peak_memory": before.get("peak_memory", {}),
        }
        self._open_log(continues)
        self.update()

    def _open_log(self, continues: bool) -> None:
        root = logging.getLogger()
        if self._early is not None:
            root.removeHandler(self._early)
        if not _is_written(self._log_path, root.handlers):  # as by a study, which shows no line elsewhere
            if not continues:
                with SideOutput(str(self._log_path)).attempt():
                    self._log_path.unlink(missing_ok=True)
            self._log = LogFile(str(self._log_path))
            self._log.setFormatter(logging.Formatter(_FORMAT, "%Y-%m-%d %H:%M:%S"))
            root.addHandler(self._log)
            if self._early is not None:
                self._early.setTarget(self._log)
                self._early.flush()
        self._early = None

    def update(self, state: str = "running") -> None:
        """Write what is known by now."""
        if not self._contents:
            return
        counting = self._trainer.quantized_training or self._trainer.full_precision_cost
        self._contents.update(
            state=state,
            updated=_now(),
            num_updates=self._trainer.get_num_updates(),
            seconds=round(self._trainer.cumulative_training_time(), 1),
            peak_memory=_larger(self._contents["peak_memory"], _peak_memory()),
            best={"metric": self.cfg.checkpoint.best_checkpoint_metric, "value": self._trainer.best_score},
            bitops=None if counting is None else asdict(counting.meter.total),
        )
        with self._output.attempt():
            text = json.dumps(self._contents, default=str, indent=1)
            with atomic(str(self._path)) as file:
                file.write(text.encode())

    def end(self, state: str) -> None:
        """Write the last state: `done`, `stopped` or `failed`."""
        self.update(state)
        self._contents = {}


def _surroundings() -> dict[str, Any]:
    program = Path(sys.argv[0])
    name = program.name if program.suffix != ".py" else f"fairseq-{program.stem.replace('_', '-')}"  # python -m
    return {
        "command": shlex.join([name, *sys.argv[1:]]),
        "folder": os.getcwd(),
        "process": {"host": platform.node(), "pid": os.getpid()},
        "versions": {"fairseq": fairseq.__version__, "torch": torch.__version__, "python": platform.python_version()},
        "machine": f"{platform.machine()}, {os.cpu_count()} processors, {torch.get_num_threads()} threads used",
    }


def _peak_memory() -> dict[str, int]:
    """Bytes, by device: the largest size that this process has had in memory."""
    factor = 1 if sys.platform == "darwin" else 1024
    peaks = {"cpu": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * factor}
    if torch.cuda.is_initialized():
        peaks["cuda"] = torch.cuda.max_memory_allocated()
    return peaks


def _is_written(path: Path, handlers: list[logging.Handler]) -> bool:
    files = [handler for handler in handlers if isinstance(handler, logging.FileHandler)]
    return any(os.path.realpath(file.baseFilename) == os.path.realpath(path) for file in files)


def _larger(before: dict[str, int], now: dict[str, int]) -> dict[str, int]:
    return {device: max(peak, before.get(device, 0)) for device, peak in now.items()}


def _read(path: Path) -> dict[str, Any]:
    """An earlier part's record, an empty one if it cannot be read."""
    try:
        contents = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return contents if isinstance(contents, dict) and isinstance(contents.get("starts"), int) else {}


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
