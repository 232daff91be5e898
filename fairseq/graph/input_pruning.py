"""Layers whose input is pruned: in each call some of its elements become zero before the layer, and its quantizers.

    magnitude   the smallest of each example; of equal ones the first
    random      the same places in every call, drawn from a seed for the size of an example

Of n elements of an example, round(sparsity n) become zero, or all but n of each m neighbours on the axis of features.
The settings stand in the state dict as `input_pruning._extra_state`; gradients pass where elements stay.

>>> layer = nn.Linear(4, 1)
>>> pruning = attach(layer, Settings("magnitude", 0.5))
>>> pruning(torch.tensor([[1.0, -3.0, 2.0, 0.5]]), layer).tolist(), pruning_parts(layer)
([[0.0, -3.0, 2.0, 0.0]], ['input: magnitude 0.5 pruned'])
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Optional

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from fairseq.errors import ConfigError
from fairseq.graph.passes.importance import keep_n_of_m, lowest_of_rows

NAME = "input_pruning"


@dataclass(frozen=True)
class Settings:
    """Of one layer.

    Attributes:
        method: magnitude or random.
        sparsity: share of an example's elements.
        n, m: how many of m neighbours stay, in place of a share; 0 without.
        seed: of random.
    """

    method: str
    sparsity: float
    n: int = 0
    m: int = 0
    seed: int = 1


class InputPruning(nn.Module):
    """Makes elements of a layer's input zero."""

    def __init__(self, settings: Settings):
        super().__init__()
        self.settings = settings

    def forward(self, x: Tensor, layer: nn.Module) -> Tensor:
        """`x` with zeros, of the same shape."""
        own, features = self.settings, 1 - layer.weight.dim() if isinstance(layer, _ConvNd) else -1
        single = x.dim() == layer.weight.dim() - 1 if isinstance(layer, _ConvNd) else x.dim() == 1
        examples = x.detach().unsqueeze(0) if single else x.detach()
        scores = examples.abs()
        if own.method == "random":
            drawn = torch.rand(examples.shape[1:], generator=torch.Generator().manual_seed(own.seed))
            scores = drawn.to(x.device).expand(examples.shape)
        if own.m:
            last = scores.movedim(features, -1)
            kept = keep_n_of_m(last, own.n, own.m).movedim(-1, features)
        else:
            kept = ~_lowest(scores.flatten(1), own.sparsity).view(scores.shape)
        return x.masked_fill(~(kept.squeeze(0) if single else kept), 0)

    def get_extra_state(self) -> Tensor:
        return torch.tensor(list(json.dumps(asdict(self.settings), sort_keys=True).encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        self.settings = read_settings(state)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in asdict(self.settings).items())


def _lowest(rows: Tensor, share: float) -> Tensor:
    """Where the lowest of each row are, a share of them; of equal ones the first."""
    size = rows.shape[1]
    if isinstance(size, torch.SymInt):  # of a trace, which must not fix it; halves are rounded down
        return rows.argsort(dim=1, stable=True).argsort(dim=1) + 0.5 < share * size
    return lowest_of_rows(rows, round(share * size))


class PruneInput:
    """The hook of a layer whose input is pruned."""

    def __call__(self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        pruning = pruning_of(layer)
        if pruning is None:
            return None
        if args:
            return (pruning(args[0], layer), *args[1:]), kwargs
        name = "input" if "input" in kwargs else "x"
        return args, {**kwargs, name: pruning(kwargs[name], layer)}


def attach(layer: nn.Module, settings: Settings) -> InputPruning:
    """Prune the input of `layer` from now on; what was set before is replaced."""
    pruning = pruning_of(layer)
    if pruning is None:
        pruning = InputPruning(settings)
        layer.add_module(NAME, pruning)
        layer.register_forward_pre_hook(PruneInput(), with_kwargs=True)
    pruning.settings = settings
    return pruning


def detach(layer: nn.Module) -> None:
    """Take its input as it is again."""
    layer._modules.pop(NAME, None)
    for key in [key for key, hook in layer._forward_pre_hooks.items() if isinstance(hook, PruneInput)]:
        del layer._forward_pre_hooks[key]
        layer._forward_pre_hooks_with_kwargs.pop(key, None)


def pruning_of(layer: nn.Module) -> Optional[InputPruning]:
    """What prunes the input of a layer; None if nothing does."""
    found = layer._modules.get(NAME)
    return found if isinstance(found, InputPruning) else None


def pruned_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Path and layer, for layers whose input is pruned."""
    for path, module in model.named_modules():
        if pruning_of(module) is not None:
            yield path, module


def pruning_parts(layer: nn.Module) -> list[str]:
    """How a layer's input is pruned, in words."""
    pruning = pruning_of(layer)
    if pruning is None:
        return []
    own = pruning.settings
    return [f"input: {own.method} {f'{own.n}:{own.m}' if own.m else f'{own.sparsity:g}'} pruned"]


def read_settings(state: Tensor) -> Settings:
    """The settings that `get_extra_state` has written."""
    return Settings(**json.loads(bytes(state.tolist()).decode()))


def restore(model: nn.Module, state: Mapping[str, Any]) -> list[str]:
    """Prune the inputs that the model of a saved state pruned. Paths of the layers.

    Raises:
        ConfigError: a layer that the model does not have.
    """
    ending, modules, found = f".{NAME}._extra_state", dict(model.named_modules()), []
    for key, value in state.items():
        if f".{key}".endswith(ending):
            path = f".{key}".removesuffix(ending).lstrip(".")
            if path not in modules:
                raise ConfigError(f"the state prunes the input of {path!r}, which the model does not have")
            attach(modules[path], read_settings(value))
            found.append(path)
    return found
