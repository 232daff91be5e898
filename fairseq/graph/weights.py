"""Weights for a model from a file of any program: Lightning's .ckpt, .pt, safetensors. Data is read, code never run.

    notes = load_weights(model, "best.ckpt")

Where keys have a prefix that the model's do not have (Lightning calls the net `model.`), it is taken away, if all of
the model's keys are there then. Masks of pruned weights and adapters are understood.

>>> import torch
>>> model = nn.Sequential(nn.Linear(2, 1))
>>> state = {f"model.net.{key}": value for key, value in model.state_dict().items()} | {"loss.weight": torch.ones(2)}
>>> sorted(fit(model, state, "best.ckpt")[0]), fit(model, state, "best.ckpt")[1]
(['0.bias', '0.weight'], ["weights of 'model.net.'; 1 other left out (loss.weight)"])
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fairseq.checkpoint import reading
from fairseq.errors import CheckpointError, reason
from fairseq.graph import adapters, input_pruning
from fairseq.graph.masks import SUFFIX
from fairseq.graph.restoring import restore

State = dict[str, Tensor]
# what programs call the part of a file that holds the weights
PARTS = ("state_dict", "model_state_dict", "model", "module")
NAMED = 3  # keys in a message


def load_weights(model: nn.Module, path: str, load_type: str = "auto") -> list[str]:
    """Fill `model` with the weights in a file; notes on what was left out.

    Raises:
        CheckpointError: no such file, one that holds no weights, or weights of another model.
    """
    state, notes = fit(model, read_weights(path, load_type), path)
    restore(model, state)
    model.load_state_dict(state, strict=True)
    return notes


def read_weights(path: str, load_type: str = "auto") -> State:
    """Key -> tensor, as the file has them.

    Args:
        load_type: `pl` of Lightning, `pt` of torch.save, `safetensors`, or `auto`.

    Raises:
        CheckpointError: no such file; it is damaged, holds more than data, or no weights.
    """
    if load_type == "safetensors" or (load_type == "auto" and path.endswith(".safetensors")):
        return _safetensors(path)
    found = reading.read(path, foreign=True)
    if load_type == "pl" and not (isinstance(found, Mapping) and "state_dict" in found):
        raise CheckpointError(f"{path} is no checkpoint of Lightning: it has no state_dict; give load_type auto")
    if isinstance(found, Mapping) and "packed_weights" in found:
        raise CheckpointError(f"{path} holds packed weights; give the checkpoint that it was made from")
    for part in PARTS:
        if isinstance(found, Mapping) and isinstance(found.get(part), Mapping):
            found = found[part]
            break
    if isinstance(found, Mapping) and "_modules" in found:
        raise CheckpointError(f"{path} holds a whole model, whose code is not run here; save model.state_dict()")
    if not isinstance(found, Mapping):
        raise CheckpointError(f"{path} holds no state dict, but {_kind(found)}; save model.state_dict()")
    state = {str(key): value for key, value in found.items() if isinstance(value, Tensor)}
    if not state:
        keys = ", ".join(map(str, list(found)[:NAMED])) or "nothing"
        raise CheckpointError(f"{path} holds no weights, but {keys}; save model.state_dict()")
    return state


def _kind(value: Any) -> str:
    return f"a {type(value).__name__}"


def _safetensors(path: str) -> State:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not Path(path).is_file():
        raise CheckpointError(f"checkpoint {path} does not exist (started in {Path.cwd()})")
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path} is damaged or no safetensors file ({reason(error)})") from None


def fit(model: nn.Module, state: Mapping[str, Tensor], path: str) -> tuple[State, list[str]]:
    """`state` under the model's keys, and a note on what was left out.

    Raises:
        CheckpointError: it is of another model; says what does not fit.
    """
    own = {key: value for key, value in model.state_dict().items() if isinstance(value, Tensor)}
    prefixes = {"", *(key[: end + 1] for key in state for end, letter in enumerate(key) if letter == ".")}
    whole = [prefix for prefix in sorted(prefixes, key=len) if all(prefix + key in state for key in own)]
    prefix = _chosen(whole, path) if whole else _likeliest(prefixes, own, state)
    found = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    extra = [key for key in found if key not in own and not _is_added(key, own)]
    missing = [key for key in own if key not in found]
    shapes = [
        f"{key} is {list(found[key].shape)} in the file and {list(own[key].shape)} in the model"
        for key in own
        if key in found and found[key].shape != own[key].shape
    ]
    problems = [
        *shapes[:NAMED],
        *([f"{len(missing)} weights missing ({_some(missing)})"] if missing else []),
        *([f"{len(extra)} that the model does not have ({_some(extra)})"] if extra else []),
    ]
    if problems:
        kind = type(model).__name__
        raise CheckpointError(f"checkpoint {path} is of another model than {kind}: {'; '.join(problems)}")
    left = [key for key in state if not key.startswith(prefix)]
    others = f"; {len(left)} other{'s' if len(left) > 1 else ''} left out ({_some(left)})" if left else ""
    return found, [f"weights of {prefix!r}{others}"] if prefix else []


def _chosen(whole: list[str], path: str) -> str:
    """The prefix of the weights, from those under which all the model's keys are.

    Raises:
        CheckpointError: there are several, as of a student and its teacher; none is `model.`, as Lightning's nets are.
    """
    usual = [prefix for prefix in whole if prefix in ("", "model.")] or whole
    if len(usual) > 1 and "" not in usual:
        named = ", ".join(map(repr, usual[:NAMED]))
        raise CheckpointError(f"checkpoint {path} holds weights for this model under {named}; save those of one")
    return usual[0]


def _likeliest(prefixes: set[str], own: Mapping[str, Any], state: Mapping[str, Any]) -> str:
    """The prefix under which most of the model's keys are: for a message."""
    return max(sorted(prefixes, key=len), key=lambda prefix: sum(prefix + key in state for key in own))


def _is_added(key: str, own: Mapping[str, Any]) -> bool:
    """Whether a key is of what a pass has added to the model: a mask, an adapter, the pruning of a layer's input."""
    parts = (key.rpartition(f".{name}.") for name in (adapters.NAME, input_pruning.NAME))
    added = any(name and f"{layer}.weight" in own for layer, name, _ in parts)
    return added or (key.endswith(SUFFIX) and key.removesuffix(SUFFIX) in own)


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:NAMED]) + (", ..." if len(keys) > NAMED else "")


def weights_of(model: nn.Module) -> State:
    """All that the model's state dict holds, on the CPU; tied weights stay tied."""
    seen: dict[tuple[Any, ...], Tensor] = {}
    found = {}
    for key, value in model.state_dict().items():
        if isinstance(value, Tensor):
            place = (value.device, value.data_ptr(), value.shape, value.stride(), value.dtype)
            found[key] = seen.setdefault(place if value.numel() else (key,), value.detach().to("cpu").clone())
    return found
