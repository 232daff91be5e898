"""The quantizer: observe a range, find scale and zero point, round; for weights, activations and gradients alike.

    range  = observer(x)             (or a learned scale or clip)
    params = format.qparams(range, bits)
    value  = format.dequantize(format.quantize(x, params), params)

Scales and codes are computed in fp32 whatever the tensor's type; the value has the tensor's type.

>>> quantizer = Quantizer("fc1.input", ACTIVATION, QuantizerSpec(format="symmetric"), QuantizationContext(), features=3)
>>> x = torch.tensor([[0.1, -1.0, 0.7]])
>>> quantizer.codes(x, num_bits=3)
tensor([[ 0, -3,  2]], dtype=torch.int8)
>>> quantizer(x, num_bits=3).value
tensor([[ 0.0000, -1.0000,  0.6667]])
"""

from collections.abc import Iterator
from typing import NamedTuple, Optional

import torch
from torch import Tensor, nn

from fairseq.errors import ConfigError, DataError
from fairseq.quantization.call_state import OFF, CallState, SharedResult
from fairseq.quantization.context import QuantizationContext
from fairseq.quantization.formats import NumberFormat, QParams, build_format
from fairseq.quantization.granularity import Granularity
from fairseq.quantization.kernels import blocks, rounding
from fairseq.quantization.observers.base import Range, Request
from fairseq.quantization.observers.minmax import MinMax
from fairseq.quantization.observers.running import RunningObserver, build_observer
from fairseq.quantization.rounding.learned_qparams import LEARNED_QPARAMS, LearnedQParams
from fairseq.quantization.rounding.noise import HashNoise, NoiseKey, hash_state, layer_number
from fairseq.quantization.rounding.straight_through import Plain, PlainResult, Sloped, build_backward
from fairseq.quantization.spec import ACROSS as ACROSS_PREFIX
from fairseq.quantization.spec import ACTIVATION, FOLLOW, GRADIENT, WEIGHT, QuantizerSpec
from fairseq.quantization.transforms import build_transform

__all__ = [
    "ACTIVATION",
    "GRADIENT",
    "WEIGHT",
    "QuantizationContext",
    "Quantized",
    "Quantizer",
    "QuantizerSpec",
    "one_line_repr",
]


ACROSS = 2**32  # added to a layer's number for the noise of its second rounding


class Quantized(NamedTuple):
    """A quantized tensor: `value` holds the numbers, gradients go to `grad_target`. Both are x itself without bits."""

    grad_target: Tensor
    value: Tensor

    def tensor(self) -> Tensor:
        """The numbers as one tensor that autograd knows."""
        if self.grad_target is self.value or not (torch.is_grad_enabled() and self.grad_target.requires_grad):
            return self.value
        return Plain.apply(self.grad_target, self.value)  # type: ignore[no-any-return, no-untyped-call]


