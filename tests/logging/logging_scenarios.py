"""What is compared with fairseq 0.12: scenarios that use only the public names of `fairseq.logging` and return plain
text.

Run by tests/conformance/make_logging_fixtures.py under fairseq 0.12 and by the tests here under ours.
"""

import io
import logging

import numpy as np
import torch

from fairseq.logging import meters, metrics, progress_bar


def stats() -> dict:
    """One statistic of each kind that a loop reports."""
    average, speed, watch = meters.AverageMeter(round=2), meters.TimeMeter(), meters.StopwatchMeter()
    average.update(1.23456)
    speed.load_state_dict({"init": 1000.0, "n": 4700, "round": 1})
    watch.load_state_dict({"sum": 12.6, "n": 2, "round": 0})
    return {
        "loss": 3.14159,
        "ppl": 8.0,
        "wps": speed,
        "train_wall": watch,
        "average": average,
        "lr": 2e-5,
        "tiny": 1e-9,
        "big": 123456789,
        "nan": float("nan"),
        "float32": np.float32(1.1),
        "text": " padded ",
        "none": None,
    }


def bar_lines() -> list[str]:
    """`logger name | message` of every line that the bars print, over formats, prefixes and resumed epochs."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(name)s | %(message)s"))
    logger = progress_bar.logger
    logger.addHandler(handler)
    old_level, old_propagate = logger.level, logger.propagate
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        for log_format in ("json", "simple", "none"):
            for where in ({"epoch": 1}, {"epoch": 12, "prefix": "valid on 'valid' subset"}, {"prefix": "p"}, {}):
                for start in (0, 3):
                    _drive(progress_bar.progress_bar(Resumed(7, start), log_format=log_format, log_interval=2, **where))
    finally:
        logger.removeHandler(handler)
        logger.setLevel(old_level)
        logger.propagate = old_propagate
    return stream.getvalue().splitlines()


def _drive(bar) -> None:
    for item in bar:
        bar.log(stats(), tag="train_inner", step=10 + item)
        bar.log({"a": 1}, tag="untimed")
    bar.log({"a": 1}, step=22)
    bar.print(stats(), tag="train", step=20)
    bar.print({})


class Resumed:
    """An iterator of `size` items of which `n` are done already."""

    def __init__(self, size: int, n: int):
        self.size, self.n = size, n

    def __len__(self) -> int:
        return self.size

    def __iter__(self):
        return iter(range(self.n, self.size))


def format_stat_values() -> list[str]:
    values = [1, 1.0, 1.23456789, 1e6, 0.1 + 0.2, float("inf"), -0.0, True, None, "text", torch.tensor(1.5)]
    values += [torch.tensor([1.0, 2.0]), np.int64(4), np.float64(1e-8), [1, 2], {"a": 1}, *stats().values()]
    return [repr(progress_bar.format_stat(value)) for value in values]


def rounded_values() -> list[str]:
    values = [1.23456, 5, torch.tensor(1.23456), torch.tensor([1.5]), np.float32(1.23456), np.array(2.555)]
    values += [torch.tensor([1.0, 2.0]), None, "x", torch.tensor(3)]
    return [repr(meters.safe_round(value, 2)) for value in values]


def meter_states() -> list[str]:
    """State and value of meters after each of a few updates, with numbers, NumPy scalars and tensors."""
    seen = []
    average = meters.AverageMeter(round=2)
    for value, n in ((1, 1), (2.5, 2), (torch.tensor(3.0), 3), (None, 4), (7, 0), (np.float32(0.5), torch.tensor(2.0))):
        average.update(value, n)
        seen.append((average.val, average.avg, average.smoothed_value, average.state_dict()))
    total = meters.SumMeter(round=1)
    for value in (1.26, torch.tensor(2.0), None):
        total.update(value)
        seen.append((total.smoothed_value, total.state_dict()))
    speed = meters.TimeMeter()
    speed.load_state_dict({"init": 1e6, "n": 5e6, "round": 1})
    speed.update(torch.tensor(0))
    seen.append((speed.smoothed_value, speed.n, speed.round))
    watch = meters.StopwatchMeter(round=0)
    watch.stop()
    seen.append((watch.smoothed_value, watch.elapsed_time, watch.state_dict()))
    watch.load_state_dict({"sum": 3.6, "n": 2})
    seen.append((watch.smoothed_value, watch.state_dict()))
    watch.n = 0
    seen.append(watch.smoothed_value)
    concat = meters.ConcatTensorMeter()
    for value in ([1.0, 2.0], [3.0]):
        concat.update(torch.tensor(value))
        seen.append((concat.smoothed_value, concat.state_dict()))
    for meter in (average, total, concat):
        meter.reset()
        seen.append(meter.state_dict())
    return [repr(value) for value in seen]


def metrics_session() -> list[str]:
    """A run's nesting of aggregators: what each holds, in which order, and what the checkpoint gets."""
    seen = []
    metrics.reset()
    metrics.log_scalar("outside", 1.0)
    with metrics.aggregate("train_inner") as inner, metrics.aggregate("train") as train:
        for step in range(3):
            with metrics.aggregate() as batch:
                metrics.log_scalar("loss", torch.tensor(float(step)), weight=2, round=3)
                metrics.log_scalar("lr", 1e-3 * step, weight=0, priority=300)
                metrics.log_scalar_sum("tokens", 10 * step, priority=1)
                metrics.log_derived("ppl", lambda m: 2 ** float(m["loss"].avg), priority=20)
                metrics.log_concat_tensor("_scores", torch.tensor([float(step)]))
                metrics.log_custom(lambda: meters.AverageMeter(round=1), "custom", step, n=2)
            seen.append((list(batch), dict(batch.get_smoothed_values())))
        with metrics.aggregate("valid", new_root=True) as valid:
            metrics.log_scalar("loss", 9.0)
        with metrics.aggregate("train"):
            metrics.log_scalar("loss", 5.0)
    seen.append([dict(m.get_smoothed_values()) for m in (inner, train, valid)])
    seen.append(dict(metrics.get_smoothed_values("default")))
    seen.append(metrics.get_smoothed_value("train", "loss"))
    seen.append((metrics.get_meter("train", "no"), metrics.get_meters("no"), metrics.get_meter("no", "no")))
    saved = metrics.state_dict()
    seen.append([(name, state) for name, state in saved.items()])
    metrics.reset_meters("train")
    metrics.reset_meter("train_inner", "loss")
    metrics.reset_meters("no")
    seen.append([(name, state) for name, state in metrics.state_dict().items()])
    metrics.load_state_dict(saved)
    seen.append([(name, state) for name, state in metrics.state_dict().items()])
    metrics.reset()
    seen.append(list(metrics.state_dict().items()))
    return [repr(value) for value in seen]


SCENARIOS = [bar_lines, format_stat_values, rounded_values, meter_states, metrics_session]
