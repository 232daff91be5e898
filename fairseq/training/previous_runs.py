"""Before a run replaces a finished one in the same `save_dir`: its files move to `save_dir/previous-N`.

    keep_previous_run(cfg, start="roberta.base/model.pt", continues=False)

A run is finished if it came to its end (its history says so), or, of an older build, if it reached the limits of
the new run. What was interrupted is no result: it is continued, or replaced, as ever.

Each file is moved by one rename, the history last. A process that is killed in between leaves a finished run whose
files are in two folders, and the next start moves the rest into the same `previous-N`.
"""

import logging
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any, Optional

from fairseq.errors import CheckpointError, DataError
from fairseq.logging.history import DONE, FILE_NAME, read_history

logger = logging.getLogger(__name__)

FOLDER = "previous-"
# what a run, or a picture of it, leaves next to its history
PATTERNS = (
    *("checkpoint*.pt", "quantization_plan.json", "point_errors.jsonl", "run.json", "train.log"),
    *("*.png", "*.pdf", "*.svg", "report.html"),
)


def keep_previous_run(cfg: Any, start: Optional[str], continues: bool) -> Optional[Path]:
    """Move the files of a finished run out of the way of a new one; returns their new folder.

    Args:
        cfg: the root config of the new run.
        start: the checkpoint that the new run starts from. If it is in `save_dir` it is kept there too, so that the
            same command can begin again.
        continues: the new run continues with the run in `save_dir`, and replaces nothing.

    Raises:
        CheckpointError: the files cannot be moved.
    """
    save_dir = Path(cfg.checkpoint.save_dir)
    if continues or cfg.checkpoint.no_save or not is_finished(save_dir, cfg.optimization):
        return None
    files = sorted({path for pattern in PATTERNS for path in save_dir.glob(pattern) if path.is_file()})
    target = _target(save_dir)
    try:
        target.mkdir(exist_ok=True)
        for path in (*files, save_dir / FILE_NAME):
            if start is not None and os.path.exists(start) and os.path.samefile(path, start):
                _link(path, target / path.name)
            else:
                os.rename(path, target / path.name)
    except OSError as error:
        raise CheckpointError(
            f"cannot move the finished run in {save_dir} to {target}: {error.strerror or error}; "
            "choose another checkpoint.save_dir"
        ) from None
    logger.warning(
        f"{save_dir} holds a finished run, which this one would replace: its {len(files)} files are in {target} now"
    )
    return target


def is_finished(save_dir: Path, optimization: Any) -> bool:
    """Whether the run in `save_dir` came to its end.

    Args:
        optimization: the config's group, whose limits decide for histories without that record.
    """
    try:
        records = read_history(save_dir)
    except DataError:  # there is none, or it cannot be read
        return False
    if not records:
        return False
    if records[-1]["tag"] == DONE:
        return True
    last_update = max(record["num_updates"] for record in records)
    last_epoch = max((record.get("epoch") or 0 for record in records if record["tag"] == "train"), default=0)
    limits = ((optimization.max_update, last_update), (optimization.max_epoch, last_epoch))
    return any(limit and reached >= limit for limit, reached in limits)


def _target(save_dir: Path) -> Path:
    """The next `previous-N`, or the last one where it lacks the history, which is moved last."""
    numbers = [int(match[1]) for path in save_dir.iterdir() if (match := re.fullmatch(rf"{FOLDER}(\d+)", path.name))]
    last = max(numbers, default=0)
    begun = last > 0 and not (save_dir / f"{FOLDER}{last}" / FILE_NAME).exists()
    return save_dir / f"{FOLDER}{last if begun else last + 1}"


def _link(path: Path, target: Path) -> None:
    """Give a file a second name; a copy where the file system has no links."""
    with suppress(FileNotFoundError):
        os.remove(target)  # of a move that was interrupted
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)
