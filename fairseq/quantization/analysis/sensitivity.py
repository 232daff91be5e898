"""How much a model loses when one of its products runs at few bits and nothing else changes.

    for each candidate (bits, or a number format), for each product:
        round the product's operands to the candidate, leave all others as they are
        score the model on the same data, and compare its outputs

A product is what rows of the plan belong to: a layer (`layers.0.fc1`: its weight and its input) or a product of
activations (`layers.0.self_attn.qk_matmul`). Three measures for each:

    drop      how much worse the score is; coarse, as a score counts examples
    loss      how much the training loss rises
    change    sum (y' - y)^2 / sum y^2 over the model's outputs y; smooth, and needs no labels

To second order changes by independent errors add up, which is what a mixed plan counts on (`mixed_plan.py`).

>>> import torch
>>> from fairseq.quantization import quantize_model
>>> model, x = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2)), torch.randn(4, 8)
>>> model = quantize_model(model, "w8").eval()
>>> rows = one_at_a_time(model, [Candidate.of("3")], lambda model: Outcome(0.0, 0.0, [model(x)]))
>>> [(row.product, row.candidate.name, row.change > 0) for row in rows]
[('0', '3', True), ('2', '3', True)]
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor, nn

from fairseq.errors import ConfigError
from fairseq.quantization.analysis.bitops import watch_unquantized_products
from fairseq.quantization.formats import build_format
from fairseq.quantization.plan.targets import find_targets
from fairseq.quantization.products.product import ProductQuantizers
from fairseq.quantization.quantized_model import quantization_of
from fairseq.quantization.quantizer import Quantizer
from fairseq.quantization.spec import GRADIENT, QuantizerSpec


class Candidate(NamedTuple):
    """What a product may be rounded to.

    Attributes:
        name: as the user wrote it.
        bits: of its operands.
        format: a number format, None for that of each quantizer.
        bits_per_value: `bits`, and the format's share of the scales that it keeps in its blocks.
    """

    name: str
    bits: int
    format: Optional[str]
    bits_per_value: float

    @classmethod
    def of(cls, word: str) -> "Candidate":
        """From `4`, `fp4_e2m1` or `fixed_point:6`.

        Raises:
            ConfigError: no number, or no format; a format of any width without its bits.
        """
        if word.isdecimal():
            return cls(word, int(word), None, float(word))
        name, _, bits = word.partition(":")
        number_format = build_format(name, f"candidate {word!r}")
        if not bits and number_format.fixed_bits is None:
            raise ConfigError(f"candidate {word!r}: say how many bits, for example {name}:{number_format.min_bits + 2}")
        if bits and not bits.isdecimal():
            raise ConfigError(f"candidate {word!r}: {bits!r} is no number of bits; write {name}:4")
        width = number_format.check_bits(int(bits) if bits else number_format.fixed_bits, f"candidate {word!r}")
        return cls(word, width, name, number_format.bits_per_value(width))


class Outcome(NamedTuple):
    """What a model does on some data: a score (more is better), the training loss, its outputs (none if not kept)."""

    score: float
    loss: float
    outputs: Sequence[Tensor]


@dataclass
class SensitivityRow:
    """One product at one candidate.

    Attributes:
        product: its path.
        quantizers: paths of its operands.
        parameters: values in its weight, 0 where it has none.
        macs: its multiply-accumulates on the data.
        drop, loss, change: see above; `change` is None where outputs were not kept.
    """

    product: str
    quantizers: tuple[str, ...]
    candidate: Candidate
    parameters: int
    macs: float
    drop: float = math.nan
    loss: float = math.nan
    change: Optional[float] = None


class Switches:
    """The quantizers of a model, whose bits can be changed between calls.

    Args:
        model: quantized; products are simulated.
        rest: bits of all that is not switched to others, 0 for full precision; None: their own.
    """

    def __init__(self, model: nn.Module, rest: Optional[int] = None):
        self.model = model
        rows = quantization_of(model).plan.rows
        found = {module.path: module for module in model.modules() if isinstance(module, Quantizer)}
        self.quantizers = {row.quantizer: found[row.quantizer] for row in rows if row.active and row.role != GRADIENT}
        self.products: dict[str, list[str]] = {}
        for row in rows:
            if row.quantizer in self.quantizers and row.product is not None:
                self.products.setdefault(row.product, []).append(row.quantizer)
        owners = [module for module in model.modules() if isinstance(module, ProductQuantizers)]
        self._owners = {child: owner for owner in owners for child in owner.children()}
        self.usual = {path: self._at(quantizer.spec, rest) for path, quantizer in self.quantizers.items()}

    @staticmethod
    def _at(spec: QuantizerSpec, bits: Optional[int]) -> QuantizerSpec:
        return spec if bits is None else replace(spec, bits=bits) if bits else replace(spec, quantize=False)

    def set(self, bits: dict[str, int]) -> None:
        """Products of these paths run at these bits, all others as usual.

        Raises:
            ConfigError: a quantizer's format has no such bits.
        """
        chosen = {quantizer: number for path, number in bits.items() for quantizer in self.products[path]}
        for path, quantizer in self.quantizers.items():
            spec = self.usual[path]
            if path in chosen:
                quantizer.format.check_bits(chosen[path], path)
                spec = replace(quantizer.spec, quantize=True, bits=chosen[path])
            if spec != quantizer.spec:
                quantizer.spec = spec
                if quantizer in self._owners:
                    self._owners[quantizer].forget_bits()


class _Macs:
    """Callback that adds up the multiply-accumulates of each product's forward pass."""

    counts_only = True

    def __init__(self) -> None:
        self.by_path: dict[str, float] = {}

    def product(self, path: str, kind: str, left: Any, right: Any, macs: int) -> None:
        self.by_path[path] = self.by_path.get(path, 0.0) + macs

    def quantized(self, quantizer: Any, x: Tensor, result: Tensor, num_bits: int, reused: bool) -> None:
        pass


