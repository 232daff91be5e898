"""CPT's quantization functions under the reference's names and with its semantics (Fu et al., arXiv:2101.09868).

With b bits, qmin = 0 (signed: -2^(b-1)), qmax = qmin + 2^b - 1:

    calculate_qparams   zero_point = min, range = max - min, per row or reduced over rows
    quantize            scale = max(range / (qmax - qmin), 1e-8)
                        code  = round(clamp((x + qmin * scale - zero_point) / scale + u, qmin, qmax)),  u = 0, or
                        rounding noise value = code * scale + zero_point - qmin * scale;      gradient: identity, also
                        outside the range
    quantize_grad       identity; the gradient is quantized with its own extremes, stochastically
    QuantMeasure        quantizes with the batch's range, keeps a running one for evaluation

0 or None bits return the input untouched. Other than in the reference: any device, no global random numbers (`key`
names the noise), `true_zero` is refused instead of ignored. For training use `QLinear` and `quantize_model`, which do
the same in fewer passes.

>>> x = torch.tensor([[0.0, 1.0, 2.0, 3.0], [-1.0, 0.0, 0.2, 2.0]])
>>> quantize(x, num_bits=2, flatten_dims=(1, -1), reduce_dim=None)
tensor([[ 0.,  1.,  2.,  3.],
        [-1.,  0.,  0.,  2.]])
"""

from typing import Any, NamedTuple, Optional

import torch
from torch import Tensor, nn

from fairseq.errors import ConfigError, TrainingError
from fairseq.quantization.context import QuantizationContext
from fairseq.quantization.formats.integer.affine_float_zp import MIN_SCALE
from fairseq.quantization.rounding.noise import HashNoise, NoiseKey

NO_KEY = NoiseKey(seed=1, layer=0, update=0)


class QParams(NamedTuple):
    """Range and zero point (the real number of code qmin), both broadcastable against the tensor."""

    range: Tensor
    zero_point: Tensor
    num_bits: int


def calculate_qparams(
    x: Tensor,
    num_bits: int,
    flatten_dims: tuple[int, int] = (1, -1),
    reduce_dim: Optional[int] = 0,
    reduce_type: str = "mean",
    keepdim: bool = False,
    true_zero: bool = False,
) -> QParams:
    """Range of `x`: extremes over the flattened axes, then reduced over `reduce_dim`.

    Args:
        flatten_dims: first and last axis that are flattened into one, over which extremes are taken.
        reduce_dim: axis of the result to reduce, or None for one range per row.
        reduce_type: "mean" averages the rows' minima and maxima; "extreme" takes their least and greatest.
        keepdim: keep the reduced axis.

    Raises:
        ConfigError: `true_zero`, which a real zero point cannot give (use the formats affine or symmetric).
    """
    if true_zero:
        raise ConfigError("calculate_qparams: a real zero point gives no true zero; use the format affine or symmetric")
    with torch.no_grad():
        # tensors with fewer axes than `flatten_dims` counts on have one range
        flat = x.flatten(*flatten_dims) if x.dim() > flatten_dims[0] else x.flatten()
        if flat.dim() == 1:
            low, high = _unflatten(flat.min(), x), _unflatten(flat.max(), x)
        else:
            low, high = _unflatten(flat.min(-1).values, x), _unflatten(flat.max(-1).values, x)
        if reduce_dim is not None:
            if reduce_type == "extreme":
                low, high = low.amin(reduce_dim, keepdim=keepdim), high.amax(reduce_dim, keepdim=keepdim)
            else:
                low, high = low.mean(reduce_dim, keepdim=keepdim), high.mean(reduce_dim, keepdim=keepdim)
        return QParams(high - low, low, num_bits)


def _unflatten(values: Tensor, x: Tensor) -> Tensor:
    """`values` with axes of size 1 behind them, as many axes as `x` has."""
    return values.reshape((*values.shape, *([1] * (x.dim() - values.dim()))))


class UniformQuantize(torch.autograd.Function):
    """Quantization with the straight-through estimator; arguments as `quantize`."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        qparams: QParams,
        dequantize: bool = True,
        signed: bool = False,
        stochastic: bool = False,
        inplace: bool = False,
        key: NoiseKey = NO_KEY,
    ) -> Tensor:
        if inplace:
            ctx.mark_dirty(x)
        bits = qparams.num_bits
        qmin = -(2 ** (bits - 1)) if signed else 0
        qmax = qmin + 2**bits - 1
        value_range, zero_point = qparams.range.to(torch.float32), qparams.zero_point.to(torch.float32)
        scale = (value_range / (qmax - qmin)).clamp(min=MIN_SCALE)
        wide = x if x.dtype == torch.float32 else x.float()
        in_memory = inplace and wide is x
        codes = wide.add_(qmin * scale - zero_point) if in_memory else wide.add(qmin * scale - zero_point)
        codes.div_(scale)
        if stochastic:
            HashNoise(key, codes).add_to(codes)
        codes.clamp_(qmin, qmax).round_()
        if dequantize:
            codes.mul_(scale).add_(zero_point - qmin * scale)
        if inplace and not in_memory:
            return x.copy_(codes)
        return codes.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Optional[Tensor], ...]:
        return grad, None, None, None, None, None, None


class UniformQuantizeGrad(torch.autograd.Function):
    """Identity whose gradient is quantized; arguments as `quantize_grad`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, settings: dict[str, Any], qparams: Optional[QParams]) -> Tensor:
        ctx.settings, ctx.qparams = settings, qparams
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        qparams = ctx.qparams
        if not grad.numel():
            return grad, None, None
        settings = dict(ctx.settings)
        num_bits, flatten_dims = settings.pop("num_bits"), settings.pop("flatten_dims")
        reduce_dim = settings.pop("reduce_dim")
        if qparams is None:
            qparams = calculate_qparams(grad, num_bits, flatten_dims, reduce_dim, reduce_type="extreme")
        return UniformQuantize.apply(grad, qparams, *settings.values()), None, None  # type: ignore[no-untyped-call]