class Quantizer(nn.Module):
    """One point at which a tensor is rounded.

    Args:
        path: its name in rules, plans and messages.
        role: WEIGHT, ACTIVATION or GRADIENT.
        spec: its settings.
        context: state shared by the model's quantizers.
        features: size of the last axis where it is known; a running or learned range per channel needs it.
        shape: the weight's shape, for a weight.
        calibration_bits: bits for which a learned scale is kept if the spec pins none.

    Raises:
        ConfigError: settings that contradict each other or the role.
    """

    def __init__(
        self,
        path: str,
        role: str,
        spec: QuantizerSpec,
        context: QuantizationContext,
        features: Optional[int] = None,
        shape: Optional[tuple[int, ...]] = None,
        calibration_bits: int = 8,
    ):
        super().__init__()
        self.path, self.role, self.context = path, role, context
        self.spec = spec = spec.check(path, role)
        self.format = build_format(spec.format, path)
        # levels that no range moves are the same for every value
        granularity = spec.granularity if self.format.takes_range else "tensor"
        self.granularity = Granularity.parse(granularity, axis=0 if role == WEIGHT else -1, where=path)
        self.stochastic = spec.rounding == "stochastic"
        self.backward = build_backward(self.spec.ste)
        is_across = spec.transform.startswith(ACROSS_PREFIX)
        self.transform = None if is_across else build_transform(spec.transform, path)
        self.across_transform = build_transform(spec.transform.removeprefix(ACROSS_PREFIX), path) if is_across else None
        self.layer = layer_number(path)
        self.owner = layer_number(path.rpartition(".")[0])  # quantizers of one layer draw the same signs
        # a group's ranges come in two parts; noise, learned grids and masks belong to one quantizer
        one_range = self.granularity.kind not in ("group", "block") or self.format.block is not None
        self.may_share = role == ACTIVATION and one_range and not self.stochastic
        self.may_share = self.may_share and (self.transform is None or not self.transform.is_random)
        source = spec.range if self.format.takes_range else "minmax"  # which keeps nothing, and is never asked
        self.observer = build_observer(source, path, shape=(1,), context=context)
        # blocks that find their scales need no look at the whole tensor first
        self.own_scales = self.format.block is not None and type(self.observer) is MinMax and not self.stochastic
        self.learned: Optional[LearnedQParams] = None
        if spec.learned != "none":
            reference = spec.bits if isinstance(spec.bits, int) else calibration_bits
            kind, kept = LEARNED_QPARAMS.lookup(spec.learned), self._range_shape(features, shape)
            self.learned = kind(
                path,
                self.format,
                self.granularity,
                kept,
                reference,
                context,
                needs_data=role != WEIGHT,
                values_shape=shape if shape is not None or features is None else (features,),
            )
        elif self.observer.is_running and self.format.zero_points_per_range > 1:
            raise ConfigError(
                f"{path}: a running range does not keep all scales of the format {self.format}; use range: minmax"
            )
        elif self.observer.is_running:
            self.observer = build_observer(spec.range, path, shape=self._range_shape(features, shape), context=context)

    def _range_shape(self, features: Optional[int], shape: Optional[tuple[int, ...]]) -> tuple[int, ...]:
        """Shape of a range that is kept between batches."""
        kind, axis = self.granularity.kind, self.granularity.number
        if kind == "tensor":
            return (1,)
        if kind == "channel" and shape is not None and axis is not None:
            return tuple(size if index == axis % len(shape) else 1 for index, size in enumerate(shape))
        if kind == "channel" and axis == -1 and features is not None:
            return (features,)
        raise ConfigError(
            f"{self.path}: granularity {self.granularity} has no fixed number of ranges here, so none can be kept; "
            "use granularity tensor, or a range source that looks at each batch (minmax)"
        )

    # --- bits -----------------------------------------------------------------------------------------------------

    def bits(self, num_bits: Optional[int]) -> Optional[int]:
        """Bits to which a tensor is rounded where `num_bits` is threaded: pinned ones, or `num_bits`; None for none.

        Args:
            num_bits: as everywhere (see `context.py`), or what the context resolved it to.
        """
        if num_bits is None:
            num_bits = self.context.resolve(None)
        bits = self.spec.bits
        if bits == FOLLOW:
            bits = num_bits
        if not self.spec.quantize or not bits or num_bits == OFF:
            return None
        return self.format.check_bits(bits, self.path)  # type: ignore[arg-type]

    # --- rounding -------------------------------------------------------------------------------------------------

    def forward(self, x: Tensor, num_bits: Optional[int], state: Optional[CallState] = None) -> Quantized:
        """`x` rounded to what `bits` gave as `num_bits`, with the gradient that the estimator of the spec gives.

        Args:
            state: of the model's call, in which quantizers with the same settings share what they make of a tensor.
        """
        if num_bits is None or x.numel() == 0:
            return Quantized(x, x)
        if self.transform is not None and not self.is_straight and not torch.compiler.is_exporting():
            y = self._transformed(x, num_bits)
            return Quantized(y, y.detach())
        return self._quantized(x, num_bits, state)

    @property
    def is_straight(self) -> bool:
        """Whether gradients pass as if nothing had been rounded, and nothing is learned."""
        is_rotation = self.transform is None or self.transform.is_rotation
        return self.learned is None and self.backward.is_plain and is_rotation

    def _transformed(self, x: Tensor, num_bits: int) -> Tensor:
        """`x` transformed, rounded with the estimator's gradient, and transformed back."""
        assert self.transform is not None
        seed = self._sign_seed(None)
        wide = x if x.dtype == torch.float64 else x.float()
        changed = self.transform.apply(wide, seed)
        if not (torch.is_grad_enabled() and (wide.requires_grad or self.learned is not None)):
            rounded = self._fake(changed, num_bits)
        else:
            rounded = self._quantized(changed, num_bits, None, transformed=True).tensor()
        return self.transform.undo(rounded, x.shape[-1], seed).to(x.dtype)

    def _sign_seed(self, key: Optional[NoiseKey]) -> int:
        """What random signs are drawn by: the same for the quantizers of a layer in one micro-batch."""
        if self.transform is None or not self.transform.is_random:
            return 0
        own = key or self.context.noise_key(self.layer)
        turned = own.layer >= ACROSS
        return hash_state(own._replace(layer=self.owner + (ACROSS if turned else 0)))

    def _quantized(self, x: Tensor, num_bits: int, state: Optional[CallState], transformed: bool = False) -> Quantized:
        if self.learned is not None and not torch.compiler.is_exporting():
            y = self.learned(x if x.dtype == torch.float64 else x.float(), num_bits).to(x.dtype)
            self._notify(x, y, num_bits)
            return Quantized(y, y.detach())
        if self.backward.is_plain or not (x.requires_grad and torch.is_grad_enabled()):
            if transformed:
                return Quantized(x, self._fake(x, num_bits))
            return Quantized(x, self._shared(x, num_bits, state) if self.may_share else self.fake(x, num_bits))
        value, slope = self._fake(x, num_bits), self._slope(x, num_bits)
        grad_target: Tensor = Sloped.apply(x, value, slope)  # type: ignore[no-untyped-call]
        return Quantized(grad_target, grad_target.detach())

    def result(self, x: Tensor, num_bits: int) -> Tensor:
        """`x` rounded, as the result of a layer: nobody else holds it, and what follows may write to it."""
        quantized: Quantized = self(x, num_bits)
        value = quantized.value
        if value is quantized.grad_target or not (torch.is_grad_enabled() and quantized.grad_target.requires_grad):
            return value
        return PlainResult.apply(  # type: ignore[no-any-return, no-untyped-call]
            quantized.grad_target, [value.clone() if value._is_view() else value]
        )

    def fake(
        self,
        x: Tensor,
        num_bits: int,
        out: Optional[Tensor] = None,
        key: Optional[NoiseKey] = None,
        ranges: Optional[list[Range]] = None,
    ) -> Tensor:
        """`x` rounded to its levels, in x's type; no gradient.

        Args:
            out: fp32 memory of x's shape to work in.
            ranges: is given what the observer says of x.
        """
        if x.numel() == 0:
            return x.detach()
        if self.transform is None:
            return self._fake(x, num_bits, out, key, ranges)
        with torch.no_grad():  # not around `_fake`, too: torch.export refuses one block without gradients in another
            seed = self._sign_seed(key)
            changed = self.transform.apply(x if x.dtype == torch.float64 else x.float(), seed)
            rounded = self._fake(changed, num_bits, None, key, ranges)
            return self.transform.undo(rounded, x.shape[-1], seed).to(x.dtype)

    @torch.no_grad()
    def _fake(
        self,
        x: Tensor,
        num_bits: int,
        out: Optional[Tensor] = None,
        key: Optional[NoiseKey] = None,
        ranges: Optional[list[Range]] = None,
    ) -> Tensor:
        """`fake` of what the transform has made."""
        wide = x if x.dtype in (torch.float32, torch.float64) else x.float()
        if self.learned is not None:
            self.learned.ensure_initialized(wide)
            wide = self.learned.steered(wide)
        if wide is not x:
            out = wide  # a copy already
        elif out is None or out.dtype != x.dtype:
            out = torch.empty_like(x)
        number_format = self.format.bound_to(wide)
        if self.own_scales and not torch.compiler.is_exporting():
            blocks.fake_quantize(self.context, number_format, self.granularity, wide, num_bits, out)
        else:
            for index, (piece, target) in enumerate(zip(self.pieces(wide), self.pieces(out), strict=True)):
                qparams, clamp = self._qparams(piece, num_bits, ranges, number_format)
                noise = self._noise(piece, key, index)
                fused = self.context.fused
                rounding.round_to_levels(number_format, piece, qparams, noise, target, clamp, fused)
        result = out.to(x.dtype)
        self._notify(x, result, num_bits)
        return result

    @property
    def turns(self) -> bool:
        """Whether a tensor is rounded anew for a product that sums over another of its axes."""
        return self.format.block is not None and self.format.block[0] != self.format.block[1]

    def fake_across(self, x: Tensor, num_bits: int, key: Optional[NoiseKey] = None) -> Tensor:
        """`x` (..., M, K) as `fake` rounds it for a product that sums over M."""
        key = None if key is None else key._replace(layer=key.layer + ACROSS)
        if self.across_transform is None:
            return self.fake(x.mT, num_bits, None, key).mT
        turned = x.mT if x.dtype == torch.float64 else x.mT.float()
        seed = hash_state((key or self.context.noise_key(self.layer))._replace(layer=self.owner))
        changed = self.across_transform.apply(turned, seed)
        rounded = self._fake(changed, num_bits, None, key)
        return self.across_transform.undo(rounded, turned.shape[-1], seed).to(x.dtype).mT

    def _shared(self, x: Tensor, num_bits: int, state: Optional[CallState]) -> Tensor:
        """`fake`, or what the quantizer before this one made of the same tensor with the same settings."""
        if torch.compiler.is_exporting():
            return self.fake(x, num_bits)
        if self.observer.is_running and not (self.training or self.context.calibrating):
            return self.fake(x, num_bits)  # each has its own running range
        if state is None or not state.running:
            return self.fake(x, num_bits)
        settings, last = (self.spec, num_bits, self.training), state.shared
        if last is not None and last.x is x and last.version == x._version and last.settings == settings:
            if isinstance(self.observer, RunningObserver):
                self.observer.update(last.range)
            self._notify(x, last.result, num_bits, reused=True)
            return last.result
        state.shared = None
        ranges: list[Range] = []
        result = self.fake(x, num_bits, ranges=ranges)
        if not x.is_inference():
            state.shared = SharedResult(x, x._version, settings, ranges[0] if ranges else None, result)
        return result

    def _notify(self, x: Tensor, result: Tensor, num_bits: int, reused: bool = False) -> None:
        for callback in self.context.callbacks:
            callback.quantized(self, x, result, num_bits, reused)

    @torch.no_grad()
    def codes(self, x: Tensor, num_bits: int) -> Tensor:
        """Codes of `x`, or of what the transform makes of it, as the smallest integer type that holds them. DataError
        where `x` is not finite.
        """
        if not bool(x.isfinite().all()):
            raise DataError(f"{self.path}: a tensor with inf or NaN has no codes")
        x = self._before_rounding(x)
        if self.learned is not None:
            self.learned.ensure_initialized(x)
            x = self.learned.steered(x)
        codes = torch.empty_like(x)
        number_format = self.format.bound_to(x)
        for index, (piece, target) in enumerate(zip(self.pieces(x), self.pieces(codes), strict=True)):
            qparams = self._qparams(piece, num_bits, None, number_format)[0]
            number_format.quantize(piece, qparams, self._noise(piece, None, index), target)
        return codes.to(self.format.code_dtype(num_bits))

    @torch.no_grad()
    def qparams(self, x: Tensor, num_bits: int) -> list[QParams]:
        """The levels that `x` is rounded to, twice where a last group is shorter than the others."""
        wide = self._before_rounding(x)
        number_format = self.format.bound_to(wide)
        return [self._qparams(piece, num_bits, None, number_format)[0] for piece in self.pieces(wide)]

    def _before_rounding(self, x: Tensor) -> Tensor:
        wide = x if x.dtype == torch.float64 else x.float()
        return wide if self.transform is None else self.transform.apply(wide, self._sign_seed(None))

    def pieces(self, x: Tensor) -> Iterator[Tensor]:
        """Views of `x` in which ranges run over whole axes."""
        return self.granularity.pieces(x)

    def _qparams(
        self,
        x: Tensor,
        num_bits: int,
        ranges: Optional[list[Range]] = None,
        bound: Optional[NumberFormat] = None,
    ) -> tuple[QParams, bool]:
        """The levels for `x`, and whether values may lie outside them; `bound`: to what `x` is a piece of."""
        number_format = bound or self.format
        if self.learned is not None:
            return self.learned.qparams(x, num_bits), True
        if not self.format.takes_range:
            nothing = x.new_zeros([1] * x.dim())
            return number_format.qparams(nothing, nothing, num_bits), True
        low, high, covers = self.range_of(x, num_bits, ranges, number_format)
        return number_format.qparams(low, high, num_bits), not (covers and number_format.covers_ends)

    def range_of(
        self,
        x: Tensor,
        num_bits: int,
        ranges: Optional[list[Range]] = None,
        bound: Optional[NumberFormat] = None,
    ) -> Range:
        """What the observer says of `x`; appended to `ranges`, too."""
        found: Range = self.observer(x, Request(self.granularity.reduced(x), bound or self.format, num_bits))
        if ranges is not None:
            ranges.append(found)
        return found

    def _noise(self, x: Tensor, key: Optional[NoiseKey], index: int) -> Optional[HashNoise]:
        if not self.stochastic or (self.role == WEIGHT and not self.training):
            return None
        if torch.compiler.is_exporting() and self.role != WEIGHT:
            raise ConfigError(
                f"{self.path}: stochastic rounding depends on Python state and cannot be exported; use "
                f"{{match: {self.path!r}, rounding: nearest}}"
            )
        return HashNoise(key or self.context.noise_key(self.layer + index), x)

    @torch.no_grad()
    def _slope(self, x: Tensor, num_bits: int) -> Tensor:
        wide = x if x.dtype == torch.float64 else x.float()
        number_format = self.format.bound_to(wide)
        slope = torch.empty_like(wide, dtype=torch.bool if self.backward.is_mask else None)
        for piece, target in zip(self.pieces(wide), self.pieces(slope), strict=True):
            qparams = self._qparams(piece, num_bits, None, number_format)[0]
            target.copy_(self.backward.slope(number_format, piece, qparams, self.context.progress))
        return slope

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.spec.describe().items())


def one_line_repr(module: nn.Module) -> str:
    """The quantizers of a layer on one line."""
    parts = []
    for name, child in module.named_children():
        if isinstance(child, Quantizer):
            settings = child.spec.describe()
            parts.append(f"{name}: {settings['bits']} bits {settings['format']} per {settings['granularity']}")
    return f"{type(module).__name__}({', '.join(parts)})"
