"""The grids of an attention in integers that do not change from one decoding step to the next, so that the codes of
keys and values can be kept: those of running ranges, in evaluation.
"""

from typing import Any, NamedTuple, Optional

from fairseq.quantization.kernels.kernel_qparams import KernelQParams
from fairseq.quantization.kernels.step_attention import StepGrids
from fairseq.quantization.observers.minmax import MinMax
from fairseq.quantization.observers.running import RunningObserver
from fairseq.quantization.products.matmul import MatMulQuantizers
from fairseq.quantization.quantizer import Quantizer


class GridKey(NamedTuple):
    """What the grids of two products depend on: the grids are the same while it is.

    Attributes:
        operands: quantizers of the query, the keys, the values and the probabilities, with their bits.
        versions: how often their ranges were written.
    """

    operands: tuple[tuple[Quantizer, int], ...]
    versions: tuple[int, ...]

    def grids(self) -> StepGrids:
        """Those grids."""
        found = []
        for quantizer, num_bits in self.operands:
            observer: Any = quantizer.observer
            found.append(KernelQParams.of(quantizer.format, num_bits, observer.evaluation_numbers()))
        return StepGrids(*found)


def grid_key(qk: MatMulQuantizers, pv: MatMulQuantizers, num_bits: Optional[int]) -> Optional[GridKey]:
    """The key of both products at `num_bits`; None where a grid is not given beforehand, or someone listens."""
    context = qk.context
    if pv.context is not context or context.callbacks or context.calibrating or not (qk.integer and pv.integer):
        return None
    resolved = context.resolve(num_bits)
    qk_bits, pv_bits = qk.bits_at(resolved), pv.bits_at(resolved)
    if not (qk_bits.have_codes and pv_bits.have_codes and qk_bits.result is None and pv_bits.result is None):
        return None
    operands = (
        (qk.quantizer("left"), qk_bits.left),
        (qk.quantizer("right"), qk_bits.right),
        (pv.quantizer("right"), pv_bits.right),
        (pv.quantizer("left"), pv_bits.left),
    )
    if not all(_keeps_its_grid(quantizer) for quantizer, _ in operands):
        return None
    running: list[Any] = [quantizer.observer.running_low for quantizer, _ in operands]
    versions = tuple(0 if low.is_inference() else low._version for low in running)
    return GridKey(operands, versions)  # type: ignore[arg-type]


def _keeps_its_grid(quantizer: Quantizer) -> bool:
    observer = quantizer.observer
    if not isinstance(observer, RunningObserver) or observer.training or type(observer.source) is not MinMax:
        return False
    if quantizer.granularity.kind != "tensor" or quantizer.learned is not None or quantizer.stochastic:
        return False
    return quantizer.format.kernel_id is not None
