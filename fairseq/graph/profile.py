"""Statistics of a model's weights and activations over batches, and of what its quantizers do to them.

    rows = profile(model, batches, by="type", match=["linear"],
                   weights={"variance_precise": {}}, activations={"range_quantile": {"quantile": 0.97}})

Hooks on the model's own modules see what goes in and what comes out; they are gone afterwards, also after an error. The
model runs in evaluation mode and without gradients, once, or as often as a statistic has to look at the same values
again, each time with the same random numbers. Statistics: `fairseq.graph.statistics`; those of quantizers:
`fairseq.graph.point_errors`.

>>> model = nn.Sequential(nn.Linear(4, 2), nn.ReLU())
>>> rows = profile(model, [torch.ones(3, 4)], by="type", match=["relu"], activations=["range_min_max"])
>>> [(row.module, row.type, row.tensor, row.statistics["range_min_max"]["count"]) for row in rows]
[('1', 'ReLU', 'input', 6), ('1', 'ReLU', 'output', 6)]
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional, Union

import torch
from torch import Tensor, nn

from fairseq.errors import ConfigError, DataError
from fairseq.graph.point_errors import PointError, Points, belongs_to
from fairseq.graph.selection import select
from fairseq.graph.statistics import Statistic, build_statistic
from fairseq.quantization.plan.targets import find_targets
from fairseq.quantization.quantized_model import call_with, get_quantization
from fairseq.quantization.quantizer import Quantizer

Wanted = Union[Mapping[str, Mapping[str, Any]], Sequence[str]]  # statistics with their settings, or by name alone
DEFAULT = ("variance_online", "range_min_max")


@dataclass
class ProfileRow:
    """What was found of one tensor of one module.

    Attributes:
        module: its path; of a quantization point the quantizer's.
        type: the module's class; of a quantization point its role and format.
        tensor: the parameter's name, `input`, `output`; with their place where there are several; for quantization
            points `before`, `after` and `error`.
        statistics: by name.
    """

    module: str
    type: str
    tensor: str
    statistics: dict[str, dict[str, Any]] = field(default_factory=dict)


class Collector:
    """Statistics of every tensor that was seen, in the order in which they were seen first."""

    def __init__(self, weights: dict[str, Any], activations: dict[str, Any]):
        self.weights, self.activations = weights, activations
        self.found: dict[tuple[str, str, str], dict[str, Statistic]] = {}
        self.active: Optional[set[Statistic]] = None  # those that want this pass; None: all do

    def add(self, module: str, kind: str, tensor: str, x: Tensor, wanted: dict[str, Any]) -> None:
        if not (wanted and x.is_floating_point()):
            return
        place = self.found.get((module, kind, tensor))
        if place is None:
            place = self.found[module, kind, tensor] = {
                name: build_statistic(name, **settings) for name, settings in wanted.items()
            }
        for statistic in place.values():
            if self.active is None or statistic in self.active:
                statistic.update(x)

    def add_point(self, quantizer: Quantizer, x: Tensor, result: Tensor, num_bits: int) -> None:
        path, kind = quantizer.path, f"{quantizer.role} quantizer"
        wanted = self.weights if quantizer.role == "weight" else self.activations
        self.add(path, kind, "before", x, wanted)
        self.add(path, kind, "after", result, wanted)
        place = self.found.setdefault((path, kind, "error"), {"error": PointError()})
        error = place["error"]
        if self.active is None and isinstance(error, PointError):
            error.add(quantizer, x, result, num_bits)

    def next_pass(self) -> bool:
        self.active = {
            statistic for place in self.found.values() for statistic in place.values()
            if (self.active is None or statistic in self.active) and statistic.next_pass()
        }  # fmt: skip
        return bool(self.active)

    def rows(self) -> list[ProfileRow]:
        return [
            ProfileRow(*key, {name: statistic.result() for name, statistic in place.items()})
            for key, place in self.found.items()
        ]


def profile(
    model: nn.Module,
    batches: Sequence[Any] = (),
    *,
    by: str = "type",
    match: Optional[Sequence[str]] = None,
    weights: Wanted = DEFAULT,
    activations: Wanted = DEFAULT,
    points: bool = True,
    num_bits: Optional[int] = None,
    run: Optional[Callable[[nn.Module, Any], Any]] = None,
) -> list[ProfileRow]:
    """Statistics per module and tensor.

    Args:
        batches: to run the model on; without any, only weights are looked at. They may be needed more than once.
        by, match: which modules: see `fairseq.graph.selection`. Without `match` all that compute something themselves.
        weights, activations: statistics of parameters, and of inputs and outputs; empty for none.
        points: also look at the quantizers in these modules.
        num_bits: of quantizers that follow; the declared evaluation bits if None.
        run: calls the model on a batch; by default a mapping holds its keyword arguments, a tuple positional ones.

    Raises:
        ConfigError: a statistic or a setting that does not exist, a pattern that matches nothing.
        DataError: none of the modules was called.
    """
    chosen = _own_work(model) if match is None else select(model, by, match)
    collector = Collector(_settings(weights), _settings(activations))
    quantization = get_quantization(model) if points else None
    wanted = belongs_to(chosen) if match is not None else lambda path: True
    with torch.no_grad(), evaluating(model), contextlib.ExitStack() as stack:
        if quantization is not None:
            stack.enter_context(quantization.context.running_at(num_bits))
        for path, module in chosen.items():
            _add_weights(collector, path, module)
        if quantization is not None:
            _add_weight_points(collector, model, wanted, num_bits or quantization.config.eval_bits)
        if batches and (collector.activations or quantization is not None):
            if quantization is not None:
                stack.enter_context(quantization.context.with_callback(Points(wanted, collector.add_point)))
            called: set[str] = set()
            if collector.activations:
                for path, module in chosen.items():
                    for handle in _hooks(collector, path, module, called):
                        stack.callback(handle.remove)
            while True:
                with torch.random.fork_rng():
                    for batch in batches:
                        (run or call_with)(model, batch)
                if collector.activations and not called and match is not None:
                    raise DataError(f"{', '.join(match)}: the model calls none of these modules on these batches")
                if not collector.next_pass():
                    break
    return collector.rows()


def _settings(wanted: Wanted) -> dict[str, Any]:
    if isinstance(wanted, str):
        raise ConfigError(f"statistics must be a list of names, such as [{wanted!r}], or settings by name")
    named = dict(wanted) if isinstance(wanted, Mapping) else {name: {} for name in wanted}
    for name, settings in named.items():
        build_statistic(name, **settings)
    return named


def _own_work(model: nn.Module) -> dict[str, nn.Module]:
    """Modules with parameters of their own or without children; of quantized layers only the layers."""
    return {
        path: module
        for path, module in model.named_modules()
        if module._parameters or not (module._modules or type(module).__module__.startswith("fairseq.quantization."))
    }


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model is in evaluation mode inside the block."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _add_weights(collector: Collector, path: str, module: nn.Module) -> None:
    parametrized = getattr(module, "parametrizations", {})  # of nn.utils.parametrize: what they give
    names = [name for name, value in module._parameters.items() if value is not None]
    for name in [*names, *parametrized]:
        collector.add(path, type(module).__name__, name, getattr(module, name), collector.weights)


def _add_weight_points(
    collector: Collector, model: nn.Module, wanted: Callable[[str], bool], num_bits: Optional[int]
) -> None:
    for target in find_targets(model):
        for quantizer, weight in target.weights():
            in_force = quantizer.bits(num_bits)
            if in_force is not None and wanted(quantizer.path):
                collector.add_point(quantizer, weight, quantizer.fake(weight, in_force), in_force)


def _hooks(collector: Collector, path: str, module: nn.Module, called: set[str]) -> list[Any]:
    kind = type(module).__name__

    def before(module: nn.Module, args: Any, kwargs: Any) -> None:
        called.add(path)
        every = [*args, *kwargs.values()]
        given = dict(
            tensors(every[0], "input") if len(every) == 1 else (*tensors(args, "input"), *tensors(kwargs, "input"))
        )
        for name, x in given.items():
            collector.add(path, kind, name, x, collector.activations)

    def after(module: nn.Module, args: Any, output: Any) -> None:
        for name, x in tensors(output, "output"):
            collector.add(path, kind, name, x, collector.activations)

    # before the module changes its input in place
    return [module.register_forward_pre_hook(before, with_kwargs=True), module.register_forward_hook(after)]


def tensors(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    """Tensors in an argument or an output, with their places.

    >>> [name for name, _ in tensors((torch.ones(1), None, {"mask": torch.ones(1)}), "input")]
    ['input[0]', 'input[2][mask]']
    """
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from tensors(part, f"{name}[{key}]")
    elif isinstance(value, (tuple, list)):
        for index, part in enumerate(value):
            yield from tensors(part, f"{name}[{index}]")
