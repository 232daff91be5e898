"""The mean of several checkpoints' weights, often better than the last one (Vaswani et al. 2017, section 6.1).

state = average_checkpoints(last_n_checkpoints(["checkpoints"], 5, update_based=False))
torch_persistent_save(state, "average.pt")
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

import torch

from fairseq.checkpoint.contents import load_checkpoint_to_cpu, read_outline
from fairseq.errors import CheckpointError, ConfigError
from fairseq.file_io import exists

_BY_EPOCH = re.compile(r"checkpoint(\d+)\.pt")
_BY_UPDATE = re.compile(r"checkpoint_\d+_(\d+)\.pt")
_BEST = re.compile(r"checkpoint\.best_\w+_(-?\d+\.\d+)\.pt")


def average_checkpoints(inputs: Sequence[str]) -> dict[str, Any]:
    """The first checkpoint's contents with the mean of all weights; the optimizer's state is left out.

    Raises:
        CheckpointError: weights of other names or shapes, or packed ones.
    """
    if not inputs:
        raise ConfigError("no checkpoints to average")
    result: dict[str, Any] = {}
    sums: dict[str, torch.Tensor] = {}
    for path in inputs:
        state = load_checkpoint_to_cpu(path)
        if "packed_weights" in state:
            raise CheckpointError(f"checkpoint {path} holds packed weights; average those that training saved")
        weights = state["model"]
        if not result:
            result = {key: value for key, value in state.items() if key != "last_optimizer_state"}
            sums = {key: weight.double() if weight.is_floating_point() else weight for key, weight in weights.items()}
            continue
        if weights.keys() != sums.keys():
            odd = sorted(weights.keys() ^ sums.keys())
            raise CheckpointError(f"checkpoint {path} has other weights than {inputs[0]}: {', '.join(odd[:3])}")
        for key, weight in weights.items():
            if weight.shape != sums[key].shape:
                raise CheckpointError(
                    f"checkpoint {path}: {key} is {tuple(weight.shape)}, in {inputs[0]} {tuple(sums[key].shape)}"
                )
            if weight.is_floating_point():
                sums[key] = sums[key] + weight.double()
    first = result["model"]
    result["model"] = {
        key: (total / len(inputs)).to(first[key].dtype) if total.is_floating_point() else total
        for key, total in sums.items()
    }
    return result


def last_n_checkpoints(
    paths: Sequence[str], n: int, update_based: bool, upper_bound: Optional[int] = None, best: bool = False
) -> list[str]:
    """The `n` last checkpoints in a folder, the latest first.

    Args:
        update_based: those saved at updates instead of ends of epochs.
        upper_bound: none of a later epoch or update.
        best: those with the best scores instead, as `--keep-best-checkpoints` saves them.

    Raises:
        ConfigError: several folders. CheckpointError: there are fewer.
    """
    if len(paths) != 1:
        raise ConfigError(f"the last checkpoints of one folder are averaged, not of {len(paths)}")
    folder = Path(paths[0])
    if not exists(folder) or not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder of checkpoints")
    pattern = _BEST if best else _BY_UPDATE if update_based else _BY_EPOCH
    found = []
    for path in folder.iterdir():
        if (match := pattern.fullmatch(path.name)) is not None:
            number = float(match[1])
            if upper_bound is None or best or number <= upper_bound:
                found.append((number, str(path)))
    if len(found) < n:
        kind = "best checkpoints" if best else "checkpoints at updates" if update_based else "checkpoints at epochs"
        raise CheckpointError(f"{folder} has {len(found)} {kind}, {n} are wanted")
    descending = not best or _maximized(found[0][1])
    return [path for _, path in sorted(found, reverse=descending)[:n]]


def _maximized(path: str) -> bool:
    """Whether the checkpoint's run took the highest score for the best."""
    cfg = read_outline(path)["cfg"]
    return cfg is not None and bool(cfg.checkpoint.maximize_best_checkpoint_metric)
