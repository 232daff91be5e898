"""`watching`: calls of a quantized model, looked at from outside (`layers.py`) and from inside.

From inside, a callback of the quantization context notes which quantizers round, and what (`tensors.py`).
"""

import contextlib
from collections.abc import Iterator
from typing import Any, Optional

import torch
from torch import Tensor, nn

from fairseq.graph.masks import masks_of
from fairseq.graph.verification.layers import quantized_layers
from fairseq.graph.verification.tensors import TensorCheck
from fairseq.quantization.context import Operand
from fairseq.quantization.kernels.prepared_weight import PreparedWeight
from fairseq.quantization.layers.transposed_linear import QConv1D
from fairseq.quantization.plan.targets import find_targets
from fairseq.quantization.products.weighted import WeightedProduct
from fairseq.quantization.quantized_model import Quantization
from fairseq.quantization.quantizer import Quantizer
from fairseq.quantization.spec import WEIGHT


class Watch:
    """Callback; use `watching`.

    Attributes:
        layers: all that have quantizers.
        tensors: by the quantizer's path.
        rounded: paths of quantizers that have rounded a tensor.
        failures: of pruned weights, a line each.
    """

    def __init__(self, model: nn.Module):
        self.layers = list(quantized_layers(model))
        self._live = [module.path for module in model.modules() if isinstance(module, Quantizer)]
        self.tensors: dict[str, TensorCheck] = {}
        self.rounded: set[str] = set()
        self.failures: list[str] = []
        self._weights: dict[str, tuple[nn.Module, Quantizer, Tensor]] = {
            quantizer.path: (target.module, quantizer, weight)
            for target in find_targets(model) for quantizer, weight in target.weights()
        }  # fmt: skip
        self._products = {
            product.quantizer("weight").path: product
            for product in model.modules()
            if isinstance(product, WeightedProduct)
        }
        self._factors: dict[str, Tensor] = {}  # weights, as they were multiplied

    def quantized(self, quantizer: Any, x: Tensor, result: Tensor, num_bits: int, reused: bool) -> None:
        self.rounded.add(quantizer.path)
        if quantizer.path not in self._weights:
            self._check(quantizer, num_bits).add(x, result)

    def product(self, path: str, kind: str, left: Operand, right: Operand, macs: int) -> None:
        for side in (left, right):
            if side.quantizer is not None and side.num_bits is not None:
                self.rounded.add(side.quantizer.path)
                if side.quantizer.role == WEIGHT and kind == "forward":
                    self._factors[side.quantizer.path] = side.tensor.detach()

    def _check(self, quantizer: Quantizer, num_bits: int) -> TensorCheck:
        if quantizer.path not in self.tensors:
            self.tensors[quantizer.path] = TensorCheck(quantizer, num_bits)
        return self.tensors[quantizer.path]

    def conclude(self, planned: set[str], num_bits: Optional[int]) -> None:
        """Look at the weights, and at which of the `planned` quantizers have rounded."""
        owned = {path for layer in self.layers for path in layer.quantizers}
        self.failures += [
            f"{path}: bypassed, its layer has a forward of its own" for path in self._live if path in planned - owned
        ]
        for layer in self.layers:
            layer.conclude(planned, self.rounded)
        codes = {layer.row.layer: layer.integers for layer in self.layers if layer.integers is not None}
        for path, (module, quantizer, weight) in self._weights.items():
            bits = quantizer.bits(num_bits)
            if bits is not None:
                integers = codes.get(path.rpartition(".")[0])
                used = self._look(self._check(quantizer, bits), path, weight, bits, integers)
                self._look_for_zeros(path, module, quantizer, used)

    def _look(self, check: TensorCheck, path: str, weight: Tensor, bits: int, integers: Any) -> Tensor:
        """Check a weight as the layer has multiplied it; of a layer that was not called, as it would."""
        if integers is not None:
            packed = integers.packed()
            check.add_values(packed.values(), packed.qparams())
            check.stored = check.on_grid
            return packed.values()  # type: ignore[no-any-return]
        used = self._factors.get(path)
        if used is not None and not used.is_floating_point():  # codes, as integer products take them
            cached = self._products[path]._cached
            used = cached.value.values() if cached is not None and isinstance(cached.value, PreparedWeight) else None
        if used is None or used.numel() != weight.numel():
            used = check.quantizer.fake(weight.detach(), bits)
        check.add(weight.detach(), used.reshape(weight.shape))
        alone = TensorCheck(check.quantizer, bits)
        alone.add(weight.detach(), weight.detach())
        check.stored = alone.on_grid
        return used

    def _look_for_zeros(self, path: str, module: Any, quantizer: Quantizer, used: Tensor) -> None:
        """A pruned value has to be zero behind its quantizer, too."""
        mask = dict(masks_of(module)).get("weight")
        if mask is None or not path.endswith("weight"):
            return
        holder, kept = module.quantizers, mask.float()
        kept = (
            holder.matrix(kept.t() if isinstance(module, QConv1D) else kept)
            if isinstance(holder, WeightedProduct)
            else kept
        )
        lost = int((used.reshape(kept.shape)[kept == 0] != 0).count_nonzero())
        if lost:
            self.failures.append(
                f"{path}: {lost} pruned values are not zero behind the quantizer; the format {quantizer.format} has "
                "no exact zero"
            )


@contextlib.contextmanager
def watching(model: nn.Module, quantization: Quantization) -> Iterator[Watch]:
    """Watch the calls inside the block."""
    watch, context = Watch(model), quantization.context

    def bits(quantizer: Quantizer) -> Optional[int]:
        return quantizer.bits(context.resolve(None))

    with contextlib.ExitStack() as stack, torch.no_grad():
        stack.enter_context(context.with_callback(watch))
        for layer in watch.layers:
            stack.callback(layer.watch(bits))
        yield watch
