"""Train once inside this process, as the command line would: same code, same numbers, same files.

    result = run_training(["task.data=RTE-bin", "quantization=int8"], config_dir="conf", config_name="rte",
                          folder=Path("out/int8"))
    result.metrics["accuracy"], result.relative_bitops, result.seconds

`folder` gets what `checkpoint.save_dir` gets, and `train.log`. Nothing global is left behind: two equal calls give
equal numbers, whatever ran between them. Modules of `--user-dir` stay imported (see `fairseq.studies.isolation`).
"""

import importlib
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional, Union

from fairseq.errors import ConfigError, unknown
from fairseq.logging.history import DONE, read_history
from fairseq.studies.isolation import isolated
from fairseq.studies.peak_memory import PeakMemory

LOG_FILE = "train.log"
TRAINING = ("fairseq-hydra-train", "fairseq-train")
# what a validation reports besides its metrics; `best_...` depends on how often a run was continued
NO_METRICS = ("tag", "epoch", "num_updates", "bitops", "wps", "ups", "wpb", "bsz", "wall", "train_wall", "gb_free")


@dataclass(frozen=True)
class RunResult:
    """What a run has reached at its last update.

    Attributes:
        metrics: every metric of the last validation, of the first subset by its plain name (`loss`, `accuracy`), of
            others with the subset in front (`test/accuracy`); `train_loss` of the last epoch.
        bitops: what training has cost, all products and the quantizers' work, in bit operations; None if unknown.
        relative_bitops: the same, over what the products cost in full precision.
        relative_product_bitops: of the products alone, over the same: CPT's figure.
        seconds: wall-clock time of this call.
        peak_memory: bytes of this process; None where the system does not tell.
    """

    folder: Path
    metrics: dict[str, float]
    num_updates: int
    bitops: Optional[float]
    relative_bitops: Optional[float]
    relative_product_bitops: Optional[float]
    seconds: float
    peak_memory: Optional[int]
    subsets: tuple[str, ...] = field(default=("valid",))


def run_training(
    overrides: Sequence[str],
    *,
    config_dir: Optional[Union[str, Path]] = None,
    config_name: Optional[str] = None,
    folder: Path,
    command: str = "fairseq-hydra-train",
    on_validation: Optional[Callable[[dict[str, Any]], Optional[str]]] = None,
) -> RunResult:
    """Train as `command` would with these words, in this process.

    A run in `folder` that was interrupted is continued from its last checkpoint, as the command does.

    Args:
        overrides: words of the command line, `"model.dropout=0.3"`; flags for `fairseq-train`.
        config_dir, config_name: for `fairseq-hydra-train`.
        folder: made if missing; it is `checkpoint.save_dir`, and holds `train.log`.
        on_validation: called with the numbers of each validation; returns a reason to stop, or None.

    Raises:
        FairseqError: anything that is wrong with the words, the data or the training.
        SystemExit: a signal stopped the run, after it was saved.
    """
    if command not in TRAINING:
        raise ConfigError(unknown("training command", command, TRAINING))
    folder.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    with PeakMemory() as peak, isolated(folder / LOG_FILE):
        sys.argv[:] = [command, *_options(config_dir, config_name), *overrides]  # the run records its command
        if command == "fairseq-train":
            cfg = _from_flags(overrides, folder)
        else:
            saved = f"checkpoint.save_dir={_quoted(folder)}"
            cfg = compose_run([*overrides, saved], config_dir, config_name)
        if cfg.checkpoint.no_save:
            raise ConfigError(f"checkpoint.no_save leaves nothing to read in {folder}; take it out")
        cfg.common.count_bitops = True
        if cfg.common.log_format in (None, "tqdm"):
            cfg.common.log_format = "simple"  # the log is a file, whatever this process's terminal is
        subsets = tuple(cfg.dataset.valid_subset.split(","))
        # by name, since commands stand above the library
        launch = importlib.import_module("fairseq.distributed.utils").call_main
        main: Callable[[Any], Any] = importlib.import_module("fairseq_cli.train").main
        launch(cfg, main, **({} if on_validation is None else {"on_validation": on_validation}))
        del cfg
    seconds = time.perf_counter() - start
    return read_result(folder, subsets, seconds=seconds, peak_memory=peak.bytes)


def read_result(
    folder: Path, subsets: Sequence[str] = ("valid",), *, seconds: float = math.nan, peak_memory: Optional[int] = None
) -> RunResult:
    """The result of the finished run in `folder`, from its `history.jsonl`.

    Raises:
        DataError: there is no history.
    """
    records = read_history(folder)
    last = max((record["num_updates"] for record in records), default=0)
    metrics: dict[str, float] = {}
    for place, subset in enumerate(subsets):
        reported = [record for record in records if record["tag"] == subset and record["num_updates"] == last]
        for key, value in _numbers(reported[-1] if reported else {}).items():
            metrics[key if place == 0 else f"{subset}/{key}"] = value
    train = [record for record in records if record["tag"] == "train"]
    if train and "loss" in train[-1]:
        metrics["train_loss"] = _number(train[-1]["loss"])
    cost: dict[str, Any] = next((record for record in reversed(records) if record["tag"] == DONE), {})
    total, reference = cost.get("bitops"), cost.get("full_precision_bitops")
    products = cost.get("product_bitops")
    return RunResult(
        folder=folder,
        metrics=metrics,
        num_updates=last,
        bitops=total,
        relative_bitops=total / reference if total is not None and reference else None,
        relative_product_bitops=products / reference if products is not None and reference else None,
        seconds=seconds,
        peak_memory=peak_memory,
        subsets=tuple(subsets),
    )


def _numbers(record: dict[str, Any]) -> dict[str, float]:
    return {
        key: _number(value)
        for key, value in record.items()
        if key not in NO_METRICS and not key.startswith("best_")
        if value is None or isinstance(value, (int, float))
    }


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)  # a history keeps NaN and infinities as null


def _options(config_dir: Any, config_name: Optional[str]) -> list[str]:
    given = (("--config-dir", config_dir), ("--config-name", config_name))
    return [str(word) for flag, value in given if value is not None for word in (flag, value)]


def compose_run(overrides: Sequence[str], config_dir: Any = None, config_name: Optional[str] = None) -> Any:
    """The config of `fairseq-hydra-train` with these words.

    Raises:
        ConfigError: anything that is wrong with them.
    """
    from fairseq.dataclass.initialize import compose

    own = [word for word in overrides if word.lstrip("+~").startswith(("hydra.", "hydra/"))]
    if own:
        raise ConfigError(f"{own[0]} has no effect inside a study, which does not run under Hydra; take it out")
    return compose(config_name, config_dir, overrides)


def _quoted(folder: Path) -> str:
    """A path as Hydra's grammar reads it."""
    escaped = str(folder.absolute()).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _from_flags(words: Sequence[str], folder: Path) -> Any:
    from fairseq import options
    from fairseq.dataclass.finish import check_complete
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf

    parser = options.get_training_parser()
    cfg = convert_namespace_to_omegaconf(
        options.parse_args_and_arch(parser, [*words, "--save-dir", str(folder.absolute())])
    )
    check_complete(cfg, flags=True)
    return cfg
