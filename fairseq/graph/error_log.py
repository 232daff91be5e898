"""Errors of every quantizer over the course of a training, one JSON object per quantizer and recorded update.

    log = PointErrorLog("run/point_errors.jsonl", every=100)
    for update in range(total):
        with log.watching(model.quantization.context, update):
            loss(model(batch)).backward()
        optimizer.step()
        log.write(update + 1)

    {"tag": "activation", "epoch": null, "num_updates": 100, "quantizer": "fc1.input", "bits": "4", "sqnr": 17.2, ...}

`tag` is the quantizer's role; weights are seen as they are rounded, activations and gradients of all micro-batches
together; the numbers are those of `point_errors.py`. A run that resumes at an update first drops what is later.
Between the updates that are recorded nothing is looked at and nothing is slower. In those that are, products of
integers go step by step, so that their operands can be seen; results are the same up to the order of sums.

>>> import tempfile, torch
>>> from fairseq.quantization import quantize_model
>>> model = quantize_model(torch.nn.Sequential(torch.nn.Linear(8, 4)), "mxfp8")
>>> log = PointErrorLog(f"{tempfile.mkdtemp()}/point_errors.jsonl", every=2)
>>> for update in range(4):
...     with log.watching(model.quantization.context, update):
...         model(torch.randn(3, 8)).sum().backward()
...     log.write(update + 1)
>>> [(record["num_updates"], record["quantizer"]) for record in read_history(log.path)][::3]
[(2, '0.weight'), (4, '0.weight')]
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Union

from torch import Tensor

from fairseq.errors import ConfigError
from fairseq.graph.point_errors import PointError
from fairseq.logging.history import History, read_history
from fairseq.quantization.context import QuantizationContext

__all__ = ["FILE_NAME", "PointErrorLog", "read_history"]

FILE_NAME = "point_errors.jsonl"


class PointErrorLog:
    """Callback of a quantization context, for the updates that are recorded.

    Args:
        path: of the file, which is made with the first record.
        every: updates; those whose number is a multiple are recorded.
        start: number of updates that have been done; later records are dropped.
    """

    def __init__(self, path: Union[str, Path], every: int, start: int = 0):
        if every < 1:
            raise ConfigError(f"{path}: errors are recorded every 1 or more updates, got {every}")
        self.path, self.every = Path(path), every
        self._history = History(path)
        self._history.truncate(start)
        self._roles: dict[str, str] = {}
        self._found: dict[str, PointError] = {}

    @contextlib.contextmanager
    def watching(self, context: QuantizationContext, num_updates: int) -> Iterator[None]:
        """Around forward and backward of the update that follows `num_updates` done ones."""
        self._found = {}
        if (num_updates + 1) % self.every:
            yield
            return
        with context.with_callback(self):
            yield

    def quantized(self, quantizer: Any, x: Tensor, result: Tensor, num_bits: int, reused: bool) -> None:
        if quantizer.path not in self._found:
            self._found[quantizer.path], self._roles[quantizer.path] = PointError(), quantizer.role
        self._found[quantizer.path].add(quantizer, x, result, num_bits)

    def product(self, path: str, kind: str, left: Any, right: Any, macs: int) -> None:
        pass

    def write(self, num_updates: int) -> None:
        """Append what the update, the last of `num_updates` done ones, has shown; nothing of one that was not due."""
        found, self._found = self._found, {}
        for path, error in found.items():
            if error.count:
                self._history.append(self._roles[path], {"quantizer": path, **error.result()}, num_updates)
