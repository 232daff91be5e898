"""A number format: from a range to the parameters of its levels, from reals to codes, and back; and what it can.

    qparams     scale and zero point for values in [low, high]
    quantize    code = index of the level nearest to x (+ rounding noise), clamped to [quant_min, quant_max]
    dequantize  the real number that a code stands for

A *uniform* format has evenly spaced levels, so that sums of codes are sums of values:

    value = (code - zero_point) * scale   with an exact zero         value = code * scale + zero_point   without

Any other format has levels of its own: value = level[code] * scale. Codes ascend with the values they stand for, and
`code_range` says how many there are; what bit pattern a standard gives to a level is a matter of files. Codes are whole
numbers kept in floating point, which holds every code of up to 16 bits exactly. Tensors handed to a format are fp32 (or
fp64): the caller casts. `low`, `high` and the parameters broadcast against `x`; where blocks of values share a scale,
`x` comes with an axis of blocks.

What other code has to know of a format is declared by the format; no code tests its name. A new format is one file in
this folder or in a folder of it:

    @FORMATS.register("power_of_two")
    class PowerOfTwo(NumberFormat):
        name = "power_of_two"
        is_uniform, has_exact_zero, covers_ends = False, True, True
        ...

>>> import torch
>>> from fairseq.quantization.formats import build_format
>>> affine = build_format("affine")
>>> x = torch.tensor([-1.0, 0.0, 0.3, 2.0])
>>> qparams = affine.qparams(x.min(), x.max(), num_bits=2)
>>> affine.quantize(x, qparams), affine.fake_quantize(x, qparams)
(tensor([0., 1., 1., 3.]), tensor([-1.,  0.,  0.,  2.]))
"""

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Optional, Protocol, Union

import torch
from torch import Tensor

from fairseq.errors import ConfigError, unknown
from fairseq.quantization.formats.refused import refusal
from fairseq.quantization.registry import Registry, build

FormatSpec = Union[str, Mapping[str, Any]]  # a name, or {"format": name, field: value, ...}


class QParams(NamedTuple):
    """The levels in force for a tensor.

    Attributes:
        scale: what a level is multiplied by; 1 of a format without scale.
        zero_point: in the format's meaning; 0 where it has none.
        quant_min, quant_max: smallest and largest code: numbers, or tensors inside a compiled kernel, which must not
            depend on the bits.
    """

    scale: Tensor
    zero_point: Tensor
    quant_min: Any
    quant_max: Any


class LevelTable(NamedTuple):
    """Levels as a list: the one taken is that with as many thresholds below x / scale as levels before it.

    Attributes:
        thresholds: fp32 (tables, N - 1), ascending.
        levels: fp32 (tables, N). There is one table, or one for each of the scales.
        of_ratio: whether thresholds are those of x / scale; otherwise of x itself.
    """

    thresholds: Tensor
    levels: Tensor
    of_ratio: bool = True


class FloatCodes(NamedTuple):
    """How codes are bit patterns of floating-point numbers without their sign, times that sign.

    Attributes:
        mantissa_bits: of a pattern; the bits above them are the exponent's field.
        least_exponent: of the least normal number, whose field is 1.
    """

    mantissa_bits: int
    least_exponent: int


class Noise(Protocol):
    """Rounding noise: adds u in [-1/2, 1/2] to each element, in place.

    The format says to what: to the place between two levels in units of their distance, so that the expected value is
    the real number itself, whatever the distance is there.
    """

    def add_to(self, x: Tensor) -> Tensor: ...


