"""The progress bar of a whole run: how far it is, how long it will take, and its latest numbers, in two lines.

     12%|███▋                           | 612/5000 [01:37<11:40, 6.29 updates/s]
    epoch 3/20  loss 0.512  accuracy 74.2  lr 0.001  bits 6 | valid accuracy 75.2

    with RunBar(total=5000, done=0, epochs=20) as bar:
        bar.show(stats, step=1, epoch=1)        # after each update; drawn at most four times a second

Time left is that of the run: the mean pace so far, validations and checkpoints included.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, Optional

from fairseq.logging.bars import format_stat
from fairseq.logging.terminal import columns, fit

SECONDS = 0.25  # between two drawings


class RunBar:
    """Two lines at the bottom of the terminal, on stderr.

    Args:
        total: updates of the run, None if nothing says when it ends.
        done: updates of the checkpoint that the run continues from.
        epochs: epochs of the run, 0 for any number.
        metric: the statistic of validation to show.
    """

    def __init__(self, total: Optional[int], done: int = 0, epochs: int = 0, metric: str = "loss"):
        from tqdm import tqdm

        self.epochs, self.metric = epochs, metric
        self._drawn = 0.0
        self._valid = ""
        self._bar = tqdm(
            total=total,
            initial=done,
            unit=" updates",
            bar_format=None
            if total is None
            else "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}]",
            leave=False,
            dynamic_ncols=True,
            smoothing=0,  # the mean pace: the last update's says little about validations to come
            position=0,
        )
        self._numbers = tqdm(bar_format="{desc}", leave=False, dynamic_ncols=True, position=1)

    def __enter__(self) -> "RunBar":
        return self

    def __exit__(self, *exc: Any) -> None:
        self.close()

    def show(self, stats: Callable[[], Mapping[str, Any]], step: int, epoch: Optional[int] = None) -> None:
        """Update `step` is done; `stats()` is called where the bar is drawn again."""
        self._bar.n = step
        if self._is_due():
            place = "" if epoch is None else f"epoch {epoch}/{self.epochs}" if self.epochs else f"epoch {epoch}"
            formatted = {key: str(format_stat(value)).strip() for key, value in stats().items()}
            self._draw(f"{place}  {fit(formatted, columns() - len(place) - len(self._valid) - 3)}{self._valid}")

    def remark(self, text: str) -> None:
        """Show `text` in place of the numbers."""
        if self._is_due():
            self._draw(text)

    def validated(self, subset: str, stats: Mapping[str, str]) -> None:
        """Show the metric of the last validation with the numbers of training."""
        if self.metric in stats:
            self._valid = f" | {subset} {self.metric} {stats[self.metric]}"

    def close(self) -> None:
        """Take the bar away."""
        self._numbers.close()
        self._bar.close()

    def _is_due(self) -> bool:
        now = time.monotonic()
        if now - self._drawn < SECONDS:
            return False
        self._drawn = now
        return True

    def _draw(self, text: str) -> None:
        self._numbers.set_description_str(text, refresh=False)
        self._bar.refresh()
        self._numbers.refresh()
