"""Number formats side by side: what they are, their values, and their errors on the same numbers.

    rows = compare({"normal": [torch.randn(256, 256) * 0.04]})
    print(table(rows))

    SQNR = 10 log10(sum x^2 / sum (Q(x) - x)^2) dB       zeros: share of values that become 0 and were not
    errors are relative to the largest |x|               clipped: share of values beyond the outermost levels

Formats come from their registry: those whose settings fix their bits at these, others at 8, 4 and 2 bits where they
have as many. Each tensor is rounded as a weight: rows are cut into blocks, or share what `granularity` says.

>>> for row in compare({"two": [torch.tensor([[1.0, -0.4]])]}, ["ternary"]):
...     print(row.format, row.num_bits, row.sqnr > 5)
ternary 2 True
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Optional, Union

import torch
from torch import Tensor

from fairseq.errors import ConfigError
from fairseq.quantization.context import QuantizationContext
from fairseq.quantization.formats import FORMATS, FormatSpec, NumberFormat, build_format
from fairseq.quantization.quantizer import WEIGHT, Quantizer, QuantizerSpec

FREE_BITS = (8, 4, 2)  # at which a format is shown whose settings fix none
MOST_VALUED_BITS = 8
SHAPE = (256, 1024)  # of the random tensors
DEVIATION = 0.04


@dataclass
class Description:
    """One format, in a few words."""

    format: str
    fields: str
    bits: str
    bits_per_value: Optional[float]
    largest: Optional[float]
    zero: str
    overflow: str
    ties: str
    backward: str


@dataclass
class Comparison:
    """A format's errors on one set of numbers."""

    data: str
    format: str
    num_bits: int
    bits_per_value: float
    sqnr: float
    largest_error: float
    mean_error: float
    zeros: float
    clipped: float


def descriptions() -> list[Description]:
    """Every registered format, by name. Bits per value and the largest one are in units of its scale, and given where
    settings fix the bits.
    """
    found = []
    for name in FORMATS:
        number_format = build_format(name)
        bits, special = number_format.fixed_bits, number_format.special_values()
        fields = ", ".join(f"{field}={value}" for field, value in number_format.settings().items())
        per_value = None if bits is None else number_format.bits_per_value(bits)
        largest = None if bits is None else float(number_format.max_value(bits))
        found.append(
            Description(
                name,
                fields,
                number_format.bits_text(),
                per_value,
                largest,
                special["zero"],
                special["overflow"],
                number_format.ties,
                number_format.backward,
            )
        )
    return found


@dataclass
class Line:
    """A format on one line of a terminal: what is usual is left out."""

    format: str
    bits: str
    bits_per_value: Optional[float]
    largest: Optional[float]
    fields: str


def lines() -> list[Line]:
    """`descriptions` in short."""
    return [_line(row, build_format(row.format)) for row in descriptions()]


def _line(row: Description, number_format: NumberFormat) -> Line:
    fields, base = number_format.settings(), ""
    if row.format != number_format.name:  # a variant: what makes it differ
        usual = build_format(number_format.name).settings()
        fields, base = {key: value for key, value in fields.items() if value != usual[key]}, f"{number_format.name} of "
    is_switch = {key: not base and (value is None or isinstance(value, bool)) for key, value in fields.items()}
    words = [key if is_switch[key] else f"{key}={_setting(value)}" for key, value in fields.items()]
    unusual = [] if row.zero.startswith("exact") else [f"0 {row.zero}".replace("0 not", "0 is not")]
    unusual += [f"ties {row.ties}"] if row.ties != "even" else []
    unusual += [f"backward {row.backward}"] if row.backward != "plain" else []
    fixed = number_format.fixed_bits
    bits = f"{number_format.min_bits} to {number_format.max_bits}" if fixed is None else str(fixed)
    text = "; ".join([base + " ".join(words), *unusual] if words else unusual)
    return Line(row.format, bits, row.bits_per_value, row.largest, text)


def _setting(value: object) -> str:
    return f"[{', '.join(map(_cell, value))}]" if isinstance(value, (list, tuple)) else str(value)


LEGEND = """
largest   in units of the scale. Values beyond it become the largest one; with saturating=False infinity, or NaN where
          there is none. 0 stays 0 where the last column does not say otherwise
ties      which of two equally near values is taken: the one with an even code where nothing is said; inward, the one
          nearer zero; outward, the other one, but zero itself
backward  the gradient of rounding where `ste` names no other: plain passes it everywhere, also where a value was
          clamped; clipped stops it beyond the largest value; tanh, of binary numbers, has the slope of a smooth step.
          Plain where nothing is said; learned grids (`learned`) have their own
fields    those without a value are on, off or unset; of a variant, the ones that differ. Everything: --json FILE
"""