class NumberFormat(ABC):
    """One way of writing reals in few bits. What varies from tensor to tensor is in the `QParams`; settings of the
    format itself, if it has any, are keyword-only arguments with defaults, kept as attributes of the same names, and
    formats with the same ones are equal.

    Attributes:
        name: in configs, plans and files.
        presets: more names, each with the settings that it stands for.
        fixed_bits: the bits that settings fix; None where they follow from `num_bits`.
        takes_range: levels depend on the range of the values. Otherwise nothing observes it, and granularity has no
            effect.
        range_source: where one line's `fake_quantize` takes the range from if it is not told.
        takes_noise: whether rounding may be stochastic.
        holds_gradients: gradients can be rounded to it: there are levels on both sides of 0.
        scale_is_free: any positive number can be its scale, so that one can be given or learned.
        is_uniform: levels are evenly spaced. Integer products, learned scales and ONNX need it.
        has_exact_zero: real 0 is a level, whatever the range. A uniform format then has whole zero points.
        covers_ends: both ends of the range round to levels without clamping.
        is_symmetric: the levels mirror around 0, so that of a range only the larger magnitude counts.
        kernel_id: the format's number in `kernels/src/grids.h`, which has its arithmetic; None: torch's operations.
        min_bits, max_bits: the bits that it has.
        scale_bits, zero_point_bits: what the scale and the zero point of a range take in storage.
        zero_points_per_range: how many numbers a zero point is; several lie along a first axis.
        sees_whole: levels depend on all of a tensor, whatever shares a range (`bound_to`).
        needs_statistic: `qparams` takes the two numbers of the format's own `statistic` and no range, so that only
            range sources will do that ask for it.
        compiles: its operations can be compiled for all bits at once (`kernels/rounding.py`).
        backward: the gradient that rounding has unless `ste` says otherwise, a name that `ste` takes.
        ties: which of two levels takes what lies in the middle: `even`, with an even code; `inward`, nearer zero (of
            two equally near ones the positive one); `outward`, the other one, but zero rather than its neighbour.
    """

    name: ClassVar[str]
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    fixed_bits: Optional[int] = None
    takes_range: bool = True
    range_source: str = "minmax"
    takes_noise: bool = True
    holds_gradients: bool = True
    scale_is_free: bool = True
    is_uniform: ClassVar[bool]
    has_exact_zero: bool
    covers_ends: bool
    is_symmetric: bool = False
    kernel_id: ClassVar[Optional[int]] = None
    min_bits: int = 2
    max_bits: int = 16
    scale_bits: int = 32
    zero_point_bits: int = 0
    zero_points_per_range: int = 1
    sees_whole: ClassVar[bool] = False
    needs_statistic: ClassVar[bool] = False
    compiles: bool = True
    backward: ClassVar[str] = "plain"
    ties: str = "even"

    def __eq__(self, other: object) -> bool:  # a kernel is compiled once for equal formats
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(type(self))

    def __str__(self) -> str:
        return format_text(self.spec())

    def settings(self) -> dict[str, Any]:
        """The arguments with which it was made, defaults included."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def spec(self) -> FormatSpec:
        """What `build_format` makes an equal format of, as plain data: a name, with the settings that it needs."""
        settings = self.settings()
        parameters = inspect.signature(type(self)).parameters
        defaults = {name: parameters[name].default for name in settings}
        bases = {self.name: defaults, **{preset: {**defaults, **fields} for preset, fields in self.presets.items()}}
        # the name that leaves the fewest settings to be said; of a named variant all of its own are kept
        changed = {
            base: {name: value for name, value in settings.items() if value != usual[name]}
            for base, usual in bases.items()
            if all(settings[name] == usual[name] for name in self.presets.get(base, ()))
        }
        best = min(changed, key=lambda base: len(changed[base]))
        return {"format": best, **changed[best]} if changed[best] else best

    @property
    def block(self) -> Optional[tuple[int, int]]:
        """Rows and columns that share a scale which the format finds by a rule of its own; None: granularity says."""
        return None

    def native_blocks(self, num_bits: int) -> Optional[tuple[float, ...]]:
        """The fields of `Blocks` in `kernels/src/blocks.cpp`, which has this format's arithmetic; None: it has not."""
        return None

    def native_digits(self) -> Optional[tuple[float, ...]]:
        """The fields of `Digits` in `kernels/src/levels.cpp`, which rounds fp32 numbers likewise; None: it does not."""
        return None

    def native_levels(self, qparams: QParams) -> Optional[LevelTable]:
        """The levels, where rounding is to one of a list of levels (`kernels/src/levels.cpp`) in fp32; or None."""
        return None

    # --- arithmetic -----------------------------------------------------------------------------------------------

    def bound_to(self, x: Tensor) -> "NumberFormat":
        """The format for the blocks of `x`: itself, but where all blocks of a tensor have something in common."""
        return self

    def statistic(self, x: Tensor, axes: tuple[int, ...]) -> Optional[tuple[Tensor, Tensor]]:
        """The two numbers from which `qparams` makes the levels for `x`, taken over `axes`, which stay with size 1.

        None stands for the smallest and the largest value. Both numbers grow in proportion to x, so that they can be
        averaged and shrunk as the ends of a range can.
        """
        return None

    @abstractmethod
    def qparams(self, low: Tensor, high: Tensor, num_bits: int) -> QParams:
        """The parameters with which the levels cover [low, high], or those for the two numbers of `statistic`."""

    @abstractmethod
    def code_range(self, num_bits: int) -> tuple[int, int]:
        """Smallest and largest code."""

    @abstractmethod
    def quantize(
        self,
        x: Tensor,
        qparams: QParams,
        noise: Optional[Noise] = None,
        out: Optional[Tensor] = None,
        clamp: bool = True,
    ) -> Tensor:
        """Codes of `x`, in a new tensor or in `out`. `clamp=False` says that x lies between the outermost levels."""

    @abstractmethod
    def dequantize(self, codes: Tensor, qparams: QParams, out: Optional[Tensor] = None) -> Tensor:
        """The reals that codes stand for; `out` may be `codes`."""

    def fake_quantize(
        self,
        x: Tensor,
        qparams: QParams,
        noise: Optional[Noise] = None,
        out: Optional[Tensor] = None,
        clamp: bool = True,
    ) -> Tensor:
        """`x` rounded to the levels: quantize, then dequantize in the same buffer."""
        codes = self.quantize(x, qparams, noise, out, clamp)
        return self.dequantize(codes, qparams, out=codes)

    def is_inside(self, x: Tensor, qparams: QParams) -> Tensor:
        """Where `x` rounds to a level without clamping, as booleans."""
        if self.is_uniform:
            codes = self.quantize(x, qparams, clamp=False)
            inside: Tensor = (codes >= qparams.quant_min) & (codes <= qparams.quant_max)
            return inside
        ends = (torch.full_like(qparams.scale, end) for end in (qparams.quant_min, qparams.quant_max))
        least, most = (self.dequantize(end, qparams) for end in ends)
        return (x >= least) & (x <= most)

    # --- storage --------------------------------------------------------------------------------------------------

    def stored_scales(self, parts: Sequence[QParams], num_bits: int) -> tuple[Tensor, ...]:
        """The scales of a tensor's pieces in the types in which they are kept: fp32, or whole numbers of `scale_bits`
        bits, uint8. None of a format whose settings say all.
        """
        return tuple(part.scale for part in parts) if self.scale_bits else ()

    def scales_of(self, stored: Sequence[Tensor], num_bits: int) -> tuple[Tensor, ...]:
        """The scales, fp32, that `stored_scales` made `stored` of."""
        if self.scale_bits:
            return tuple(stored)
        nothing = torch.zeros(1, 1)
        return (self.qparams(nothing, nothing, num_bits).scale,)

    def stored_layout(self, shapes: Sequence[tuple[int, ...]]) -> list[tuple[torch.dtype, tuple[int, ...]]]:
        """Types and shapes of what `stored_scales` makes, for scales of these shapes."""
        return [(torch.float32, shape) for shape in shapes] if self.scale_bits else []

    # --- what it is, at given bits --------------------------------------------------------------------------------

    def max_value(self, num_bits: int) -> float:
        """The largest value in units of the scale; of a uniform format the largest code."""
        return self.code_range(num_bits)[1]

    def values(self, num_bits: int) -> Tensor:
        """Every level in units of the scale, ascending, fp64; of a format with a zero point, at zero point 0."""
        low, high = self.code_range(num_bits)
        one = torch.ones((), dtype=torch.float64)
        codes = torch.arange(low, high + 1, dtype=torch.float64)
        return self.dequantize(codes, QParams(one, torch.zeros_like(one), low, high))

    def special_values(self) -> dict[str, str]:
        """What becomes of zero, of values beyond the levels, of infinities and of NaN, in a few words each."""
        zero = "exact" if self.has_exact_zero else "not a level, unless the range makes it one"
        return {"zero": zero, "overflow": "clamped", "infinity": "spoils the range", "NaN": "spoils the range"}

    def with_scale(self) -> "NumberFormat":
        """This format with levels that are multiplied by a scale that the caller gives; ConfigError if it cannot."""
        if self.scale_is_free and self.has_exact_zero and not self.zero_point_bits:
            return self
        raise ConfigError(f"the format {self} takes no scale: a scale alone does not say where its levels lie")

    def num_levels(self, num_bits: int) -> int:
        """How many different values can share a scale."""
        low, high = self.code_range(num_bits)
        return high - low + 1

    def is_signed(self, num_bits: int) -> bool:
        """Whether codes run below zero."""
        return self.code_range(num_bits)[0] < 0

    def code_bits(self, num_bits: int) -> int:
        """What one code takes in storage."""
        return num_bits

    def code_dtype(self, num_bits: int) -> torch.dtype:
        """The smallest integer type that holds every code."""
        low, high = self.stored_codes(num_bits)
        for dtype in (torch.uint8, torch.int8, torch.int16):
            if low >= torch.iinfo(dtype).min and high <= torch.iinfo(dtype).max:
                return dtype
        return torch.int32

    def stored_codes(self, num_bits: int) -> tuple[int, int]:
        """Smallest and largest code that `quantize` may give, for finite values: those of levels, and of overflow."""
        return self.code_range(num_bits)

    def float_codes(self, num_bits: int) -> Optional[FloatCodes]:
        """Codes as floating point; None where they are no such patterns."""
        return None

    def first_code(self, num_bits: int) -> int:
        """The code that is stored as 0."""
        return -(2 ** (self.code_bits(num_bits) - 1)) if self.is_signed(num_bits) else 0

    def bits_per_value(self, num_bits: int, values_per_scale: Optional[int] = None) -> float:
        """Stored bits per value; `values_per_scale` spreads scale and zero point over the values that share them."""
        overhead = self.scale_bits + self.zero_point_bits
        return self.code_bits(num_bits) + (0.0 if values_per_scale is None else overhead / values_per_scale)

    def check_bits(self, num_bits: Any, where: str) -> int:
        """`num_bits` if this format has that many; ConfigError naming `where` otherwise."""
        whole = isinstance(num_bits, (int, float)) and not isinstance(num_bits, bool) and int(num_bits) == num_bits
        if not whole or not self.min_bits <= num_bits <= self.max_bits:
            raise ConfigError(
                f"{where}: {num_bits!r} bits; the format {self} has {self.bits_text()} "
                "(for full precision: `quantize: false` in a rule, or num_bits=0 for a call)"
            )
        return int(num_bits)

    def bits_text(self) -> str:
        """The bits that it has, in words."""
        if self.fixed_bits is not None:
            return f"{self.fixed_bits} bits, always"
        return f"{self.min_bits} to {self.max_bits} bits"


