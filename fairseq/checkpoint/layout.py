"""What the entries of a checkpoint must be, of whatever age it is; and one line for what still cannot be used of it.

    check_layout(state, "checkpoint_best.pt")
    with restoring("checkpoint_best.pt", "last_optimizer_state"):
        optimizer.load_state_dict(state["last_optimizer_state"])

>>> check_layout({"model": {}, "extra_state": {"train_iterator": {"epoch": "3"}}}, "c.pt")
Traceback (most recent call last):
...
fairseq.errors.CheckpointError: checkpoint c.pt is not in fairseq's layout: its extra_state.train_iterator.epoch holds \
a str
"""

import contextlib
from argparse import Namespace
from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor

from fairseq.errors import CheckpointError, ConfigError, FairseqError, reason

NONE = type(None)
NUMBER = (int, float, NONE)
# entries that may be absent; `*` means every item of a list or dict
KINDS: dict[str, tuple[type, ...]] = {
    "args": (Namespace, NONE),
    "cfg": (dict, DictConfig, NONE),
    "criterion": (dict, NONE),
    "optimizer_history": (list, NONE),
    "optimizer_history.*": (dict,),
    "optimizer_history.*.criterion_name": (str,),
    "optimizer_history.*.optimizer_name": (str,),
    "optimizer_history.*.lr_scheduler_state": (dict,),
    "optimizer_history.*.num_updates": (int,),
    "last_optimizer_state": (dict, NONE),
    "task_state": (dict, NONE),
    "task_state.dictionaries.*": (str,),
    "quantization": (dict, NONE),
    "extra_state": (dict,),
    "extra_state.epoch": (int,),
    "extra_state.batch_offset": (int,),
    "extra_state.metrics": (dict, NONE),
    "extra_state.ema": (dict, NONE),
    "extra_state.ema_fp32_params": (dict, NONE),
    "extra_state.early_stopping": (dict, NONE),
    "extra_state.loss_scale": (dict, NONE),
    "extra_state.previous_training_time": NUMBER,
    "extra_state.best": (*NUMBER, Tensor),
    "extra_state.val_loss": (*NUMBER, Tensor),
    "extra_state.train_iterator": (dict,),
    "extra_state.train_iterator.epoch": (int,),
    "extra_state.train_iterator.iterations_in_epoch": (int,),
    "extra_state.train_iterator.consumed": (int,),
    "extra_state.train_iterator.num_shards": (int,),
    "extra_state.train_iterator.group": (int,),
}
MAX_COUNT = 2**62
# what code raises that takes over a part of another kind than it expects
ODD = (
    ArithmeticError, AssertionError, AttributeError, LookupError, OmegaConfBaseException, RuntimeError, TypeError,
    ValueError,
)  # fmt: skip
MAX_EPOCH = 2**31  # epochs become part of random seeds


def check_layout(state: dict[str, Any], filename: str) -> None:
    """Raise CheckpointError where an entry of a file is of a kind, or a count of a size, that no fairseq wrote."""
    if not isinstance(state.get("model"), dict):
        raise _odd(filename, "model", state.get("model"))
    for key, value in state["model"].items():
        if not isinstance(key, str):
            raise _odd(filename, "model", key)
        if not isinstance(value, Tensor) and not key.endswith("_extra_state"):
            raise _odd(filename, f"model.{key}", value)
    for path, kinds in KINDS.items():
        for value in _found(state, path.split(".")):
            if not isinstance(value, kinds):
                raise _odd(filename, path, value)
            most = MAX_EPOCH if path.endswith("epoch") else MAX_COUNT
            if kinds == (int,) and isinstance(value, int) and not 0 <= value < most:
                raise CheckpointError(f"checkpoint {filename} is damaged: its {path} is {value:.6g}; use another copy")


def _found(value: Any, path: list[str]) -> Iterator[Any]:
    """The entries at `path` below `value`; none where something on the way is absent or of another kind."""
    if not path:
        yield value
    elif path[0] == "*":
        items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
        for item in items:
            yield from _found(item, path[1:])
    elif isinstance(value, Mapping) and not isinstance(value, DictConfig) and path[0] in value:
        yield from _found(value[path[0]], path[1:])


def _odd(filename: str, path: str, value: Any) -> CheckpointError:
    kind = type(value).__name__
    return CheckpointError(f"checkpoint {filename} is not in fairseq's layout: its {path} holds a {kind}")


@contextlib.contextmanager
def restoring(filename: str, part: str, advice: str = "use another copy of it") -> Iterator[None]:
    """Around what takes `part` of a file over: an exception that is no message for the user becomes a CheckpointError.

    What a part holds is known only to who takes it, and a file may hold anything. FAIRSEQ_TRACEBACK=1 shows the cause.
    """
    try:
        yield
    except ConfigError as error:  # settings that the user has not written: say whose they are
        if filename in str(error):
            raise
        raise ConfigError(f"checkpoint {filename}: {error}") from error
    except FairseqError:
        raise
    except ODD as error:
        kind, why = type(error).__name__, reason(error)
        message = f"{kind}: {why}" if why != kind else kind
        raise CheckpointError(f"checkpoint {filename}: its {part} cannot be used ({message}); {advice}") from error
