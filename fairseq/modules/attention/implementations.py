"""What lies between attention's projections, in three ways that give the same numbers up to rounding:

    FusedInteger    one kernel on codes, where both products run on integers
    FusedFloat      PyTorch's scaled_dot_product_attention, where nothing is quantized
    StepByStep      scores, softmax, dropout, context, through the two MatMul modules: always possible

The first of `MultiheadAttention.implementations` that can run does the work. A fused one needs MatMul modules without
hooks and without a forward of their own, and cannot return probabilities.

B: batch, H: heads, T: target length, S: source length, C: channels, D = C / H.
"""

from typing import Any, NamedTuple, Optional, Protocol

from torch import Tensor, nn

from fairseq.modules.attention.core import add_mask, fused_attention, probabilities, split_heads
from fairseq.modules.dropout import draw_seed, share_dropped
from fairseq.modules.fairseq_dropout import FairseqDropout
from fairseq.modules.matmul import MatMul
from fairseq.modules.unmodified import is_unmodified
from fairseq.quantization.bits import bits_for
from fairseq.quantization.layers.matmul import QMatmul
from fairseq.quantization.products.integer_attention import DropoutSpec, integer_attention


class Operands(NamedTuple):
    """What attention is computed of.

    Attributes:
        q: projected queries (T, B, C), not scaled yet.
        k, v: projected keys and values (B*H, S, D).
        mask: added to the scores, broadcasts over (B, H, T, S), or None.
        num_bits: as everywhere.
        need_probabilities: they are wanted, too.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    mask: Optional[Tensor]
    num_bits: Optional[int]
    need_probabilities: bool


class Result(NamedTuple):
    """The context (B*H, T, D), and the probabilities (B*H, T, S) before dropout where they were wanted."""

    context: Tensor
    probs: Optional[Tensor]


class Parts(Protocol):
    """What is used of a `MultiheadAttention`."""

    num_heads: int
    scaling: float
    training: bool
    dropout_module: FairseqDropout

    @property
    def qk_matmul(self) -> nn.Module: ...

    @property
    def pv_matmul(self) -> nn.Module: ...


class Implementation(Protocol):
    """One way to compute attention."""

    def can_run(self, attention: Any, x: Operands) -> bool:
        """Whether the modules of `attention`, as they are now, and the operands allow it."""

    def run(self, attention: Any, x: Operands) -> Optional[Result]:
        """The result; None, with nothing done, where the operands' values or layout forbid it after all."""


class StepByStep:
    """Through the modules, each of which may be replaced or hooked."""

    def can_run(self, attention: Parts, x: Operands) -> bool:
        return True

    def run(self, attention: Parts, x: Operands) -> Result:
        scores = self.scores(attention, x)
        probs = probabilities(scores)  # (B*H, T, S)
        dropped = attention.dropout_module(probs)
        context = attention.pv_matmul(dropped, x.v, **bits_for(attention.pv_matmul, x.num_bits))  # (B*H, T, D)
        return Result(context, probs if x.need_probabilities else None)

    @staticmethod
    def scores(attention: Parts, x: Operands) -> Tensor:
        """Masked scores (B*H, T, S)."""
        q = split_heads(x.q * attention.scaling, attention.num_heads)  # (B*H, T, D)
        scores = attention.qk_matmul(q, x.k.transpose(1, 2), **bits_for(attention.qk_matmul, x.num_bits))
        return add_mask(scores, x.mask, attention.num_heads)


class FusedFloat:
    """One kernel of PyTorch's."""

    def can_run(self, attention: Parts, x: Operands) -> bool:
        dropout: Any = attention.dropout_module
        if x.need_probabilities or dropout.apply_during_inference:
            return False
        if not (is_unmodified(attention.qk_matmul, MatMul) and is_unmodified(attention.pv_matmul, MatMul)):
            return False
        return x.q.is_cuda or not attention.training or dropout.p == 0  # it drops slowly on a CPU

    def run(self, attention: Parts, x: Operands) -> Result:
        q = split_heads(x.q * attention.scaling, attention.num_heads)  # (B*H, T, D)
        dropout_p = attention.dropout_module.p if attention.training else 0.0
        return Result(fused_attention(q, x.k, x.v, x.mask, attention.num_heads, dropout_p), None)  # type: ignore[arg-type]


class FusedInteger:
    """One kernel of ours on 8-bit codes, with the codes of the modules."""

    def can_run(self, attention: Parts, x: Operands) -> bool:
        if x.need_probabilities or not is_unmodified(attention.dropout_module, FairseqDropout):
            return False
        if not (is_unmodified(attention.qk_matmul, QMatmul) and is_unmodified(attention.pv_matmul, QMatmul)):
            return False
        dropout: Any = attention.dropout_module
        return not dropout.is_active or bool(share_dropped(dropout.p))

    def run(self, attention: Parts, x: Operands) -> Optional[Result]:
        dropout: Any = attention.dropout_module
        qk: Any = attention.qk_matmul.quantizers
        pv: Any = attention.pv_matmul.quantizers
        drop = None
        if dropout.is_active:

            def drop() -> DropoutSpec:
                return DropoutSpec(share_dropped(dropout.p), int(draw_seed()))

        q = split_heads(x.q, attention.num_heads)  # (B*H, T, D)
        context = integer_attention(
            qk, pv, q, x.k, x.v, x.mask, attention.num_heads, attention.scaling, drop, x.num_bits
        )
        return None if context is None else Result(context, None)
