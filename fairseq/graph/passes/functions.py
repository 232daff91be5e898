"""Functions that a model calls, `q @ k.mT` or `x + y`, as targets of the pass `quantize`.

A call is named by the module whose forward makes it and its function, `encoder.layers.0.matmul`, the second one of a
forward `matmul_1`; by type it is `matmul`, whether it is written `torch.matmul`, `Tensor.matmul` or `@`.
"""

import copy
from types import SimpleNamespace
from typing import Optional

from fairseq.errors import ConfigError
from fairseq.graph.model_graph import ModelGraph
from fairseq.graph.passes.select import expression_of, plain
from fairseq.graph.tracing import example_inputs
from fairseq.quantization.convert import remove_quantization
from fairseq.quantization.functions.base import FUNCTIONS
from fairseq.quantization.functions.names import function_name
from fairseq.quantization.plan.example_call import function_targets
from fairseq.quantization.plan.target import QuantizationTarget
from fairseq.quantization.plan.targets.functions import FunctionTarget, UnquantizedFunction

CALLS = ("call_function", "call_method")


class Functions:
    """The calls of functions in a model that can have quantizers; found when they are first asked for.

    Args:
        graph: of the model; with inputs, on which a copy is called once.
    """

    def __init__(self, graph: ModelGraph):
        self.graph = graph
        self._targets: Optional[list[QuantizationTarget]] = None

    @property
    def words(self) -> set[str]:
        """Names of the functions that nodes call."""
        types = (SimpleNamespace(__name__=info.type) for info in self.graph.nodes if info.kind in CALLS)
        return {plain(function_name(each)) for each in types}

    def targets(self) -> list[QuantizationTarget]:
        if self._targets is None:
            if self.graph.inputs is None:
                raise ConfigError(
                    "functions are found by a call of the model; trace it with inputs, such as "
                    f"{example_inputs(self.graph.model)}"
                )
            model = remove_quantization(copy.deepcopy(self.graph.model))
            found = function_targets(model, self.graph.inputs)
            self._targets = [each for each in found if isinstance(each, (FunctionTarget, UnquantizedFunction))]
        return self._targets

    def matched(self, pattern: str, way: str) -> dict[str, QuantizationTarget]:
        """Path of a call -> its target, for the calls that `pattern` means.

        Raises:
            ConfigError: it means calls that cannot have quantizers; says which can.
        """
        if way == "type" and plain(pattern) not in self.words:
            return {}
        if way == "type" and plain(pattern) not in {plain(name) for name in FUNCTIONS}:
            raise ConfigError(
                f"{pattern!r} is called as a function, which has no quantizers; use a module of torch.nn there. "
                f"Functions with quantizers are {', '.join(sorted(FUNCTIONS))}"
            )
        found = {each.path: each for each in self.targets() if _means(pattern, way, each)}
        for path, each in found.items():
            if isinstance(each, UnquantizedFunction):
                raise ConfigError(f"{path!r} cannot be quantized: {each.reason}")
        return found


def _means(pattern: str, way: str, target: QuantizationTarget) -> bool:
    if way == "type":
        return plain(target.function) == plain(pattern)  # type: ignore[attr-defined]
    if way == "name":
        return target.path == pattern
    return expression_of(pattern).fullmatch(target.path) is not None
