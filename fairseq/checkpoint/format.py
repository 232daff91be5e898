"""The layout of a checkpoint, and what a model needs to take weights from one.

args                 None, or the flags, see `fairseq.checkpoint.flags` (files of 2020 and before: those, and no cfg)
cfg                  the run's config as plain dicts and lists
model, criterion     state dicts, fp32 on the CPU; criterion None if it has no parameters
optimizer_history    [{criterion_name, optimizer_name, lr_scheduler_state, num_updates}, ...], this run's last
task_state           of the task
extra_state          metrics, previous_training_time, train_iterator, val_loss, best
last_optimizer_state absent with no_save_optimizer_state
"""

import logging
from collections import OrderedDict
from typing import Any, Optional

import torch
from torch import Tensor, nn

from fairseq.checkpoint.flags import flags_of
from fairseq.checkpoint.layout import restoring
from fairseq.checkpoint.sizes import differing_sizes
from fairseq.errors import CheckpointError

logger = logging.getLogger(__name__)


def build_state(
    *,
    cfg: Any,
    model_state: dict[str, Any],
    criterion: nn.Module,
    optimizer: Any,
    lr_scheduler: Any,
    num_updates: int,
    extra_state: dict[str, Any],
    optimizer_history: Optional[list[dict[str, Any]]] = None,
    task: Any = None,
    save_optimizer_state: bool = True,
) -> dict[str, Any]:
    """The dict that a checkpoint file holds, made of builtin containers and CPU tensors.

    Args:
        cfg: the root config.
        optimizer_history: entries of earlier runs; this run's is added.
        extra_state: as it is to be stored, `metrics` included.
    """
    from fairseq.dataclass.utils import to_container

    plain = to_container(cfg)
    has_parameters = any(True for _ in criterion.parameters())
    state: dict[str, Any] = {
        "args": flags_of(plain),
        "cfg": plain,
        "model": model_state,
        "criterion": criterion.state_dict() if has_parameters else None,
        "optimizer_history": [
            *(optimizer_history or []),
            history_entry(criterion, optimizer, lr_scheduler, num_updates),
        ],
        "task_state": task.state_dict() if task is not None else {},
        "extra_state": extra_state,
    }
    if save_optimizer_state:
        state["last_optimizer_state"] = optimizer.state_dict()
    return portable(state)


def history_entry(criterion: Any, optimizer: Any, lr_scheduler: Any, num_updates: int) -> dict[str, Any]:
    """What `check_history` compares on resume."""
    return {
        "criterion_name": type(criterion).__name__,
        "optimizer_name": type(optimizer).__name__,
        "lr_scheduler_state": lr_scheduler.state_dict(),
        "num_updates": num_updates,
    }


def check_history(state: dict[str, Any], criterion: Any, optimizer: Any, filename: str) -> Optional[dict[str, Any]]:
    """The last entry of the optimizer history; None, with a warning, where the file holds no optimizer state to resume.

    Raises:
        CheckpointError: it was written with another criterion or optimizer, whose state would not mean the same.
    """
    if not state.get("optimizer_history") or state.get("last_optimizer_state") is None:
        logger.warning(
            f"checkpoint {filename} holds no optimizer state: the optimizer and the learning rate start from scratch"
        )
        return None
    last = state["optimizer_history"][-1]
    for kind, current in (("criterion", criterion), ("optimizer", optimizer)):
        saved, name = last.get(f"{kind}_name"), type(current).__name__
        if not isinstance(saved, str):
            raise CheckpointError(f"checkpoint {filename} is damaged: its optimizer history names no {kind}")
        if saved != name:
            raise CheckpointError(
                f"checkpoint {filename} was trained with {kind} {saved}, this run uses {name}; "
                "set checkpoint.reset_optimizer (--reset-optimizer) to take the weights only"
            )
    return last


