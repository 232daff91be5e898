"""Attention between its projections on codes, in one piece: the same codes, masks and gradients as step by step.

    scores = Q(f q) Q(k)^T + mask,   probs = dropout(softmax(scores)),   context = Q(probs) Q(v)

`MultiheadAttention` does this through two products; `integer_attention` takes over where both run on codes with one
scale per tensor and no callback or hook needs what is between them. Everything else (a range other than minimum and
maximum, more than 8 bits, hooks, other types, a machine without a compiler) goes step by step. Rows of q, k and v may
lie at any distance, so heads are never copied, and the context comes in (time, batch, channel) order, with its
range cached.

Shapes: B batch, H heads, T queries, S keys, D features of a head of q and k, E of v.

Kept for backward are the codes of q, k, v and probs alone. The probabilities in fp32, which softmax's gradient needs,
are formed again from the codes of q and k.
"""

from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor

from fairseq.native import minmax
from fairseq.native.first_order import first_order
from fairseq.quantization.context import Operand, QuantizationContext
from fairseq.quantization.kernels import heads
from fairseq.quantization.kernels.codes import NotANumber
from fairseq.quantization.kernels.heads import Matrices
from fairseq.quantization.kernels.kernel_qparams import KernelQParams
from fairseq.quantization.observers.base import Range
from fairseq.quantization.observers.minmax import MinMax
from fairseq.quantization.observers.running import RunningObserver
from fairseq.quantization.products.matmul import MatMulQuantizers
from fairseq.quantization.products.simulated import QUANTIZED, MatmulCall, OperandQuantizer
from fairseq.quantization.quantizer import Quantizer
from fairseq.quantization.rounding.noise import hash_state

KEPT = ("q", "k", "v", "probs")


class DropoutSpec(NamedTuple):
    """Dropout on the probabilities: `dropped` of 2^16 of them, with masks from `seed`."""

    dropped: int
    seed: int


class AttentionCall(NamedTuple):
    """What one call does beside its tensors."""

    qk: MatmulCall
    pv: MatmulCall
    mask: Optional[Tensor]
    num_heads: int
    factor: float
    dropping: Optional[DropoutSpec]

    @property
    def context(self) -> QuantizationContext:
        return self.qk.context

    def factors(self) -> dict[str, OperandQuantizer]:
        """The quantizers by name."""
        return dict(zip(KEPT, (self.qk.left, self.qk.right, self.pv.right, self.pv.left), strict=True))


