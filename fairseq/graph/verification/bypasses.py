"""Weights that are multiplied as they are though the plan rounds them: a forward that takes a layer's weight without
calling the layer, a hook that does the layer's work once more.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Optional

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from fairseq.graph.verification.layers import Layer
from fairseq.quantization.analysis.gemm_operators import products_of


class WeightProducts(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Dispatch mode that notes products of the weights of `layers` which a quantizer should have rounded.

    Args:
        model: its weights that several modules share do not count, as one of these may leave them in full precision.
        layers: with quantizers.
        planned: paths of the quantizers that are switched on.

    Attributes:
        found: path of the weight's quantizer -> the operator that multiplied it.
    """

    def __init__(self, model: nn.Module, layers: list[Layer], planned: set[str]):
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: dict[str, str] = {}
        uses = Counter(_memory(parameter) for _, parameter in model.named_parameters(remove_duplicate=False))
        self._weights: dict[int, str] = {}
        for layer in layers:
            weight = layer.module._parameters.get("weight")
            path = f"{layer.row.layer}.weight".lstrip(".")
            if weight is not None and path in planned and uses[_memory(weight)] == 1:
                self._weights[_memory(weight)] = path

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Optional[Mapping[str, Any]] = None
    ) -> Any:
        kwargs = kwargs or {}
        for _, *factors in products_of(func.overloadpacket, args, kwargs):
            for factor in factors:
                path = self._weights.get(_memory(factor))
                if path is not None:
                    self.found.setdefault(path, func.overloadpacket.__name__)
        return func(*args, **kwargs)

    def failures(self) -> list[str]:
        """A line for each weight."""
        return [
            f"{path}: bypassed, {operator} multiplies the weight as it is, past its quantizer"
            for path, operator in self.found.items()
        ]


def _memory(x: Tensor) -> int:
    return x.untyped_storage().data_ptr()
