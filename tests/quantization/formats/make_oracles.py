"""What torchao and Brevitas make of hard numbers, as a file that `test_oracles.py` compares with ours.

    python make_oracles.py torchao ../../fixtures/formats/torchao.npz          # torchao 0.18.0, torch 2.13.0
    python make_oracles.py brevitas ../../fixtures/formats/brevitas.npz        # brevitas 0.13.4

It runs under an interpreter that has the library, and needs nothing of ours. Arrays: `fp32`, `bf16`, `fp16` are the
inputs of each type in blocks of 32 (bf16 as its bits), TYPE/FORMAT/x those of one format; TYPE/FORMAT or
TYPE/FORMAT/RULE are the results, and what ends with /scale the bytes of their scales.
"""

import sys

import numpy as np
import torch

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
ELEMENTS = {  # largest value, mantissa bits, exponent of the least normal value
    "mxfp8_e4m3": (448.0, 3, -6), "mxfp8_e5m2": (57344.0, 2, -14), "mxfp6_e2m3": (7.5, 3, 0),
    "mxfp6_e3m2": (28.0, 2, -2), "mxfp4": (6.0, 1, 0),
}  # fmt: skip
RULES = ("floor", "ceil", "even", "rceil")
SPLITS = [(e, m) for e in range(1, 6) for m in range(1, 7) if e + m <= 7]  # Brevitas has no mantissa of 0 bits


# --- inputs -----------------------------------------------------------------------------------------------------------


def magnitudes(exponent_bits, mantissa_bits, bias):
    """Values of a minifloat without infinity and NaN, from 0 upwards."""
    found = [m * 2.0 ** (1 - bias - mantissa_bits) for m in range(2**mantissa_bits)]
    for field in range(1, 2**exponent_bits):
        found += [(1 + m / 2**mantissa_bits) * 2.0 ** (field - bias) for m in range(2**mantissa_bits)]
    return torch.tensor(found, dtype=torch.float64)


