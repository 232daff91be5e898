"""Every registered format packs into the bits that it promises, and what is read back is what it rounds to."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from fairseq.checkpoint.packed import read_packed
from fairseq.quantization.formats import FORMATS, FormatSpec, build_format
from fairseq.quantization.kernels.packing import MAX_CODE_BITS, pack_codes, unpack_codes
from fairseq.quantization.products.packed_weight import pack_weight
from fairseq.quantization.quantizer import WEIGHT, QuantizationContext, Quantizer, QuantizerSpec

NAMES = FORMATS.names()  # presets and aliases, too
GRANULARITIES = ("tensor", "channel", "group:5")
SHAPES = ((3, 13), (1, 40), (5, 1), (1, 1))
SETTINGS: list[FormatSpec] = [
    {"format": "block_fp", "exponent_bits": 5, "width": 7},
    {"format": "block_fp", "exponent_bits": 3, "width": 3, "block_size": [2, 4]},
    {"format": "block_minifloat", "width": 6, "exponent_bits": 2, "bias_bits": 4},
    {"format": "block_log", "width": 5, "bias_bits": 7},
    {"format": "mxfp6", "block_size": [4, 8]},
    {"format": "nvfp4", "block_size": [4, 4]},
    {"format": "minifloat", "exponent_bits": 3, "mantissa_bits": 1},
    {"format": "minifloat", "exponent_bits": 5, "mantissa_bits": 6, "scaled": True},
    {"format": "minifloat", "exponent_bits": 4, "mantissa_bits": 3, "top": "fnuz", "saturating": False},
    {"format": "minifloat", "exponent_bits": 4, "mantissa_bits": 3, "top": "fn", "saturating": False},
    {"format": "fixed_point", "width": 7, "frac_width": 4},
    {"format": "fixed_point", "width": 1, "frac_width": 0, "signed": False},
    {"format": "codebook", "values": [-1.0, -0.3, 0.0, 0.3, 1.0]},
    {"format": "ternary", "threshold": 0.5, "scale": "mean"},
    {"format": "binary_residual", "terms": 4},
]


def widths(spec: FormatSpec) -> Iterator[int]:
    """The bits of a format that codes can have, but not all sixteen."""
    number_format = build_format(spec)
    for bits in (1, 2, 3, 4, 6, 8, 11, 16):
        if number_format.min_bits <= bits <= min(number_format.max_bits, MAX_CODE_BITS):
            yield bits


def weight_of(shape: tuple[int, int]) -> Tensor:
    """Values of all sizes, zeros and equal ones."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(shape[1])) * torch.logspace(-3, 3, shape[0])[:, None]
    x.view(-1)[::7] = 0
    x.view(-1)[1::11] = -0.0
    x[shape[0] // 2, -1] = 0.375
    return x


def promised_bytes(quantizer: Quantizer, shape: tuple[int, int], num_bits: int) -> int:
    """Rows of codes in whole bytes, and what the format says of a scale, per range."""
    number_format, (rows, columns) = quantizer.format, shape
    codes = rows * math.ceil(columns * number_format.code_bits(num_bits) / 8)
    block = number_format.block
    if block is not None:
        ranges = [
            (math.ceil(rows / block[0]), columns // block[1]),
            (math.ceil(rows / block[0]), columns % block[1] > 0),
        ]
        if rows % block[0] and rows > block[0]:  # the blocks at the lower end are pieces of their own
            ranges = [(height, count) for height in (rows // block[0], 1) for _, count in ranges]
    elif not number_format.takes_range or quantizer.granularity.kind == "tensor":
        ranges = [(1, 1)]
    elif quantizer.granularity.kind == "channel":
        ranges = [(rows, 1)]
    else:
        ranges = [(rows, math.ceil(columns / quantizer.granularity.number))]
    whole = 4 if number_format.name == "nvfp4" else 0  # the scale of the tensor
    return codes + whole + sum(
        height * math.ceil(count * (number_format.scale_bits + number_format.zero_point_bits) / 8)
        for height, count in ranges
    )  # fmt: skip


def same_bits(found: Tensor, expected: Tensor) -> bool:
    """Equal bit for bit; no format has a negative zero, though rounding may leave one, and NaN is one value."""
    if not torch.equal(found.isnan(), expected.isnan()):
        return False
    found, expected = (x.masked_fill(expected.isnan(), 0.0) + 0.0 for x in (found, expected))
    return torch.equal(found.view(torch.int32), expected.view(torch.int32))


@pytest.mark.parametrize("spec", [*NAMES, *SETTINGS], ids=str)
def test_bits_on_disk_are_those_promised(spec: FormatSpec) -> None:
    number_format = build_format(spec)
    granularities = ("tensor",) if number_format.block or not number_format.takes_range else GRANULARITIES
    for num_bits in widths(spec):
        for granularity in granularities:
            for shape in SHAPES:
                where = (num_bits, granularity, shape)
                settings = QuantizerSpec(
                    format=number_format.spec(), granularity=granularity, range=number_format.range_source
                )
                quantizer = Quantizer("w", WEIGHT, settings, QuantizationContext(), shape=shape)
                weight = weight_of(shape)
                packed = pack_weight(quantizer, weight, num_bits)
                read = read_packed(packed.as_dict())
                assert same_bits(read.values(), quantizer.fake(weight, num_bits)), where
                promised = promised_bytes(quantizer, shape, num_bits)
                if packed.zero_points is None and number_format.zero_point_bits:  # all were 0
                    assert read.num_bytes < promised, where
                else:
                    assert read.num_bytes == promised, where
                rows = torch.tensor([shape[0] - 1, 0, 0])
                if quantizer.granularity.kind != "block":
                    assert same_bits(read.rows(rows).values(), read.values()[rows]), where


@pytest.mark.parametrize("spec", [*NAMES, *SETTINGS], ids=str)
def test_bits_per_value_are_those_that_the_format_says(spec: FormatSpec) -> None:
    """On rows that blocks and bytes divide: `bits_per_value` is what a file takes, to the bit."""
    number_format, shape = build_format(spec), (64, 512)
    settings = QuantizerSpec(format=number_format.spec(), granularity="group:64", range=number_format.range_source)
    if number_format.block is not None:
        settings = QuantizerSpec(format=number_format.spec())
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0)) + 0.1
    for num_bits in widths(spec):
        quantizer = Quantizer("w", WEIGHT, settings, QuantizationContext(), shape=shape)
        packed = pack_weight(quantizer, weight, num_bits)
        per_scale = 64 if number_format.takes_range and number_format.block is None else None
        of_tensor = 32 if number_format.name == "nvfp4" else 0
        expected = number_format.bits_per_value(num_bits, per_scale) * weight.numel() + of_tensor
        assert packed.num_bytes * 8 == expected, num_bits


def test_overflow_has_a_code() -> None:
    """Formats that do not saturate: infinities and NaN of overflow are packed, not refused."""
    weight = torch.tensor([[1e6, -1e6, 1.0, 0.0]])
    for spec, expected in (
        ("fp8_e5m2_ieee", [math.inf, -math.inf, 1.0, 0.0]),
        (SETTINGS[8], None),
        (SETTINGS[9], None),
    ):
        quantizer = Quantizer("w", WEIGHT, QuantizerSpec(format=spec), QuantizationContext(), shape=(1, 4))
        packed = read_packed(pack_weight(quantizer, weight, 8).as_dict())
        assert packed.data.nbytes == packed.num_bytes == 4
        assert same_bits(packed.values(), quantizer.fake(weight, 8))
        assert packed.values().tolist()[0] == expected or packed.values()[0, :2].isnan().all()


@pytest.mark.parametrize("width", range(1, MAX_CODE_BITS + 1))
def test_codes_of_every_width(width: int) -> None:
    generator = torch.Generator().manual_seed(width)
    for columns in (1, 7, 8, 9, 31, 256, 1025):
        codes = torch.randint(0, 2**width, (70, columns), generator=generator)
        codes[0], codes[-1] = 0, 2**width - 1
        data = pack_codes(codes, width)
        assert data.nbytes == 70 * math.ceil(columns * width / 8)
        assert torch.equal(unpack_codes(data, width, columns).long(), codes)
