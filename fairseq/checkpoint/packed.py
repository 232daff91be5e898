"""Checkpoints of packed weights: codes in place of the weights that quantizers round, all else as usual.

packed_weights   key of the weight -> PackedWeight.as_dict(): version, codes, columns, scales, zero_points, format,
                 granularity, num_bits, and the layout of a weight that is no matrix, or another one
model            the other weights

Reading such a file gives the weights too, with the values of their codes, so that everything that takes
checkpoints takes these; who evaluates keeps the codes (`fairseq.quantization.integer_weights`).

>>> read_packed({"codes": torch.zeros(2, 2)})
Traceback (most recent call last):
...
ValueError: is not a packed weight
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fairseq.errors import CheckpointError, ConfigError
from fairseq.quantization.formats import NumberFormat, build_format
from fairseq.quantization.granularity import Granularity
from fairseq.quantization.kernels.packing import MAX_CODE_BITS, pack_codes, row_bytes, unpack_codes
from fairseq.quantization.products.packed_scales import (
    Shapes,
    pack_scales,
    packed_layout,
    range_shapes,
    unpack_scales,
    zero_point_layout,
)
from fairseq.quantization.products.packed_weight import PackedWeight
from fairseq.quantization.products.weight_layout import WeightLayout
from fairseq.quantization.versions import PACKED_VERSION, clear_format

KEY = "packed_weights"
FIELDS = set(PackedWeight._fields) - {"data", "layout"} | {"codes"}
AVERAGES = ("ema", "ema_fp32_params")


def unpack_state(state: dict[str, Any], path: str) -> None:
    """Check the packed weights of a checkpoint's contents, and put their values among the others, in place.

    Raises:
        CheckpointError: codes, scales or settings that packing never writes.
    """
    entries = state[KEY]
    if not isinstance(entries, dict) or not all(isinstance(key, str) for key in entries):
        raise CheckpointError(f"checkpoint {path} is not in fairseq's layout: its {KEY} are no dictionary by key")
    found = {}
    for key, entry in entries.items():
        try:
            if key in state["model"]:
                raise ValueError("is there in full, too")
            found[key] = read_packed(entry)
        except ValueError as error:
            raise CheckpointError(
                f"checkpoint {path}: packed weight {key!r} {error}; use another copy of the file"
            ) from None
        state["model"][key] = found[key].weight()
    state[KEY] = found


def pack_state(state: Mapping[str, Any], packed: Mapping[str, PackedWeight], half: bool = False) -> dict[str, Any]:
    """`state` of a checkpoint with codes for the weights in `packed`, without optimizer state and averaged weights.

    Args:
        half: write what is not packed in fp16, where fp16 reaches.

    Raises:
        CheckpointError: a scale that is not above 0, which no reader would take.
    """
    for key, weight in packed.items():
        scales = [scale for scale in weight.scales if scale.is_floating_point()]
        if any(bool((scale <= 0).any()) for scale in scales):
            least = min(float(scale.amin()) for scale in scales)
            raise CheckpointError(
                f"weight {key} cannot be packed: it has a scale of {least:.3g}, which is not above 0; give it another "
                "format, or leave it out by a rule with quantize: false"
            )
    kept = {key: value for key, value in state.items() if key not in ("last_optimizer_state", KEY)}
    kept["extra_state"] = {key: v for key, v in state.get("extra_state", {}).items() if key not in AVERAGES}
    rest = OrderedDict((key, value) for key, value in state["model"].items() if key not in packed)
    kept["model"] = _halved(rest) if half else rest
    kept[KEY] = {key: weight.as_dict() for key, weight in packed.items()}
    return kept


def _halved(weights: "OrderedDict[str, Any]") -> "OrderedDict[str, Any]":
    """fp32 tensors in fp16 where fp16 reaches; tied ones stay tied, or they would be stored twice."""
    done: dict[tuple[Any, ...], Tensor] = {}
    halved: OrderedDict[str, Any] = OrderedDict()
    for key, value in weights.items():
        if isinstance(value, Tensor) and value.dtype == torch.float32:
            place = (value.data_ptr(), value.shape, value.stride()) if value.numel() else (key,)
            if place not in done:
                half = value.half()
                done[place] = value if bool((half.isinf() & value.isfinite()).any()) else half
            value = done[place]
        halved[key] = value
    return halved


# --- checks of untrusted input ---------------------------------------------------------------------------------------


def read_packed(entry: Any) -> PackedWeight:
    """The weight that `as_dict` wrote.

    Raises:
        ValueError: what cannot be right about the entry, in a few words.
    """
    if not isinstance(entry, Mapping) or set(entry) - {"version", "layout"} != FIELDS:
        raise ValueError("is not a packed weight")
    num_bits, columns, version = entry["num_bits"], entry["columns"], _known_version(entry)
    number_format = _known_format(clear_format(entry["format"], version))
    most = min(number_format.max_bits, MAX_CODE_BITS)
    if type(num_bits) is not int or not number_format.min_bits <= num_bits <= most:
        raise ValueError(f"has {num_bits!r} bits; {number_format} has {number_format.min_bits} to {most}")
    granularity = _known_granularity(entry["granularity"])
    data = _checked_data(entry["codes"], columns, number_format.code_bits(num_bits), version)
    shapes = range_shapes(granularity, (data.shape[0], columns))
    layout = WeightLayout.read(entry.get("layout"), (data.shape[0], columns))
    scales, zeros = _checked_scales(entry["scales"], number_format, shapes, version), None
    kept = number_format.scales_of(unpack_scales(number_format, scales, shapes), num_bits)
    if any(bool((scale <= 0).any()) for scale in kept):
        raise ValueError("has scales that are not above 0")
    if entry["zero_points"] is not None:
        zeros = _numbers("zero points", entry["zero_points"], zero_point_layout(number_format, shapes))
    found = PackedWeight(data, columns, scales, zeros, number_format.spec(), entry["granularity"], num_bits, layout)
    low, high = number_format.stored_codes(num_bits)
    codes, first = found.unpacked(), number_format.first_code(num_bits)
    if int(codes.min()) < low - first or int(codes.max()) > high - first:
        raise ValueError(f"has codes that {number_format} does not have at {num_bits} bits")
    whole = number_format.is_uniform and number_format.has_exact_zero
    if whole and any(bool(((z < low) | (z > high) | (z != z.round())).any()) for z in zeros or ()):
        raise ValueError("has zero points that are no codes")
    return found


def _known_version(entry: Mapping[str, Any]) -> int:
    version = entry.get("version", 1)
    if type(version) is not int or not 1 <= version <= PACKED_VERSION:
        raise ValueError(f"is of version {version!r}, and this build reads up to {PACKED_VERSION}")
    return version


def _known_format(spec: Any) -> NumberFormat:
    try:
        return build_format(spec)
    except ConfigError:
        raise ValueError(f"has the number format {spec!r}, which is not known here") from None


def _known_granularity(text: Any) -> Granularity:
    try:
        if not isinstance(text, str):
            raise ConfigError("no text")
        found = Granularity.parse(text)
        found.reduced(torch.empty(1, 1, device="meta"))
        return found
    except ConfigError:
        raise ValueError(f"has the granularity {text!r}, which is not known here") from None


def _checked_data(data: Any, columns: Any, code_bits: int, version: int) -> Tensor:
    """Packed codes as today's version has them."""
    width = code_bits if version == PACKED_VERSION else next(n for n in (1, 2, 4, 8, 16) if n >= code_bits)
    dtype = torch.int16 if width == MAX_CODE_BITS else torch.uint8
    if type(columns) is not int or columns < 1:
        raise ValueError(f"has {columns!r} columns")
    if not isinstance(data, Tensor) or data.dim() != 2 or data.dtype != dtype or not data.shape[0]:
        raise ValueError(f"has no matrix of {str(dtype).removeprefix('torch.')} codes")
    if data.shape[1] != (columns if dtype == torch.int16 else row_bytes(columns, width)):
        raise ValueError(f"has {data.shape[1]} numbers a row for {columns} codes of {code_bits} bits")
    if width == code_bits:
        return data.contiguous()
    codes = unpack_codes(data, width, columns)
    if int(codes.max()) >= 2**code_bits:
        raise ValueError(f"has codes of more than {code_bits} bits")
    return pack_codes(codes, code_bits)