def hard_values(levels, dtype):
    """Levels, ties, the neighbours of both in `dtype`, random numbers, powers of two, both ends, infinities, NaN."""
    ties = (levels[1:] + levels[:-1]) / 2
    random = torch.randn(60, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    powers = 2.0 ** torch.arange(-30, 31, 3, dtype=torch.float64)
    beyond = levels[-1] * torch.tensor([1.01, 1.04, 1.07, 1.3, 2, 900], dtype=torch.float64)
    x = torch.cat([levels, ties, random, random * levels[-1], powers, beyond]).to(dtype)
    kind = {4: torch.int32, 2: torch.int16}[x.element_size()]
    near = torch.cat([(x.view(kind) + step).view(dtype) for step in (1, -1)])
    info = torch.finfo(dtype)
    ends = torch.tensor([info.max, info.smallest_normal, info.smallest_normal / 4, 0.0, torch.inf]).to(dtype)
    x = torch.cat([x, near[near.isfinite()], ends])
    return torch.cat([x, -x, torch.tensor([torch.nan], dtype=dtype)])


def blocks(dtype):
    """(rows, 32): a block in each row; the last two have an infinity and a NaN."""
    generator = torch.Generator().manual_seed(2)
    info = torch.finfo(dtype)
    lowest, highest = (int(np.log2(end)) for end in (info.smallest_normal, info.max))

    def random(rows):
        return torch.randn(rows, 32, generator=generator, dtype=torch.float64)

    exponents = torch.linspace(lowest + 12, highest - 4, 24, dtype=torch.float64).round()
    rows = [random(24) * 2.0 ** exponents[:, None]]
    rows.append(random(12) * 2.0 ** torch.randint(-12, 12, (12, 32), generator=generator))  # elements' subnormals
    # the scale hangs on the leading bits of the largest: each of four, and just below the next power of two
    leading = (1 + torch.arange(16, dtype=torch.float64) / 16).repeat_interleave(2)
    leading[1::2] += 0.0302734375
    largest = random(32).clamp(-1, 1)
    largest[:, 5] = leading * 2.0 ** torch.tensor([3.0, -5.0]).repeat(16)
    rows.append(largest)
    for most, mantissa_bits, least in ELEMENTS.values():  # levels and ties under a scale of 1
        step = 2.0 ** (torch.arange(32) % 8 + least - mantissa_bits)
        row = (torch.arange(32, dtype=torch.float64) + 0.5) * step
        row = torch.where(row < most, row, row % most)
        row[0] = most
        rows += [row[None], -row[None] / 4]
    powers = 2.0 ** torch.linspace(lowest, highest, 20, dtype=torch.float64).round()
    rows.append(torch.stack([powers, -0.3 * powers, 0.75 * powers, 0 * powers], 1).repeat(1, 8))
    special = random(7)
    special[0], special[1] = 0.0, info.smallest_normal / 4  # subnormal
    special[2, 3], special[3] = info.max, special[3] * 0.1
    special[4, 0] = 448.0 * 6
    special[5, 3], special[6, 4] = torch.inf, torch.nan
    return torch.cat([*(part.clamp(-info.max, info.max) for part in rows), special]).to(dtype)


def blocks_of_16(dtype):
    """(rows, 64): blocks whose largest values are up to 2^20 apart, ties where scales are powers of two, zeros."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(40, 64, generator=generator, dtype=torch.float64)
    x *= 2.0 ** torch.randint(-16, 5, (40, 4), generator=generator).repeat_interleave(16, 1)
    ties = torch.tensor([6, 5, 3.5, 2.5, 1.75, 1.25, 0.75, 0.25], dtype=torch.float64)
    x[0] = torch.cat([ties, -ties]).repeat(4) * 2.0 ** torch.arange(4).repeat_interleave(16)
    x[1] = 0
    x[2, 0] = 448 * 6  # the tensor's scale is 1
    return x.to(dtype)


# --- libraries --------------------------------------------------------------------------------------------------------


def torchao(found):
    from torchao.prototype.mx_formats.config import ScaleCalculationMode
    from torchao.prototype.mx_formats.mx_tensor import to_dtype, to_mx
    from torchao.prototype.mx_formats.nvfp4_tensor import NVFP4Tensor, per_tensor_amax_to_scale

    kinds = {"mxfp8_e4m3": torch.float8_e4m3fn, "mxfp8_e5m2": torch.float8_e5m2, "mxfp6_e2m3": "fp6_e2m3",
             "mxfp6_e3m2": "fp6_e3m2", "mxfp4": torch.float4_e2m1fn_x2}  # fmt: skip
    for label, dtype in DTYPES.items():
        x = blocks(dtype)
        found[label] = stored(x)
        x = x.float() if dtype == torch.float16 else x  # it refuses fp16
        for name, kind in kinds.items():
            for rule in RULES if dtype == x.dtype else RULES[:1]:
                scale, data = to_mx(x, kind, 32, ScaleCalculationMode(rule))
                found[f"{label}/{name}/{rule}"] = to_dtype(data, scale, kind, 32, torch.float32).view_as(x).numpy()
                found[f"{label}/{name}/{rule}/scale"] = scale.view(torch.uint8).flatten().numpy()
        x = blocks_of_16(dtype)
        found[f"{label}/nvfp4/x"] = stored(x)
        x = x.float() if dtype == torch.float16 else x
        made = NVFP4Tensor.to_nvfp4(x, per_tensor_scale=per_tensor_amax_to_scale(x.abs().amax()))
        found[f"{label}/nvfp4"] = made.dequantize(torch.float32).numpy()
        found[f"{label}/nvfp4/scale"] = made.scale.view(torch.uint8).numpy()


def brevitas(found):
    from brevitas.core.bit_width import BitWidthConst
    from brevitas.core.bit_width.float import StaticExponentBias, StaticMaxMantissa
    from brevitas.core.function_wrapper import FloatClamp, Identity, TensorClamp
    from brevitas.core.quant.float import FloatQuant

    for split in SPLITS:
        bias = 2 ** (split[0] - 1) - 1
        name = f"e{split[0]}m{split[1]}"
        for label, dtype in DTYPES.items():
            if dtype != torch.float32 and sum(split) > 5 and split not in ((4, 3), (5, 2)):
                continue
            kind = FloatQuant(
                signed=True, exponent_bit_width_impl=BitWidthConst(split[0]),
                mantissa_bit_width_impl=BitWidthConst(split[1]), exponent_bias_impl=StaticExponentBias(bias),
                float_clamp_impl=FloatClamp(TensorClamp(), signed=True, saturating=True),
                input_view_impl=Identity(), compute_max_mantissa=StaticMaxMantissa(split[1]), dtype=dtype,
            )  # fmt: skip
            x = hard_values(magnitudes(*split, bias), dtype)
            found[f"{label}/{name}/x"] = stored(x)
            with torch.no_grad():
                found[f"{label}/{name}"] = stored(kind(x)[0].to(dtype))


def stored(x):
    return x.view(torch.int16).numpy() if x.dtype == torch.bfloat16 else x.numpy()


if __name__ == "__main__":
    results: dict = {}
    {"torchao": torchao, "brevitas": brevitas}[sys.argv[1]](results)
    np.savez_compressed(sys.argv[2], **results)
