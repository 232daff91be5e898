"""Finding the targets of a model.

>>> [target.path for target in find_targets(nn.Sequential(nn.Linear(2, 2), nn.Flatten(), nn.Linear(2, 2)))]
['0', '2']
"""

from collections.abc import Iterator
from typing import Optional

from torch import nn

from fairseq.quantization.plan.target import TARGETS, TARGETS_BY_NAME, QuantizationTarget


def target_of(path: str, module: nn.Module) -> Optional[QuantizationTarget]:
    """The target of `module`, by the first of its classes that is registered; None if there is none."""
    found = (
        TARGETS.get(base) or TARGETS_BY_NAME.get(f"{base.__module__}.{base.__qualname__}")
        for base in type(module).__mro__
    )
    kind = next((each for each in found if each is not None), None)
    return None if kind is None else kind.of(path, module)


def find_targets(model: nn.Module) -> list[QuantizationTarget]:
    """Every target of `model`, in the order of its modules; a module shared between places appears once."""
    targets: list[QuantizationTarget] = []
    inside: Optional[str] = None  # children of such a target belong to it
    for path, module in model.named_modules():
        if inside is not None and path.startswith(inside):
            continue
        target = target_of(path, module)
        if target is not None:
            if path:
                target.placed_in(model.get_submodule(path.rpartition(".")[0]))
            targets.append(target)
            if target.owns_children:
                inside = f"{path}." if path else ""
    return targets


CLOSED = "fast_path_before_quantization"


def close_fast_paths(model: nn.Module) -> None:
    """Make torch's transformer layers call their submodules: their fused kernel would use the float weights."""
    for module, name in _fast_paths(model):
        vars(module).setdefault(CLOSED, getattr(module, name))
        setattr(module, name, 0)


def open_fast_paths(model: nn.Module) -> None:
    """Undo `close_fast_paths`."""
    for module, name in _fast_paths(model):
        if CLOSED in vars(module):
            setattr(module, name, vars(module).pop(CLOSED))


def _fast_paths(model: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """Each module that has a fast path, and the attribute that it asks before it takes it."""
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoderLayer):
            yield module, "activation_relu_or_gelu"
        elif isinstance(module, nn.TransformerEncoder):
            yield module, "use_nested_tensor"