def _checked_scales(parts: Any, number_format: NumberFormat, shapes: Shapes, version: int) -> tuple[Tensor, ...]:
    """Packed scales as today's version has them."""
    if version == PACKED_VERSION:
        return _numbers("scales", parts, packed_layout(number_format, shapes))
    layout = number_format.stored_layout(shapes)
    if not layout:  # then there was one number, which the format's settings give
        return _numbers("scales", parts, [(torch.float32, shape) for shape in shapes])[:0]
    return pack_scales(number_format, _numbers("scales", parts, layout))


def _numbers(what: str, parts: Any, layout: list[tuple[torch.dtype, tuple[int, ...]]]) -> tuple[Tensor, ...]:
    if not isinstance(parts, (list, tuple)) or len(parts) != len(layout):
        raise ValueError(f"has no {what}, or not as many as its granularity asks for")
    for part, (dtype, shape) in zip(parts, layout, strict=True):
        if not isinstance(part, Tensor) or part.dtype != dtype or tuple(part.shape) != shape:
            kind = "fp32" if dtype == torch.float32 else str(dtype).removeprefix("torch.")
            raise ValueError(f"has {what} that are not {kind} of shape {'x'.join(map(str, shape))}")
        if not bool(part.isfinite().all()):
            raise ValueError(f"has {what} that are not finite")
    return tuple(part.contiguous() for part in parts)