Score = Callable[[nn.Module], Outcome]


def baseline(switches: Switches, score: Score) -> tuple[Outcome, dict[str, float]]:
    """The outcome with every product as usual, and the multiply-accumulates of each."""
    counting, context = _Macs(), quantization_of(switches.model).context
    handles = watch_unquantized_products(switches.model, context)
    try:
        switches.set({})
        with context.with_callback(counting):
            return score(switches.model), counting.by_path
    finally:
        for handle in handles:
            handle.remove()


def one_at_a_time(
    model: nn.Module, candidates: Sequence[Candidate], score: Score, rest: Optional[int] = 0
) -> Iterator[SensitivityRow]:
    """One row for each candidate and product, as they are measured.

    Args:
        model: quantized and calibrated, in evaluation mode; at its end all its products are as usual.
        candidates: their format, where they name one, is that of the model's quantizers already.
        score: runs the model on the data, without gradients.
        rest: bits of all other products, 0 for full precision; None: as the model evaluates.
    """
    switches = Switches(model, rest)
    before, macs = baseline(switches, score)
    sizes = {quantizer.path: weight.numel() for target in find_targets(model) for quantizer, weight in target.weights()}
    for candidate in candidates:
        for path, quantizers in switches.products.items():
            switches.set({path: candidate.bits})
            parameters = sum(sizes.get(quantizer, 0) for quantizer in quantizers)
            row = SensitivityRow(path, tuple(quantizers), candidate, parameters, macs.get(path, 0.0))
            compare(row, before, score(model))
            yield row
    switches.set({})


@torch.no_grad()
def compare(row: SensitivityRow, before: Outcome, after: Outcome) -> None:
    """Write into `row` how `after` differs from `before`."""
    row.drop, row.loss = before.score - after.score, after.loss - before.loss
    if before.outputs and after.outputs:
        moved = sum(
            float((new - old).double().square().sum()) for old, new in zip(before.outputs, after.outputs, strict=True)
        )
        whole = sum(float(old.double().square().sum()) for old in before.outputs)
        row.change = moved / whole if whole else math.nan


def split_path(product: str) -> tuple[str, str]:
    """The layer that a product is in, and what it is there.

    >>> split_path("encoder.layers.3.self_attn.q_proj"), split_path("head.dense")
    (('encoder.layers.3', 'self_attn.q_proj'), ('head', 'dense'))
    """
    parts = product.split(".")
    numbers = [index for index, part in enumerate(parts[:-1]) if part.isdecimal()]
    cut = numbers[0] + 1 if numbers else max(len(parts) - 1, 0)
    return ".".join(parts[:cut]), ".".join(parts[cut:])