class FormatRegistry(Registry[Callable[..., NumberFormat]]):
    """Name -> what builds a format from its settings: a class, or a class with the settings of a preset."""

    def register(self, name: str, *aliases: str) -> Callable[[Any], Any]:
        enter = super().register(name, *aliases)

        def decorate(entry: Any) -> Any:
            for preset, fields in getattr(entry, "presets", {}).items():
                super(FormatRegistry, self).register(preset)(functools.partial(entry, **fields))
            return enter(entry)

        return decorate

    def lookup(self, name: str) -> Callable[..., NumberFormat]:
        reason = refusal(str(name))
        if reason is not None:
            raise ConfigError(f"{name} is {reason}")
        return super().lookup(name)


FORMATS = FormatRegistry("number format", __name__.rpartition(".")[0])


def build_format(spec: FormatSpec, where: str = "") -> NumberFormat:
    """The format called `spec`, or described by it: `{"format": name, field: value, ...}`.

    Args:
        spec: a name or a mapping.
        where: what begins messages.

    Raises:
        ConfigError: an unknown name or field (names the nearest), a value that cannot be.
    """
    place = f"{where}: " if where else ""
    if isinstance(spec, str):
        name, fields = spec, {}
    elif isinstance(spec, Mapping):
        fields = {str(key): value for key, value in spec.items()}
        name = fields.pop("format", None)
    else:
        name = None
    if not isinstance(name, str):
        raise ConfigError(
            f"{place}a number format is a name, such as 'symmetric', or a mapping with one, such as "
            f"{{format: minifloat, exponent_bits: 3}}; got {spec!r}"
        )
    reason = refusal(name)
    if reason is not None:
        raise ConfigError(f"{place}{name} is {reason}")
    if name not in FORMATS:
        raise ConfigError(f"{place}{unknown('number format', name, FORMATS.names())}")
    return build(FORMATS.lookup(name), fields, f"{place}format {name}")


def format_text(spec: FormatSpec) -> str:
    """A format's name and settings on one line.

    >>> format_text({"format": "minifloat", "exponent_bits": 3})
    'minifloat(exponent_bits=3)'
    """
    if isinstance(spec, str):
        return spec
    inner = ", ".join(f"{name}={value}" for name, value in spec.items() if name != "format")
    return f"{spec.get('format', '?')}({inner})" if inner else str(spec.get("format", "?"))
