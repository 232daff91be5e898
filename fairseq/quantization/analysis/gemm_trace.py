"""Proof that nothing is bypassed: every matrix product that runs, with its FLOPs, its bits, and who asked for it.

A dispatch mode sees each GEMM that torch carries out, forward and backward, whatever Python called it. The quantized
layers tell which tensors they are about to multiply. Put together, each GEMM is either known to a quantizer's product,
at given bits, or in full precision. The levels of quantized operands are counted, not believed.

    with trace_gemms(model) as trace:
        model(x).sum().backward()
    trace.check(model.quantization.plan)       # ConfigError if a GEMM bypassed its quantizers
    print(trace.table())
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Optional

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode

from fairseq.errors import TrainingError
from fairseq.quantization.analysis.gemm_operators import products_of
from fairseq.quantization.context import Operand
from fairseq.quantization.plan.table import Plan, align
from fairseq.quantization.quantized_model import get_quantization
from fairseq.quantization.quantizer import Quantizer


@dataclass(frozen=True)
class Gemm:
    """One matrix product that ran.

    Attributes:
        operator: the ATen operator.
        flops: two per multiply-accumulate.
        path: the quantized product, or the module under way, that asked for it.
        kind: forward, grad_input or grad_weight of a quantized product; "" for others.
        bits: planned bits of both factors; None is full precision.
        levels: the most distinct values that any scale of each factor covers; None where not counted.
        allowed: the most that its number format has at those bits; None in full precision.
    """

    operator: str
    flops: int
    path: str
    kind: str
    bits: tuple[Optional[int], Optional[int]]
    levels: tuple[Optional[int], Optional[int]]
    allowed: tuple[Optional[int], Optional[int]] = (None, None)

    @property
    def is_quantized(self) -> bool:
        """Whether any factor has been quantized."""
        return self.bits != (None, None)


class GemmTrace(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Dispatch mode and callback; use `trace_gemms`."""

    def __init__(self, model: nn.Module):
        super().__init__()  # type: ignore[no-untyped-call]
        self.gemms: list[Gemm] = []
        self._announced: list[tuple[str, str, Operand, Operand]] = []
        self._under_way: list[str] = []  # modules whose forward runs
        # who multiplied what is at this address; the tensors are kept so that no address is used twice
        self._owners = {_memory(parameter): path.rpartition(".")[0] for path, parameter in model.named_parameters()}
        self._kept: list[Tensor] = []

    def enter(self, path: str) -> None:
        """A module's forward begins."""
        self._under_way.append(path)

    def leave(self) -> None:
        """A module's forward ends."""
        self._under_way.pop()

    # --- what the quantized layers tell ---------------------------------------------------------------------------

    def product(self, path: str, kind: str, left: Operand, right: Operand, macs: int) -> None:
        self._announced.append((path, kind, left, right))

    def quantized(self, quantizer: Any, x: Tensor, result: Tensor, num_bits: int, reused: bool) -> None:
        pass

    # --- what torch does ------------------------------------------------------------------------------------------

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Optional[Mapping[str, Any]] = None
    ) -> Any:
        kwargs = kwargs or {}
        for flops, a, b in products_of(func.overloadpacket, args, kwargs):
            self._record(func.overloadpacket.__name__, flops, a, b)
        return func(*args, **kwargs)

    def _record(self, operator: str, flops: int, a: Tensor, b: Tensor) -> None:
        matched = self._match(a, b)
        if matched is None:
            path = self._attribute(a, b)
            self.gemms.append(Gemm(operator, flops, path, "", (None, None), (None, None)))
            return
        path, kind, left, right = matched
        bits = (left.num_bits, right.num_bits)
        counted, most = (levels(left), levels(right)), (allowed_levels(left), allowed_levels(right))
        self.gemms.append(Gemm(operator, flops, path, kind, bits, counted, most))

    def _match(self, a: Tensor, b: Tensor) -> Optional[tuple[str, str, Operand, Operand]]:
        """The announced product whose operands these are: in either order, maybe reshaped or transposed."""
        memory = {_memory(a), _memory(b)}
        for index in range(len(self._announced) - 1, -1, -1):
            entry = self._announced[index]
            factors = (side.tensor if side.factor is None else side.factor for side in entry[2:])
            if {_memory(factor) for factor in factors} == memory:
                del self._announced[index]  # a GEMM answers to one announcement
                return entry
        return None

    def _attribute(self, a: Tensor, b: Tensor) -> str:
        """The module behind a GEMM in full precision; in backward, the one that multiplied a factor before."""
        if torch._C._current_graph_task_id() == -1 and self._under_way:
            path = self._under_way[-1]
            for x in (a, b):
                self._owners.setdefault(_memory(x), path)
                self._kept.append(x)
            return path
        return next((self._owners[_memory(x)] for x in (b, a) if _memory(x) in self._owners), "")

    # --- results --------------------------------------------------------------------------------------------------

    @property
    def total_flops(self) -> int:
        """FLOPs of all GEMMs."""
        return sum(gemm.flops for gemm in self.gemms)

    @property
    def quantized_flops(self) -> int:
        """FLOPs of GEMMs with a quantized factor."""
        return sum(gemm.flops for gemm in self.gemms if gemm.is_quantized)

    def full_precision(self) -> dict[str, int]:
        """FLOPs of GEMMs in full precision, by the module that asked for them."""
        found: dict[str, int] = {}
        for gemm in self.gemms:
            if not gemm.is_quantized:
                found[gemm.path] = found.get(gemm.path, 0) + gemm.flops
        return found

    def check(self, plan: Plan) -> None:
        """TrainingError if the plan does not hold: a product without its quantizers, or more levels than bits allow.

        Every quantized product of the plan must have run, and every GEMM in full precision must lie outside them.
        """
        ran = {gemm.path for gemm in self.gemms if gemm.is_quantized}
        for row in plan.active:
            if row.product is not None and row.product not in ran:
                raise TrainingError(f"quantization: the product {row.product!r} is planned, but did not run quantized")
        # operands of products are named after the module that owns the product: nothing of it may run elsewhere
        planned = {
            name for row in plan.active if row.product for name in (row.product, row.quantizer.rpartition(".")[0])
        }
        for path, flops in self.full_precision().items():
            if path in planned:
                raise TrainingError(f"quantization: {path!r} ran {flops} FLOPs of GEMMs past its quantizers")
        for gemm in self.gemms:
            for bits, count, allowed in zip(gemm.bits, gemm.levels, gemm.allowed, strict=True):
                if count is not None and allowed is not None and count > allowed:
                    what = f"{gemm.path!r} ({gemm.kind}) multiplied {count} levels"
                    raise TrainingError(f"quantization: {what}, {bits} bits of its format allow {allowed}")

    def table(self) -> str:
        """One row per product and kind, in full precision per module."""
        rows = [
            {
                "product": gemm.path or "(model)",
                "kind": gemm.kind or gemm.operator,
                "bits": " x ".join(str(bits or 32) for bits in gemm.bits),
                "levels": " x ".join("-" if count is None else str(count) for count in gemm.levels),
                "FLOPs": str(gemm.flops),
            }
            for gemm in self.gemms
        ]
        return align(rows)