def portable(value: Any) -> Any:
    """A copy of nested containers with every tensor on the CPU, detached, half precision widened to fp32.

    Tensors that share memory share it afterwards too, so that tied weights are stored once.
    """
    seen: dict[tuple, Tensor] = {}

    def convert(item: Any) -> Any:
        if isinstance(item, Tensor):
            key = (item.device, item.data_ptr(), item.shape, item.stride(), item.dtype)
            if key not in seen or item.numel() == 0:
                wide = torch.float32 if item.dtype in (torch.float16, torch.bfloat16) else item.dtype
                seen[key] = item.detach().to(device="cpu", dtype=wide)
            return seen[key]
        if isinstance(item, dict):
            ordered = isinstance(item, OrderedDict)
            return (OrderedDict if ordered else dict)((key, convert(entry)) for key, entry in item.items())
        if isinstance(item, (list, tuple)) and type(item) in (list, tuple):
            return type(item)(convert(entry) for entry in item)
        return item

    return convert(value)


def load_weights(
    model: nn.Module,
    model_state: dict[str, Any],
    filename: str,
    *,
    strict: bool = True,
    model_cfg: Any = None,
    dictionary: Any = None,
    dict_path: Optional[str] = None,
) -> None:
    """Load a checkpoint's model weights, of this or an older version.

    Args:
        model_state: upgraded in place by the model.
        filename: for messages.
        model_cfg: handed to the model's `load_state_dict`.
        dictionary, dict_path: the source dictionary and the file it came from, for messages.

    Raises:
        CheckpointError: on one line, what does not fit: a dictionary of another size, keys, shapes.
    """
    check_dictionary(model, model_state, filename, dictionary, dict_path)
    extra = {} if model_cfg is None else {"model_cfg": model_cfg}
    with restoring(filename, "model"):
        try:
            model.load_state_dict(model_state, strict=strict, **extra)
        except RuntimeError as error:
            sizes = differing_sizes(model_state, model_cfg)
            reason = f"does not fit: {', '.join(sizes)}" if sizes else _misfit(model, model_state, error)
            raise CheckpointError(f"checkpoint {filename} {reason}") from None


def check_dictionary(
    model: nn.Module,
    model_state: dict[str, Any],
    filename: str,
    dictionary: Any = None,
    dict_path: Optional[str] = None,
) -> None:
    """Raise CheckpointError where a token embedding has another number of rows in the checkpoint than in the model."""
    ours = dict(model.named_parameters())
    for key, saved in model_state.items():
        # files of before 2020 call RoBERTa's encoder `decoder`
        current = ours.get(key, ours.get(key.replace("decoder.", "encoder.", 1)))
        if not key.endswith("embed_tokens.weight") or current is None or saved.shape[:1] == current.shape[:1]:
            continue
        if saved.dim() != 2:
            continue  # no table of embeddings: loading says so
        if len(saved) - len(current) == getattr(model, "spare_rows", 0):
            continue
        of_targets = key.startswith("decoder.") and any(name.startswith("encoder.") for name in ours)
        size = len(dictionary) if dictionary is not None and not of_targets else len(current)
        side = "target " if of_targets else ""
        raise CheckpointError(
            f"checkpoint {filename} was trained with a {side}dictionary of {len(saved)} entries, but "
            f"{dict_path or 'the dict.txt of this data'} gives {size} (special symbols included); "
            "preprocess the data with the dict.txt that belongs to the checkpoint"
        )


def _misfit(model: nn.Module, saved: dict[str, Any], error: RuntimeError) -> str:
    """One line for what `load_state_dict` reports on many."""
    ours = model.state_dict()
    problems = [
        f"{key} is {_size(saved[key])} in the file, {_size(ours[key])} in the model"
        for key in ours
        if key in saved and saved[key].shape != ours[key].shape
    ]
    missing = [key for key in ours if key not in saved]
    unexpected = [key for key in saved if key not in ours]
    if missing:
        problems.append(f"{len(missing)} missing ({_some(missing)})")
    if unexpected:
        problems.append(f"{len(unexpected)} that the model does not have ({_some(unexpected)})")
    if not problems:
        return f"does not fit the model: {' '.join(str(error).split())}"
    return f"does not fit the model: {_some(problems, '; ')}; build the model with the checkpoint's architecture"


def _size(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a scalar"


def _some(items: list[str], separator: str = ", ") -> str:
    return separator.join(items[:3]) + (f"{separator}..." if len(items) > 3 else "")
