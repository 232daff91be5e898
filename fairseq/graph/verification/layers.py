"""One quantized layer, or function that a forward calls, while the model runs: what it gives, held against references.

A result passes where its distance to the reference is below a quarter of the reference's own distance to full
precision, and below 1e-4 where no later rounding can enlarge what sums in another order differ by.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Optional

import torch
from torch import nn

from fairseq.graph.adapters import AddChange, adapter_of
from fairseq.graph.verification.distance import coarseness, distance, kept
from fairseq.graph.verification.references import Bits, Reference, function_references, references, steps_of_torch
from fairseq.quantization.functions.base import QuantizedFunction
from fairseq.quantization.functions.forward import CHILD, FunctionQuantizers
from fairseq.quantization.layers.elementwise import ElementwiseQuantizers
from fairseq.quantization.plan.targets import UnsupportedTarget, find_targets
from fairseq.quantization.products.weighted import WeightedProduct
from fairseq.quantization.quantizer import Quantizer
from fairseq.quantization.spec import GRADIENT

CLOSE, SHARE, NOISE = 1e-4, 0.25, 4e-6


@dataclass
class LayerRow:
    """One quantized layer.

    Attributes:
        layer: its path.
        type: its class, or its function.
        calls: how often it was called.
        quantizers: those that the plan has for its forward.
        used: how many of them rounded.
        from_float: the reference's distance to full precision, the largest of all calls; None without a reference.
        from_reference: the layer's distance to the reference.
        failure: what is wrong, on one line.
    """

    layer: str
    type: str
    calls: int = 0
    quantizers: int = 0
    used: int = 0
    from_float: Optional[float] = None
    from_reference: Optional[float] = None
    failure: Optional[str] = None


@dataclass
class Layer:
    """A layer or a function that has quantizers.

    Attributes:
        module: the layer, or the module whose forward calls the function.
        holder: what holds the quantizers.
        row: what is found.
    """

    module: Any
    holder: Any
    row: LayerRow
    _given: list[tuple[Any, Any]] = field(default_factory=list)  # arguments of calls that are under way

    @property
    def place(self) -> str:
        """In messages."""
        return self.row.layer or "the model"

    @property
    def quantizers(self) -> dict[str, Quantizer]:
        """Those of its forward, by path."""
        found = (part for part in self.holder.modules() if isinstance(part, Quantizer) and part.role != GRADIENT)
        return {quantizer.path: quantizer for quantizer in found}

    @property
    def integers(self) -> Any:
        """The codes in its weight's place, if any."""
        return getattr(self.holder, "integers", None)

    def watch(self, bits: Bits) -> Callable[[], None]:
        """Compare every call from now on; gives what ends it."""
        if isinstance(self.holder, QuantizedFunction):
            return self._watch_function(bits)
        module = self.module

        def before(module: nn.Module, args: Any, kwargs: Any) -> None:
            self._given.append((kept(args), kept(kwargs)))

        def after(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            args, kwargs = self._given.pop()
            self.row.calls += 1
            with torch.no_grad():
                self.compare(output, _adapted(references(module, args, kwargs, bits), module, args, kwargs))
                if self.row.calls == 1:
                    self._check_steps(steps_of_torch(module, args, kwargs))

        # quantizers that are hooks themselves round what this one has to see
        first = isinstance(self.holder, ElementwiseQuantizers)
        handles = [
            module.register_forward_pre_hook(before, with_kwargs=True, prepend=first),
            module.register_forward_hook(after, with_kwargs=True),
        ]

        def end() -> None:
            for handle in handles:
                handle.remove()

        return end

    def _watch_function(self, bits: Bits) -> Callable[[], None]:
        function: QuantizedFunction = self.holder
        run = function.run
        for part in function.modules():
            if isinstance(part, WeightedProduct):
                part._cached = None  # so that its weight is seen

        def watched(torchs: Any, args: Any, kwargs: Any) -> Any:
            given = kept(args), kept(dict(kwargs))
            output = run(torchs, args, kwargs)
            with torch.no_grad():
                self.compare(output, function_references(function, torchs, *given, bits))
            return output

        def called(module: nn.Module, args: Any) -> None:
            self.row.calls += 1

        function.__dict__["run"] = watched
        handle = self.module.register_forward_pre_hook(called)

        def end() -> None:
            handle.remove()
            del function.__dict__["run"]

        return end

    def compare(self, output: Any, reference: Optional[Reference]) -> None:
        """Take account of one call's result."""
        if reference is None:
            return
        row = self.row
        off, effect = distance(output, reference.rounded), distance(reference.exact, reference.rounded)
        row.from_reference = max(row.from_reference or 0.0, off)
        row.from_float = max(row.from_float or 0.0, effect)
        limit = SHARE * effect if reference.settles else min(SHARE * effect, CLOSE)
        if off <= max(limit, NOISE * coarseness(output)):
            return
        if distance(output, reference.exact) < off:
            self._fail(f"bypassed, gives the result of full precision ({off:.2g} off the reference)")
        else:
            self._fail(f"its result is {off:.2g} off the reference, where rounding changes it by {effect:.2g}")

    def _check_steps(self, pair: Optional[tuple[Any, Any]]) -> None:
        if pair is not None and distance(*pair) > CLOSE * max(1.0, coarseness(pair[0])):
            self._fail(f"without rounding, its steps are {distance(*pair):.2g} off torch's")

    def conclude(self, planned: set[str], rounded: set[str]) -> None:
        """Compare the quantizers that have `rounded` with the `planned` ones."""
        own = [path for path in self.quantizers if path in planned]
        idle = [path for path in own if path not in rounded]
        if self.integers is not None:  # which nothing rounds any more
            idle = [path for path in idle if not path.endswith("weight")]
        self.row.quantizers, self.row.used = len(own), len(own) - len(idle)
        if self.row.calls and idle:
            self.row.failure = None
            self._fail(f"bypassed, its quantizer {idle[0]} rounds nothing")

    def _fail(self, words: str) -> None:
        self.row.failure = self.row.failure or f"{self.place}: {words}"


def _adapted(reference: Optional[Reference], module: nn.Module, args: Any, kwargs: Any) -> Optional[Reference]:
    """What the layer's adapter, if it has one, makes of the results."""
    if reference is None or adapter_of(module) is None:
        return reference
    rounded, exact = (AddChange()(module, args, kwargs, y) for y in reference[:2])
    return reference._replace(rounded=rounded, exact=exact)


def quantized_layers(model: nn.Module) -> Iterator[Layer]:
    """Every layer and function of `model` that has quantizers."""
    for target in find_targets(model):
        holder: Any = getattr(target.module, "quantizers", None)
        supported = target.quantizers and not isinstance(target, UnsupportedTarget)
        if supported and isinstance(holder, nn.Module):
            yield Layer(target.module, holder, LayerRow(target.path, target.kind))
    for module in model.modules():
        held = module._modules.get(CHILD)
        if isinstance(held, FunctionQuantizers):
            for function in held.functions():
                yield Layer(module, function, LayerRow(function.path, f"function {function.function}"))