def integer_attention(
    qk: MatMulQuantizers, pv: MatMulQuantizers, q: Tensor, k: Tensor, v: Tensor, mask: Optional[Tensor],
    num_heads: int, factor: float, drop: Any, num_bits: Optional[int],
) -> Optional[Tensor]:  # fmt: skip
    """The context (B*H, T, E), or None, with nothing done, where it has to be found step by step.

    Args:
        qk, pv: quantizers of the two products.
        q, k, v: (B*H, T, D), (B*H, S, D), (B*H, S, E); q not yet scaled.
        mask: what is added to the scores, broadcasts over (B, H, T, S), the same for all heads; or None.
        factor: on q.
        drop: gives `DropoutSpec`, called only if the context is found here; None keeps all.
        num_bits: as the products take it.
    """
    context = qk.context
    wanted = torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v))
    resolved = context.resolve(num_bits)
    if (
        pv.context is not context
        or not (_fits(qk, resolved, wanted) and _fits(pv, resolved, wanted))
        or context.needs_tensors
    ):
        return None
    if mask is not None:
        mask = _of_sentences(mask, q.shape[0] // num_heads, q.shape[1], k.shape[1])
        if mask is None:
            return None
    if q.shape[0] != k.shape[0] or k.shape[:2] != v.shape[:2] or q.shape[2] != k.shape[2]:
        return None
    if torch.is_autocast_enabled("cpu") or torch.compiler.is_exporting() or not heads.is_available(q, k, v):
        return None
    calls = []
    for product in (qk, pv):
        bits, state = product.layer_call(num_bits)
        calls.append(MatmulCall.of(product, bits, state))
    if state is not None:
        state.shared = None  # as quantizers leave it
    core = AttentionCall(calls[0], calls[1], mask, num_heads, factor, None if drop is None else drop())
    ends: list[float] = []
    try:
        y: Tensor = IntegerAttention.apply(q, k, v, core, ends)  # type: ignore[no-untyped-call]
    except NotANumber:
        return None
    minmax.cache_minmax(y, *torch.tensor(ends, dtype=torch.float32, device="cpu").unbind())
    return y if bits.result is None else pv.quantizer("result").result(y, bits.result)


def _fits(product: MatMulQuantizers, num_bits: int, backward: bool) -> bool:
    if not product.integer:
        return False
    bits = product.bits_at(num_bits)
    if not bits.have_codes or (backward and not bits.grad_has_codes):
        return False
    names = ("left", "right", "grad_output") if backward else ("left", "right")
    return all(_has_one_range(product.quantizer(name), name == "grad_output") for name in names)


def _has_one_range(quantizer: Quantizer, gradient: bool) -> bool:
    observer = quantizer.observer
    if quantizer.granularity.kind != "tensor" or quantizer.learned is not None:
        return False
    if quantizer.format.kernel_id is None or (quantizer.stochastic and not gradient):
        return False
    return type(observer.source if isinstance(observer, RunningObserver) and not gradient else observer) is MinMax


def _of_sentences(mask: Tensor, batch: int, queries: int, keys: int) -> Optional[Tensor]:
    """`mask` as (B or 1, 1, T or 1, S), or None where it is no such mask."""
    mask = mask.view(*[1] * (4 - mask.dim()), *mask.shape)
    fits = all(size in (1, full) for size, full in zip(mask.shape, (batch, 1, queries, keys), strict=True))
    if not fits or mask.dtype != torch.float32 or mask.requires_grad or mask.device.type != "cpu":
        return None
    mask = mask.expand(-1, -1, -1, keys)
    return mask if mask.stride(3) == 1 else mask.contiguous()


class IntegerAttention(torch.autograd.Function):
    """The context from q, k, v and an `AttentionCall`; its smallest and largest value are appended to `ends`."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, core: AttentionCall, ends: list[float]) -> Tensor:
        (count, queries, depth), (_, keys, width) = q.shape, v.shape
        q, k, v = (_in_order(x) for x in (q, k, v))
        context = _like_projections(count, queries, width)
        record = heads.Attention(count, core.num_heads, queries, keys, depth, width)
        record.q, record.k, record.v, record.y = (Matrices.of(x) for x in (q, k, v, context))
        record.set_mask(core.mask)
        record.factor = core.factor
        if core.dropping is not None:
            record.dropped, record.seed = core.dropping.dropped, core.dropping.seed % 2**64
        operands = {"q": (q, core.factor), "k": (k, 1.0), "v": (v, 1.0), "probs": (None, 1.0)}
        for name, factor in core.factors().items():
            setattr(record, f"{name}_qparams", _kernel_qparams(factor, *operands[name]))
        kept: dict[str, Optional[Tensor]] = dict.fromkeys(KEPT)
        needs_q, needs_k, needs_v = ctx.needs_input_grad[:3]
        for name, needed in zip(KEPT, (*[needs_q or needs_k] * 3, needs_v), strict=True):
            if needed:
                codes = kept[name] = torch.empty(record.kept_bytes(name), dtype=torch.uint8, device="cpu")
                setattr(record, f"{name}_codes", codes.data_ptr())
        # of its own: several threads may evaluate a model at once
        scratch = (
            None
            if record.probs_qparams.has_range
            else torch.empty(count, queries, keys, dtype=torch.float32, device="cpu")
        )
        record.scratch = None if scratch is None else scratch.data_ptr()
        record.run("forward")
        if record.bad:
            raise NotANumber
        ends += [record.y_low, record.y_high]
        _note_ranges(core, record)
        _notify_forward(core, q, k, v, record)
        ctx.save_for_backward(*kept.values())
        ctx.core, ctx.record = core, record
        return context

    @staticmethod
    @first_order(*QUANTIZED)
    def backward(ctx: Any, grad: Tensor) -> tuple[Optional[Tensor], ...]:
        core: AttentionCall = ctx.core
        record = heads.Attention.from_buffer_copy(ctx.record)
        saved = ctx.saved_tensors
        for name, codes in zip(KEPT, saved, strict=True):
            setattr(record, f"{name}_codes", None if codes is None else codes.data_ptr())
        grad = _in_order(grad)
        rows, columns = ((record.queries, record.keys, record.keys), (record.depth, record.depth, record.width))
        grads = [
            _like_projections(record.count, *shape) if needed else None
            for needed, *shape in zip(ctx.needs_input_grad[:3], rows, columns, strict=True)
        ]
        record.grad_y = Matrices.of(grad)
        record.grad_q, record.grad_k, record.grad_v = (Matrices.of(x) for x in grads)
        record.grad_y_qparams, record.grad_scores_qparams = _gradient_qparams(core.pv), _gradient_qparams(core.qk)
        size = record.count * record.queries * record.keys
        scratch = core.context.scratch.take(size, grad.device)
        record.scratch = scratch.data_ptr()
        record.run("backward")
        scores = scratch[:size].view(record.count, record.queries, record.keys)
        _notify_backward(core, grad, scores, record, ctx.needs_input_grad)
        core.context.scratch.give_back(scratch)
        return (*grads, None, None)


def _in_order(x: Tensor) -> Tensor:
    return x if x.stride(-1) == 1 else x.contiguous()


def _like_projections(count: int, length: int, width: int) -> Tensor:
    """An uninitialised (B*H, T, D) in the memory order of (T, B, H * D), as projections read and write it."""
    return torch.empty_strided((count, length, width), (width, count * width, 1), dtype=torch.float32, device="cpu")


def _kernel_qparams(factor: OperandQuantizer, x: Optional[Tensor], scale: float) -> KernelQParams:
    """For `x` times `scale`, a positive number; its range is given in evaluation, or where who made x has noted it."""
    quantizer, num_bits = factor.quantizer, factor.num_bits
    assert quantizer is not None and num_bits is not None
    ends, observer = None if x is None else minmax.cached_minmax(x), quantizer.observer
    if isinstance(observer, RunningObserver) and _keeps_range(observer):
        ends = observer.evaluation_range(torch.empty(()))[:2]
    elif ends is not None:
        ends = (ends[0] * scale, ends[1] * scale)
    min_max = None if ends is None else (float(ends[0]), float(ends[1]))
    return KernelQParams.of(quantizer.format, num_bits, min_max)


def _keeps_range(observer: RunningObserver) -> bool:
    """Whether values are rounded to the range of earlier batches."""
    return not (observer.training or observer.context.calibrating)


def _gradient_qparams(call: MatmulCall) -> KernelQParams:
    quantizer, num_bits, key = call.grad
    assert quantizer is not None and num_bits is not None
    noise = None if key is None or not quantizer.stochastic else hash_state(key)
    return KernelQParams.of(quantizer.format, num_bits, noise=noise)


def _note_ranges(core: AttentionCall, record: heads.Attention) -> None:
    for name, factor in core.factors().items():
        observer = None if factor.quantizer is None else factor.quantizer.observer
        if isinstance(observer, RunningObserver) and not _keeps_range(observer):
            kernel_qparams: KernelQParams = getattr(record, f"{name}_qparams")
            low, high = torch.tensor(
                [kernel_qparams.low, kernel_qparams.high], dtype=torch.float32, device="cpu"
            ).unbind()
            observer.update(Range(low, high, True))


# --- callbacks that count ---------------------------------------------------------------------------------------------


def _notify_forward(core: AttentionCall, q: Tensor, k: Tensor, v: Tensor, record: heads.Attention) -> None:
    if not core.context.callbacks:
        return
    probs = _scores_like(record)
    for call, left, right, width in ((core.qk, q, k, record.depth), (core.pv, probs, v, record.width)):
        for factor, x in ((call.left, left), (call.right, right)):
            factor.quantizer._notify(x, x, factor.num_bits)  # type: ignore[union-attr, arg-type]
        call.notify("forward", call.left.operand(left), call.right.operand(right), probs.numel() * width)


def _notify_backward(
    core: AttentionCall, grad: Tensor, scores: Tensor, record: heads.Attention, needed: tuple[bool, ...]
) -> None:
    if not core.context.callbacks:
        return
    q, k, v = (torch.empty(()).expand(record.count, n, d) for n, d in (
        (record.queries, record.depth), (record.keys, record.depth), (record.keys, record.width)
    ))  # fmt: skip
    products = [(core.pv, grad, needed[0] or needed[1], needed[2], _scores_like(record), v, record.width)]
    if needed[0] or needed[1]:
        products.append((core.qk, scores, needed[0], needed[1], q, k, record.depth))
    for call, g, needs_left, needs_right, left, right, width in products:
        quantizer, num_bits, _ = call.grad
        quantizer._notify(g, g, num_bits)  # type: ignore[union-attr, arg-type]
        macs = record.count * record.queries * record.keys * width
        rounded: Operand = call.grad.operand(g)
        if needs_left:
            call.notify("grad_input", rounded, call.right.operand(right), macs)
        if needs_right:
            call.notify("grad_weight", rounded, call.left.operand(left), macs)


def _scores_like(record: heads.Attention) -> Tensor:
    return torch.empty(()).expand(record.count, record.queries, record.keys)