def quantize(
    x: Tensor,
    num_bits: Optional[int] = None,
    qparams: Optional[QParams] = None,
    flatten_dims: tuple[int, int] = (1, -1),
    reduce_dim: Optional[int] = 0,
    dequantize: bool = True,
    signed: bool = False,
    stochastic: bool = False,
    inplace: bool = False,
    key: NoiseKey = NO_KEY,
) -> Tensor:
    """`x` quantized with `qparams`, or with its own at `num_bits`; itself if neither is given.

    Args:
        dequantize: return values; otherwise codes.
        signed: codes from -2^(b-1) instead of from 0.
        stochastic: round with noise named by `key`.
        inplace: overwrite `x`.
    """
    if qparams is None:
        if not num_bits or not x.numel():
            return x
        qparams = calculate_qparams(x, num_bits, flatten_dims, reduce_dim)
    return UniformQuantize.apply(  # type: ignore[no-any-return, no-untyped-call]
        x, qparams, dequantize, signed, stochastic, inplace, key
    )


def quantize_grad(
    x: Tensor,
    num_bits: Optional[int] = None,
    qparams: Optional[QParams] = None,
    flatten_dims: tuple[int, int] = (0, -1),
    reduce_dim: Optional[int] = 0,
    dequantize: bool = True,
    signed: bool = False,
    stochastic: bool = True,
    key: NoiseKey = NO_KEY,
) -> Tensor:
    """`x` itself; its gradient is quantized with its own extremes, at `num_bits` (None: untouched)."""
    if not num_bits and qparams is None:
        return x
    settings = {
        "num_bits": num_bits,
        "flatten_dims": flatten_dims,
        "reduce_dim": reduce_dim,
        "dequantize": dequantize,
        "signed": signed,
        "stochastic": stochastic,
        "inplace": False,
        "key": key,
    }
    return UniformQuantizeGrad.apply(x, settings, qparams)  # type: ignore[no-any-return, no-untyped-call]


class QuantMeasure(nn.Module):
    """Activation quantizer of the reference.

    In training x is quantized with its own range, and the running one moves a tenth of the way towards it; in
    evaluation the running one is used. With `measure` it is a plain mean of all batches seen, and x is returned as it
    is.

    Args:
        shape_measure: shape of the running range; all ones for one range per tensor.
        flatten_dims: as `calculate_qparams`.
        inplace, dequantize, stochastic: as `quantize`.
        momentum: weight of the past.
        measure: only measure (calibration).
    """

    running_zero_point: Tensor
    running_range: Tensor
    num_measured: Tensor

    def __init__(
        self,
        shape_measure: tuple[int, ...] = (1,),
        flatten_dims: tuple[int, int] = (1, -1),
        inplace: bool = False,
        dequantize: bool = True,
        stochastic: bool = False,
        momentum: float = 0.9,
        measure: bool = False,
    ):
        super().__init__()
        self.register_buffer("running_zero_point", torch.zeros(*shape_measure))
        self.register_buffer("running_range", torch.zeros(*shape_measure))
        self.register_buffer("num_measured", torch.zeros(1))
        self.flatten_dims, self.momentum, self.measure = flatten_dims, momentum, measure
        self.inplace, self.dequantize, self.stochastic = inplace, dequantize, stochastic
        self.context = QuantizationContext()

    def forward(self, input: Tensor, num_bits: Optional[int], qparams: Optional[QParams] = None) -> Tensor:
        """`input` at `num_bits`; untouched for None or 0, and while measuring."""
        if not num_bits and not self.measure:
            return input
        bits = num_bits or 8
        if self.training or self.measure:
            if qparams is None:
                qparams = calculate_qparams(input, bits, self.flatten_dims, reduce_dim=0, reduce_type="extreme")
            self._note(qparams)
        else:
            if not bool(self.num_measured):
                raise TrainingError("QuantMeasure has no range: it has seen no data; train or measure first")
            qparams = QParams(self.running_range, self.running_zero_point, bits)
        if self.measure:
            return input
        key = self.context.noise_key(0)
        return quantize(
            input,
            qparams=qparams,
            dequantize=self.dequantize,
            stochastic=self.stochastic,
            inplace=self.inplace,
            key=key,
        )

    @torch.no_grad()
    def _note(self, qparams: QParams) -> None:
        momentum: Any = self.num_measured / (self.num_measured + 1) if self.measure else self.momentum
        for running, value in ((self.running_zero_point, qparams.zero_point), (self.running_range, qparams.range)):
            running.mul_(momentum).add_(value.reshape(running.shape) * (1 - momentum))
        self.num_measured += 1
        self.context.set(self.context.update + 1)
