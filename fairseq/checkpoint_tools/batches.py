"""Batches of a task's data, for commands that look at a checkpoint.

for sample in batches_of(task, "valid", batch_size=16, count=4, shuffle=False): ...
"""

import itertools
from collections.abc import Iterator
from typing import Any, Optional

from fairseq.data.part_of_dataset import load_subset
from fairseq.errors import DataError


def batches_of(task: Any, subset: str, batch_size: int, count: Optional[int], shuffle: bool) -> Iterator[Any]:
    """Up to `count` batches (None: all) of `subset`, empty ones left out.

    Raises:
        DataError: the task has no such subset, or it has no examples.
    """
    try:
        load_subset(task, subset, combine=False, epoch=1)
        dataset = task.dataset(subset)
    except KeyError:
        raise DataError(f"the task has no subset {subset!r}; choose one with --subset") from None
    iterator = task.get_batch_iterator(dataset, max_sentences=batch_size, max_positions=task.max_positions())
    found = False
    for sample in itertools.islice(iterator.next_epoch_itr(shuffle=shuffle), count):
        if sample:
            found = True
            yield sample
    if not found:
        raise DataError(f"subset {subset!r} has no examples; choose one with --subset")