def _memory(x: Tensor) -> int:
    return x.untyped_storage().data_ptr()


def levels(operand: Operand) -> Optional[int]:
    """The largest number of distinct values that share a scale; None for a factor in full precision."""
    quantizer: Quantizer = operand.quantizer
    if operand.num_bits is None or operand.tensor.numel() == 0:
        return None
    x = operand.tensor.detach()
    granularity = quantizer.granularity
    if granularity.kind == "tensor":
        return distinct(x)
    most = 0
    for piece in granularity.pieces(x):
        shared = granularity.reduced(piece)
        kept = [axis for axis in range(piece.dim()) if axis not in shared]
        sharing = piece.permute(*kept, *shared).reshape(-1, *(piece.shape[axis] for axis in shared)).flatten(1)
        most = max(most, *(distinct(row) for row in sharing))
    return most


def allowed_levels(operand: Operand) -> Optional[int]:
    """How many values the operand's number format has for one scale; None for a factor in full precision."""
    if operand.num_bits is None:
        return None
    quantizer: Quantizer = operand.quantizer
    return quantizer.format.num_levels(operand.num_bits)


def distinct(x: Tensor) -> int:
    """The number of distinct values."""
    return int(torch.unique(x).numel())


@contextmanager
def trace_gemms(model: nn.Module) -> Iterator[GemmTrace]:
    """Record every GEMM inside the block. Slow: for tests and diagnosis on small inputs."""
    quantization = get_quantization(model)
    trace = GemmTrace(model)
    paths = {module: path for path, module in model.named_modules()}

    def before(module: nn.Module, args: Any) -> None:
        if module in paths:
            trace.enter(paths[module])

    def after(module: nn.Module, args: Any, output: Any) -> None:
        if module in paths:
            trace.leave()

    # hooks on the modules themselves would close fast paths that are open without them
    handles = [
        register_module_forward_pre_hook(before),
        register_module_forward_hook(after, always_call=True),
    ]
    with_callback = nullcontext() if quantization is None else quantization.context.with_callback(trace)
    try:
        with with_callback, trace:
            yield trace
    finally:
        for handle in handles:
            handle.remove()
