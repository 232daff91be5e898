"""The precision range test on a real training run: what `fairseq-precision-range-test` does.

The run is that of the config, except that `PrecisionRangeTest` chooses the bits, and nothing is saved.
"""

import json
import logging
import math
import statistics
import sys
from pathlib import Path
from typing import Any, Optional

from fairseq.errors import ConfigError
from fairseq.quantization.precision_range import PrecisionRangeTest
from fairseq.quantization.schedules.base import PrecisionSchedule

logger = logging.getLogger(__name__)


class RangeTestSchedule(PrecisionSchedule):
    """Bits of the range test, without a last update at the upper bound."""

    name = "range test"

    def __init__(self, test: PrecisionRangeTest):
        super().__init__(test.low, test.high)
        self._test = test

    def bits(self, update: int, total_updates: int) -> int:
        return self._test.bits(update)


def run_range_test(cfg: Any, args: Any) -> Optional[int]:
    """Run the test that the command line asks for; returns the lower bound, None if no precision learns.

    Raises:
        ConfigError: `cfg` does not quantize, or training does not log `args.metric`.
    """
    from fairseq.logging import terminal
    from fairseq.training import console
    from fairseq.training.quantize import config_of
    from fairseq.training.setup import check_sizes

    check_sizes(cfg)
    config = config_of(cfg.quantization)
    if not config.is_on:
        raise ConfigError("the range test needs quantized training: add a preset, such as quantization=cpt_3_8")
    assert config.num_bits is not None
    test = PrecisionRangeTest(
        args.low, config.num_bits, args.updates_per_bits, args.window, args.threshold, stop_early=not args.all
    )
    cfg.checkpoint.no_save = True
    cfg.optimization.max_update = test.total_updates
    cfg.dataset.disable_validation = True
    cfg.common.log_format = None  # a bar on a terminal; lines of statistics are not what this test is for
    if not terminal.is_interactive(console.log_format(cfg)):
        cfg.common.log_format = "none"
    with console.short_lines(cfg):
        return _train(cfg, args, test)


def _say(text: str) -> None:
    """Print `text`, above the bar if there is one."""
    from tqdm import tqdm

    tqdm.write(text, file=sys.stdout)
    sys.stdout.flush()


def _train(cfg: Any, args: Any, test: PrecisionRangeTest) -> Optional[int]:
    from fairseq import checkpoint_utils, tasks, utils
    from fairseq.logging import metrics
    from fairseq.plugins import import_user_module
    from fairseq.trainer import Trainer
    from fairseq.training.building import build_model
    from fairseq.training.loop import TrainingLoop
    from fairseq.training.trainable import select_trainable

    import_user_module(cfg.common)
    metrics.reset()
    utils.seed_everything(cfg.common.seed)
    task = tasks.setup_task(cfg.task)
    task.check_sizes()
    model = build_model(cfg, task)
    select_trainable(model, cfg.optimization.trainable)
    trainer = Trainer(cfg, task, model, task.build_criterion(cfg.criterion))
    assert trainer.quantized_training is not None  # the config quantizes
    trainer.quantized_training.schedule = RangeTestSchedule(test)
    _, epoch_itr = checkpoint_utils.load_checkpoint(cfg.checkpoint, trainer)
    if trainer.get_num_updates():
        raise ConfigError(
            "the range test starts a run: name weights to start from by checkpoint.restore_file and set "
            "checkpoint.reset_optimizer, reset_dataloader and reset_meters, or give an empty checkpoint.save_dir"
        )
    _say(f"{'bits':>4}  {'first':>7}  {'last':>7}  {'gain':>7}")
    shown = 0

    def observe(stats: dict[str, Any]) -> Optional[str]:
        nonlocal shown
        done = trainer.get_num_updates()
        if args.metric not in stats:
            raise ConfigError(f"--metric {args.metric}: training does not log it; it logs {', '.join(stats)}")
        test.observe(done - 1, float(stats[args.metric]) / 100)
        for point in test.curve()[shown:]:
            _say(f"{point.num_bits:>4}  {point.first:7.3f}  {point.last:7.3f}  {point.gain:+7.3f}")
            shown += 1
        return "the range test has seen enough" if test.is_done(done) else None

    TrainingLoop(cfg, trainer, task, on_update=observe).run(epoch_itr)
    _write(test, args.out, args.metric)
    bound = test.lower_bound()
    if bound is not None:
        gain = next(point.gain for point in test.curve() if point.num_bits == bound)
        error = standard_error(test.accuracies[bound], test.window)
        if gain < 2 * error:
            logger.warning(
                f"the gain at {bound} bits, {gain:.3f}, is within the noise (twice its standard error is "
                f"{2 * error:.3f}); raise --updates-per-bits or --threshold"
            )
    _say(
        f"lower bound: {bound} bits (quantization.schedule.min_bits={bound}); curve in {args.out}.png and .json"
        if bound is not None
        else f"no precision up to {test.high} bits gained {test.threshold:g} in {test.updates_per_bits} updates: raise "
        f"--updates-per-bits or the learning rate; curve in {args.out}.png and .json"
    )
    return bound


def standard_error(seen: list[float], window: int) -> float:
    """Of the difference of the means of the first and the last `window` values.

    >>> round(standard_error([0.4, 0.6, 0.5, 0.7], window=2), 3)
    0.141
    """
    first, last = seen[:window], seen[-window:]
    variance = sum(statistics.variance(part) if len(part) > 1 else 0.25 for part in (first, last))
    return math.sqrt(variance / window)


def _write(test: PrecisionRangeTest, out: Path, metric: str) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    report = {**test.as_dict(), "metric": metric, "updates": {str(b): seen for b, seen in test.accuracies.items()}}
    out.with_name(f"{out.name}.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    try:
        draw(test, out.with_name(f"{out.name}.png"), metric)
    except ImportError:
        logger.warning("no picture: install matplotlib (the extra `plot`)")


def draw(test: PrecisionRangeTest, path: Path, metric: str) -> None:
    """Training metric of every update, one colour a precision, with the two means that are compared."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    gains = {point.num_bits: point for point in test.curve()}
    for place, (bits, seen) in enumerate((bits, seen) for bits, seen in test.accuracies.items() if seen):
        start = place * test.updates_per_bits
        (line,) = axes.plot(range(start, start + len(seen)), seen, ".", alpha=0.35)
        if bits in gains:
            ends = [start + test.window / 2, start + len(seen) - test.window / 2]
            label = f"{bits} bits: {gains[bits].gain:+.3f}"
            axes.plot(ends, [gains[bits].first, gains[bits].last], "o-", color=line.get_color(), label=label)
    bound = test.lower_bound()
    axes.set_title(f"lower bound: {bound} bits" if bound is not None else "no precision learns yet")
    axes.set_xlabel("update")
    axes.set_ylabel(f"training {metric}")
    axes.legend(title=f"gain (threshold {test.threshold:g})", loc="upper left", bbox_to_anchor=(1, 1))
    figure.savefig(path, dpi=120)