def representable(spec: FormatSpec, num_bits: Optional[int] = None) -> list[float]:
    """Every value of a format of at most 8 bits, ascending, in units of its scale.

    Raises:
        ConfigError: more bits, or bits that the format does not have.
    """
    number_format = build_format(spec)
    bits = number_format.fixed_bits if num_bits is None else num_bits
    if bits is None:
        raise ConfigError(f"format {number_format}: has {number_format.bits_text()}; say how many by --num-bits")
    bits = number_format.check_bits(bits, f"format {number_format}")
    if bits > MOST_VALUED_BITS:
        raise ConfigError(f"format {number_format}: values are listed of {MOST_VALUED_BITS} bits or fewer, not {bits}")
    return [float(value) for value in number_format.values(bits).tolist()]


def random_data(seed: int = 1) -> dict[str, list[Tensor]]:
    """Numbers as weights and activations have them: normal, Laplace, student-t of 3 degrees of freedom, and normal with
    every 64th channel 20 times as large; the first two of deviation 0.04.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    chi = torch.stack([normal(*SHAPE).square() for _ in range(3)]).sum(0) / 3
    uniform = torch.rand(SHAPE, generator=generator) - 0.5
    laplace = -uniform.sign() * torch.log1p(-2 * uniform.abs()) / 2**0.5
    outliers = normal(*SHAPE)
    outliers[:, ::64] *= 20
    found = {
        "normal": normal(*SHAPE),
        "laplace": laplace,
        "student-t": normal(*SHAPE) / chi.sqrt(),
        "outliers": outliers,
    }
    return {name: [tensor * DEVIATION] for name, tensor in found.items()}


def compare(
    data: Mapping[str, Sequence[Tensor]],
    formats: Optional[Iterable[FormatSpec]] = None,
    granularity: str = "tensor",
    num_bits: Optional[int] = None,
) -> list[Comparison]:
    """One row per set of numbers and format, best first.

    Args:
        data: name -> tensors of two axes or more, whose errors are added up.
        formats: every registered one if None.
        granularity: which values share a range, of formats that take one.
        num_bits: of formats whose settings fix none; 8, 4 and 2 if None.

    Raises:
        ConfigError: bits that no format has, numbers that are not finite or all 0.
    """
    chosen = list(_at_bits(formats, num_bits))
    if num_bits is not None and all(number_format.fixed_bits is not None for number_format, _ in chosen):
        raise ConfigError(f"num_bits {num_bits}: none of the formats whose settings fix no bits has as many")
    rows = []
    for name, tensors in data.items():
        found = [_errors(name, tensors, number_format, bits, granularity) for number_format, bits in chosen]
        rows += sorted(found, key=lambda row: -row.sqnr)
    return rows


def _at_bits(formats: Optional[Iterable[FormatSpec]], num_bits: Optional[int]) -> Iterator[tuple[NumberFormat, int]]:
    for spec in FORMATS if formats is None else formats:
        number_format = build_format(spec)
        if number_format.fixed_bits is not None:
            yield number_format, number_format.fixed_bits
            continue
        for bits in FREE_BITS if num_bits is None else (num_bits,):
            if number_format.min_bits <= bits <= number_format.max_bits:
                yield number_format, bits


@torch.no_grad()
def _errors(
    name: str, tensors: Sequence[Tensor], number_format: NumberFormat, num_bits: int, granularity: str
) -> Comparison:
    signal = noise = absolute = largest = most = stored = 0.0
    count = zeros = outside = 0
    for tensor in tensors:
        x = tensor.detach().float().reshape(tensor.shape[0], -1)
        if not bool(x.isfinite().all()):
            raise ConfigError(f"{name}: a tensor of shape {tuple(tensor.shape)} holds infinities or NaN")
        shared = granularity if number_format.block is None else "tensor"  # which the format's own blocks replace
        spec = QuantizerSpec(
            bits=num_bits, format=number_format.spec(), granularity=shared, range=number_format.range_source
        )
        quantizer = Quantizer(name, WEIGHT, spec, QuantizationContext(), shape=tuple(x.shape))
        y = quantizer.fake(x, num_bits)
        error = (y - x).abs()
        count += x.numel()
        signal += float(x.double().square().sum())
        noise += float(error.double().square().sum())
        absolute += float(error.double().sum())
        largest, most = max(largest, float(error.max())), max(most, float(x.abs().max()))
        zeros += int(((y == 0) & (x != 0)).sum())
        bound = quantizer.format.bound_to(x)
        for piece, qparams in zip(quantizer.pieces(x), quantizer.qparams(x, num_bits), strict=True):
            outside += int((~bound.is_inside(piece, qparams)).sum())
            if number_format.takes_range:
                stored += qparams.scale.numel() * (number_format.scale_bits + number_format.zero_point_bits)
        stored += number_format.code_bits(num_bits) * x.numel()
    if not count or not most:
        raise ConfigError(f"{name}: there are no numbers but 0 to compare formats on")
    sqnr = math.inf if noise == 0 else 10 * math.log10(signal / noise) if math.isfinite(noise) else -math.inf
    return Comparison(
        name, str(number_format), num_bits, stored / count, sqnr, largest / most, absolute / count / most,
        100 * zeros / count, 100 * outside / count,
    )  # fmt: skip


# --- output -----------------------------------------------------------------------------------------------------------

HEADS = {
    "data": "data", "format": "format", "num_bits": "bits", "bits_per_value": "bits/value", "sqnr": "SQNR dB",
    "largest_error": "max error", "mean_error": "mean error", "zeros": "zeros %", "clipped": "clipped %",
    "fields": "fields", "bits": "bits", "largest": "largest", "zero": "zero", "overflow": "overflow",
    "ties": "ties", "backward": "backward",
}  # fmt: skip


def table(rows: Sequence[Union[Comparison, Description, Line]]) -> str:
    """Rows as an aligned table, numbers to the right."""
    if not rows:
        return ""
    values = [asdict(row) for row in rows]
    columns = list(values[0])
    cells = [[HEADS[column] for column in columns], *([_cell(row[column]) for column in columns] for row in values)]
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    right = [all(not isinstance(row[column], str) for row in values) for column in columns]
    lines = []
    for line in cells:
        padded = [
            cell.rjust(width) if is_number else cell.ljust(width)
            for cell, width, is_number in zip(line, widths, right, strict=True)
        ]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def _cell(value: Union[str, float, None]) -> str:
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if value.is_integer() and abs(value) < 1e6 else f"{value:.4g}"


def unscaled_note(formats: Optional[Iterable[FormatSpec]] = None) -> str:
    """What to know of those among `formats` (all if None) that are cast without a scale, and could have one."""
    chosen = [build_format(spec) for spec in (FORMATS if formats is None else formats)]
    unscaled = [number_format for number_format in chosen if number_format.settings().get("scaled") is False]
    if not unscaled:
        return ""
    spec = unscaled[0].spec()
    scaled = {**({"format": spec} if isinstance(spec, str) else spec), "scaled": True}
    return (
        "\ncast as they are, without a scale, so that small values become 0 and large ones are clipped:\n"
        f"{', '.join(map(str, unscaled))}\n"
        f"fitted to the range of the values: --formats '{json.dumps(scaled)}', and in Python the same mapping\n"
    )


def write_plot(rows: Sequence[Comparison], path: Union[str, Path]) -> None:
    """SQNR over stored bits per value, a panel per set of numbers, as a PNG file. Needs matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [row for row in rows if math.isfinite(row.sqnr)]
    names = list(dict.fromkeys(row.data for row in rows))
    sizes = [row.sqnr for row in rows]
    distance = (max(sizes) - min(sizes)) / 55  # between two labels
    figure = Figure(figsize=(11 * len(names), 9), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        shown = [row for row in rows if row.data == name]
        axes.scatter([row.bits_per_value for row in shown], [row.sqnr for row in shown], s=14)
        for row, x, y in _label_places(shown, distance):
            axes.annotate(
                f"{row.format} {row.num_bits}",
                (row.bits_per_value, row.sqnr),
                (x, y),
                fontsize=7,
                va="center",
                arrowprops={"arrowstyle": "-", "linewidth": 0.3, "color": "gray", "shrinkA": 0, "shrinkB": 2},
            )
        left, right = axes.get_xlim()
        axes.set_xlim(left, right + (right - left) * 0.15)  # room for labels
        axes.set_title(name)
        axes.set_xlabel("stored bits per value")
    panels[0].set_ylabel("SQNR, dB")
    figure.savefig(path, dpi=120)


def _label_places(rows: Sequence[Comparison], distance: float) -> Iterator[tuple[Comparison, float, float]]:
    """Where each row's label begins: to the right of all rows of about as many bits, `distance` or more apart."""
    columns: dict[int, list[Comparison]] = {}
    for row in rows:
        columns.setdefault(int(row.bits_per_value), []).append(row)
    for column in columns.values():
        x, above = max(row.bits_per_value for row in column) + 0.12, math.inf
        for row in sorted(column, key=lambda row: -row.sqnr):
            above = min(row.sqnr, above - distance)
            yield row, x, above
