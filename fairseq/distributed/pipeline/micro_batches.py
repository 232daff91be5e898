"""A batch of a task cut into micro-batches along its sentences: as even as can be, the last ones may be empty.

>>> sample = {"id": torch.arange(3), "net_input": {"src_tokens": torch.tensor([[4, 5], [6, 1], [7, 8]])},
...           "target": torch.tensor([0, 1, 0]), "nsentences": 3, "ntokens": 5}
>>> parts = cut(sample, 2, pad=1)
>>> [(part["id"].tolist(), part["nsentences"], part["ntokens"]) for part in parts]
[([0, 1], 2, 3), ([2], 1, 2)]
>>> rows(sample), cut(sample, 4, pad=1)[3]
(3, None)
"""

from typing import Any, Optional

import torch
from torch import Tensor

from fairseq.errors import TrainingError


def rows(sample: Any) -> int:
    """How many sentences a batch has."""
    return int(sample["net_input"]["src_tokens"].size(0))


def rows_per_part(sample: Any, parts: int) -> int:
    """What each part but the last ones has."""
    return -(-rows(sample) // parts)


def cut(sample: Any, parts: int, pad: int) -> list[Optional[dict[str, Any]]]:
    """`parts` batches; None stands for an empty one."""
    size, total = rows_per_part(sample, parts), rows(sample)
    counts = _token_counts(sample, pad)
    result: list[Optional[dict[str, Any]]] = []
    for start in range(0, parts * size, size):
        stop = min(start + size, total)
        if start >= stop:
            result.append(None)
            continue
        part = _rows_of(sample, start, stop, total, "")
        if "nsentences" in sample:
            part["nsentences"] = stop - start
        if "ntokens" in sample:
            part["ntokens"] = int(counts[start:stop].sum())
        result.append(part)
    return result


def _rows_of(value: Any, start: int, stop: int, total: int, path: str) -> Any:
    if isinstance(value, dict):
        return {key: _rows_of(item, start, stop, total, f"{path}.{key}") for key, item in value.items()}
    if isinstance(value, Tensor) and value.dim():
        if value.size(0) != total:
            raise TrainingError(
                f"pipeline: {path[1:]} of a batch has {value.size(0)} rows, not one for each of {total} sentences, so "
                "the batch cannot be cut into micro-batches"
            )
        return value[start:stop]
    if isinstance(value, (list, tuple)) and len(value) == total:
        return value[start:stop]
    return value


def _token_counts(sample: Any, pad: int) -> Tensor:
    """Tokens of each row, whose sum is the batch's `ntokens`, however its task counts them."""
    inputs, target = sample["net_input"], sample.get("target")
    ways = [target.ne(pad).sum(1)] if isinstance(target, Tensor) and target.dim() == 2 else []
    ways += [inputs["src_lengths"].view(-1)] if "src_lengths" in inputs else []
    ways += [inputs["src_tokens"].ne(pad).sum(1), torch.full((rows(sample),), inputs["src_tokens"].size(1))]
    total = int(sample.get("ntokens", 0))
    for counts in ways:
        if int(counts.sum()) == total:
            return counts.cpu()
    counts = torch.zeros(rows(sample), dtype=torch.int64)
    counts[0] = total  # the sum over micro-batches is what is divided by
    return counts
