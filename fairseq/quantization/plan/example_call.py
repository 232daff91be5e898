"""Finding the functions that modules of a model multiply with, by one call of it.

    targets = function_targets(model, (tokens,))

The call is one of a copy that shares the parameters, in evaluation and without gradients; random numbers are drawn as
if there had been none. Calls of a function in one forward are named by their order, `matmul`, `matmul_1`.

>>> class Scores(nn.Module):
...     def forward(self, x):
...         return (x @ x.mT).softmax(-1) @ x
>>> [target.path for target in function_targets(nn.ModuleDict({"a": Scores()})["a"], torch.ones(2, 2))]
['matmul', 'matmul_1']
"""

import copy
import random
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor, nn

from fairseq.errors import ConfigError
from fairseq.quantization.forward_wrapper import ForwardWrapper
from fairseq.quantization.functions import attention, linear, products, sums  # noqa: F401  (each registers its kinds)
from fairseq.quantization.functions.base import FUNCTIONS, Shapes, bound
from fairseq.quantization.functions.forward import CallOrder, InterceptingMode, counts, obstacle, run_under
from fairseq.quantization.functions.names import PRODUCTS, SUMS
from fairseq.quantization.plan.target import QuantizationTarget
from fairseq.quantization.plan.targets.find import find_targets
from fairseq.quantization.plan.targets.functions import FunctionTarget, UnquantizedFunction, check_owner


class FoundCall(NamedTuple):
    """A call of a function: its name, the shapes of its tensors, and why it cannot be quantized, if so."""

    function: str
    shapes: Shapes
    obstacle: Optional[str]


def function_targets(model: nn.Module, inputs: Any) -> list[QuantizationTarget]:
    """A target for each call of a function that multiplies, in the order of `model`'s modules.

    Args:
        model: without quantizers.
        inputs: positional arguments as a tuple or list, keyword arguments as a mapping, or the only argument.

    Raises:
        ConfigError: the model cannot be copied, or not called with these inputs.
    """
    forwards = calls_of(model, inputs)
    targets: list[QuantizationTarget] = []
    for path, module in model.named_modules():
        if path in forwards:
            targets += _targets_of(path, module, forwards[path])
    return targets


def _targets_of(path: str, module: nn.Module, forwards: list[list[FoundCall]]) -> Iterator[QuantizationTarget]:
    reason = check_owner(path, module)
    taken = {name for name, _ in module.named_children()}
    first: dict[str, FoundCall] = {}
    names: dict[str, list[str]] = defaultdict(list)
    for forward in forwards:
        places: dict[str, int] = defaultdict(int)
        for call in forward:
            known = names[call.function]
            if places[call.function] == len(known):
                known.append(_free_name(call.function, len(known), taken))
                first[known[-1]] = call
            places[call.function] += 1
    orders = frozenset(tuple(call.function for call in forward) for forward in forwards)
    order = CallOrder(path, {function: tuple(known) for function, known in names.items()}, orders)
    for name, call in first.items():
        why_not = reason or call.obstacle
        if why_not is None:
            yield FunctionTarget(module, order, name, call.function, FUNCTIONS[call.function], call.shapes)
        elif call.function not in SUMS:
            yield UnquantizedFunction(module, path, name, call.function, why_not)


def _free_name(function: str, number: int, taken: set[str]) -> str:
    name = function if number == 0 else f"{function}_{number}"
    while name in taken:
        number += 1
        name = f"{function}_{number}"
    taken.add(name)
    return name


def calls_of(model: nn.Module, inputs: Any) -> dict[str, list[list[FoundCall]]]:
    """Path of a module -> for each of its calls, the functions that its forward called; only where there are any."""
    twin = _copy(model).eval()
    planned = {id(part) for target in find_targets(twin) if target.owns_children for part in target.module.modules()}
    found: dict[str, list[list[FoundCall]]] = {}
    for path, module in twin.named_modules():
        if id(module) not in planned:
            _Watched(module, found.setdefault(path, [])).install()
    args, kwargs = _arguments(inputs)
    with _as_if_never_called(model), torch.no_grad():
        try:
            twin(*args, **kwargs)
        except ConfigError:
            raise
        except Exception as error:
            first = str(error).partition("\n")[0]
            raise ConfigError(
                f"quantize_model: the model cannot be called with example_inputs: {type(error).__name__}: {first}"
            ) from error
    return {path: forwards for path, forwards in found.items() if any(forwards)}


class _Watched(ForwardWrapper):
    """The forward of a module, of which each call leaves a list of functions in `forwards`."""

    def __init__(self, module: nn.Module, forwards: list[list[FoundCall]]):
        super().__init__(module)
        self.forwards = forwards

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        _, forward, args = self.resolve(args)
        mode = _WatchingMode()
        result = run_under(mode, forward, args, kwargs)
        self.forwards.append(mode.calls)
        return result


class _WatchingMode(InterceptingMode):
    """Notes calls, and changes nothing."""

    watched = PRODUCTS | SUMS

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[FoundCall] = []

    def intercept(self, name: str, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if counts(name, args, kwargs):
            kind = FUNCTIONS.get(name)
            given = {} if kind is None else bound(kind.names, args, kwargs)
            tensors = [x for x in (given.get(each) for each in (kind.names if kind else ())) if isinstance(x, Tensor)]
            shapes = tuple(tuple(x.shape) for x in tensors)
            self.calls.append(FoundCall(name, shapes, obstacle(name, func, args, kwargs)))
        return func(*args, **kwargs)


def _arguments(inputs: Any) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    if isinstance(inputs, Mapping):
        return (), inputs
    return (tuple(inputs), {}) if isinstance(inputs, (tuple, list)) else ((inputs,), {})


def _copy(model: nn.Module) -> nn.Module:
    """A copy with the same parameters: caches and counters that a forward writes are its own."""
    try:
        return copy.deepcopy(model, {id(parameter): parameter for parameter in model.parameters()})
    except Exception as error:
        first = str(error).partition("\n")[0]
        raise ConfigError(
            f"quantize_model: the model cannot be copied for the call with example_inputs: {type(error).__name__}: "
            f"{first}; leave example_inputs away"
        ) from error


@contextmanager
def _as_if_never_called(model: nn.Module) -> Iterator[None]:
    """Random numbers go on after the block as before it."""
    numpy: Any = sys.modules.get("numpy")
    states = random.getstate(), numpy.random.get_state() if numpy is not None else None
    devices = sorted({p.device.index for p in model.parameters() if p.device.type == "cuda"})
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(states[0])
        if numpy is not None:
            numpy.random.set_state(states[1])
