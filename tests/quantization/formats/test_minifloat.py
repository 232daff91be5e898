"""Minifloats against every value that they have, and against casts of other people."""

import copy
import math
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from fairseq.errors import ConfigError, DataError
from fairseq.quantization import fake_quantize, quantize_model
from fairseq.quantization.formats import build_format
from fairseq.quantization.quantizer import ACTIVATION, QuantizationContext, Quantizer, QuantizerSpec
from tests.quantization.formats.tools import DTYPES, denormal, hard_inputs, minifloat, nearest, same

NAMED = {
    "fp8_e4m3": (4, 3, 7, "fn"),
    "fp8_e5m2": (5, 2, 15, "ieee"),
    "fp6_e3m2": (3, 2, 3, "numbers"),
    "fp6_e2m3": (2, 3, 1, "numbers"),
    "fp4_e2m1": (2, 1, 1, "numbers"),
    "fp8_e3m4_ieee": (3, 4, 3, "ieee"),
    "fp8_e4m3_ieee": (4, 3, 7, "ieee"),
    "fp8_e5m2_ieee": (5, 2, 15, "ieee"),
    "fp8_e4m3_fnuz": (4, 3, 8, "fnuz"),
    "fp8_e5m2_fnuz": (5, 2, 16, "fnuz"),
    "fp8_e4m3b11_fnuz": (4, 3, 11, "fnuz"),
}
SPLITS = [(e, m) for e in range(1, 6) for m in range(6) if e + m <= 7]
LARGEST = {"fp8_e4m3": 448, "fp8_e5m2": 57344, "fp6_e3m2": 28, "fp6_e2m3": 7.5, "fp4_e2m1": 6, "fp8_e4m3_ieee": 240,
           "fp8_e4m3_fnuz": 240, "fp8_e5m2_fnuz": 57344, "fp8_e4m3b11_fnuz": 30}  # fmt: skip
ML_DTYPES = {"fp8_e4m3_ieee": "float8_e4m3", "fp8_e5m2_ieee": "float8_e5m2", "fp8_e3m4_ieee": "float8_e3m4",
             "fp8_e4m3": "float8_e4m3fn", "fp8_e4m3_fnuz": "float8_e4m3fnuz", "fp8_e5m2_fnuz": "float8_e5m2fnuz",
             "fp8_e4m3b11_fnuz": "float8_e4m3b11fnuz", "fp6_e3m2": "float6_e3m2fn", "fp6_e2m3": "float6_e2m3fn",
             "fp4_e2m1": "float4_e2m1fn"}  # fmt: skip


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("dtype", DTYPES)
def test_named_formats_round_to_the_nearest_value(name: str, dtype: torch.dtype) -> None:
    levels, number_format = minifloat(*NAMED[name]), build_format(name)
    assert number_format.max_value(8) == levels.values[-1] == LARGEST.get(name, levels.values[-1])
    both = sorted({*levels.values, *-levels.values})
    assert number_format.values(8).tolist() == both and number_format.num_levels(8) == len(both)
    x = hard_inputs(levels.values, dtype)
    overflow = math.inf if name.endswith("ieee") else None
    found = fake_quantize(x, name)
    assert found.dtype == dtype and same(found, nearest(x, levels, overflow).to(dtype))


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("top", ["numbers", "fn", "ieee", "fnuz"])
def test_every_split_and_top(split: tuple[int, int], top: str) -> None:
    for subnormals in (True, False):
        for shift in (0, 3):
            bias = 2 ** (split[0] - 1) - (top != "fnuz") + shift
            levels = minifloat(*split, bias, top, subnormals)
            fields = {"exponent_bits": split[0], "mantissa_bits": split[1], "bias": bias, "top": top}
            spec = {"format": "minifloat", **fields, "subnormals": subnormals}
            if len([value for value in levels.values if value >= 2.0 ** (1 - bias)]) == 0:
                with pytest.raises(ConfigError, match="no exponent for numbers"):
                    build_format(spec)
                continue
            x = hard_inputs(levels.values, torch.float32)
            assert same(fake_quantize(x, spec), nearest(x, levels))
            if top != "numbers":
                overflow = math.inf if top == "ieee" else math.nan
                loose = {**spec, "saturating": False}
                step = 2.0 ** (math.floor(math.log2(levels.values[-1])) - split[1])
                assert same(fake_quantize(x, loose), nearest(x, levels, overflow, step))
            elif split[1] == 0:
                assert build_format(spec).num_levels(0) == 2 * 2 ** split[0] - 1


@pytest.mark.parametrize("split", [(4, 3), (2, 1), (1, 2), (5, 2), (3, 1), (2, 5)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_denormal(split: tuple[int, int], dtype: torch.dtype) -> None:
    bias = 2 ** (split[0] - 1) - 1
    levels = denormal(*split, bias)
    spec = {"format": "minifloat_denorm", "exponent_bits": split[0], "mantissa_bits": split[1]}
    number_format = build_format(spec)
    assert number_format.values(0).tolist() == sorted({*levels.values, *-levels.values})
    x = hard_inputs(levels.values, dtype)
    assert same(fake_quantize(x, spec), nearest(x, levels).to(dtype))


def test_values_known_to_come_out_wrong_elsewhere() -> None:
    denorm, ieee = {"format": "minifloat_denorm"}, {"format": "minifloat"}
    x = torch.tensor([1.0, 2.0, 0.5])
    assert fake_quantize(x, denorm).tolist() == [1.0, 2.0, 0.5]
    x = torch.tensor([0.99, 1.99, 7.99])
    assert fake_quantize(x, ieee).tolist() == fake_quantize(x, "fp8_e4m3").tolist() == [1.0, 2.0, 8.0]
    tiny = {"format": "minifloat", "exponent_bits": 5, "mantissa_bits": 2, "bias": 120}
    assert fake_quantize(torch.tensor([1e-33]), tiny).item() == pytest.approx(1e-33, rel=0.125)


@pytest.mark.parametrize(
    ("name", "saturating", "kind"),
    [("fp8_e4m3", True, "e4m3fn"), ("fp8_e5m2", False, "e5m2"), ("fp8_e4m3_fnuz", False, "e4m3fnuz"),
     ("fp8_e5m2_fnuz", False, "e5m2fnuz")],
)  # fmt: skip
@pytest.mark.parametrize("dtype", DTYPES)
def test_torch_casts_alike(name: str, saturating: bool, kind: str, dtype: torch.dtype) -> None:
    number_format = build_format({"format": name, "saturating": saturating})
    x = hard_inputs(number_format.values(8)[number_format.num_levels(8) // 2 :].numpy(), dtype)
    # torch saturates e4m3fn, infinities too, and lets the others overflow
    expected = x.to(getattr(torch, f"float8_{kind}")).float()
    found = fake_quantize(x, {"format": name, "saturating": saturating})
    assert same(found, expected.to(dtype))


def test_ml_dtypes_casts_alike() -> None:
    python = os.environ.get("ML_DTYPES_PYTHON", sys.executable)
    program = (
        "import sys, numpy as np, ml_dtypes\n"
        "x = np.frombuffer(sys.stdin.buffer.read(), np.float32)\n"
        "for name in sys.argv[1:]:\n"
        "    sys.stdout.buffer.write(x.astype(getattr(ml_dtypes, name)).astype(np.float32).tobytes())\n"
    )
    if subprocess.run([python, "-c", "import ml_dtypes"], capture_output=True).returncode:
        pytest.skip("ml_dtypes is not installed; ML_DTYPES_PYTHON may name a Python that has it")
    x = torch.cat([hard_inputs(minifloat(*NAMED[name]).values, torch.float32) for name in NAMED])
    command = [python, "-c", program, *ML_DTYPES.values()]
    output = subprocess.run(command, input=x.numpy().tobytes(), capture_output=True, check=True).stdout
    for name, row in zip(ML_DTYPES, np.frombuffer(output, np.float32).reshape(len(ML_DTYPES), -1), strict=True):
        expected = torch.from_numpy(row.copy())
        saturates = name.startswith(("fp6", "fp4"))  # as ml_dtypes does: fp8 overflows, e4m3fn to NaN
        found = fake_quantize(x, name if saturates else {"format": name, "saturating": False})
        if saturates:  # ml_dtypes has no NaN there and makes it 0
            expected = torch.where(x.isnan(), torch.nan, expected)
        assert same(found, expected), name


@pytest.mark.parametrize("name", [*NAMED, "minifloat", "minifloat_denorm"])
def test_idempotent_monotone_odd_and_the_same_as_codes(name: str) -> None:
    number_format = build_format(name)
    half = number_format.values(8)[number_format.num_levels(8) // 2 :].numpy()
    x = hard_inputs(half, torch.float32)
    y = fake_quantize(x, name)
    assert same(fake_quantize(y, name), y) and same(fake_quantize(-x, name), -y)
    ascending = fake_quantize(x[~x.isnan()].sort().values, name)
    assert (ascending[1:] >= ascending[:-1]).all()
    assert not torch.signbit(y[y == 0]).any()
    quantizer = Quantizer("x", ACTIVATION, QuantizerSpec(format=name), QuantizationContext())
    inside = x[y.isfinite() & x.isfinite()]
    codes, (qparams,) = quantizer.codes(inside, 8), quantizer.qparams(inside, 8)
    assert torch.equal(number_format.dequantize(codes.float(), qparams), fake_quantize(inside, name))


def test_long_tensors_strides_fp64_and_memory_given() -> None:
    levels = minifloat(*NAMED["fp8_e4m3"])
    x = torch.randn(300, 700) * 30
    expected = nearest(x, levels)
    assert x.numel() > 3 * 2**16 and same(fake_quantize(x, "fp8_e4m3"), expected)
    assert same(fake_quantize(x.t(), "fp8_e4m3"), expected.t()) and same(
        fake_quantize(x[:, ::3], "fp8_e4m3"), expected[:, ::3]
    )
    fine = x.double() + 1e-12  # beside a tie in fp64, on it in fp32
    fine[0, 0] = 1.0625 + 1e-12
    assert (
        same(fake_quantize(fine, "fp8_e4m3"), nearest(fine, levels)) and fake_quantize(fine, "fp8_e4m3")[0, 0] == 1.125
    )
    number_format = build_format("fp8_e4m3")
    (qparams,) = Quantizer("x", ACTIVATION, QuantizerSpec(format="fp8_e4m3"), QuantizationContext()).qparams(x, 8)
    room = x.clone()
    assert number_format.fake_quantize(room, qparams, None, room) is room and same(room, expected)


def test_wide_exponents_need_fp64_inside() -> None:
    bf16 = {"format": "minifloat", "exponent_bits": 8, "mantissa_bits": 7, "top": "ieee", "saturating": False}
    x = hard_inputs(np.array([0.0, 2.0**-133, 1.0, 2.0**127 * 1.984375]), torch.float32)
    assert same(fake_quantize(x, bf16), x.bfloat16().float())
    fp16 = {"format": "minifloat", "exponent_bits": 5, "mantissa_bits": 10, "top": "ieee", "saturating": False}
    x = hard_inputs(np.array([0.0, 2.0**-24, 1.0, 65504.0]), torch.float32)
    assert same(fake_quantize(x, fp16), x.half().float())


def test_scale() -> None:
    x = torch.randn(6, 50)
    scale = torch.rand(6, 1) + 0.1
    expected = fake_quantize(x / scale, "fp4_e2m1") * scale
    assert torch.equal(fake_quantize(x, "fp4_e2m1", scale=scale), expected)
    large = torch.randn(300, 700)  # worked through in pieces
    assert torch.equal(fake_quantize(large, "fp4_e2m1", scale=0.3), fake_quantize(large / 0.3, "fp4_e2m1") * 0.3)
    by_row = fake_quantize(x, {"format": "fp4_e2m1", "scaled": True}, granularity="token")
    largest = x.abs().amax(1, keepdim=True)
    assert torch.equal(by_row, fake_quantize(x, "fp4_e2m1", scale=largest / 6))
    assert torch.allclose(by_row.abs().amax(1, keepdim=True), largest)
    assert build_format({"format": "fp4_e2m1", "scaled": True}).bits_per_value(4, 32) == 5.0
    assert build_format("fp4_e2m1").bits_per_value(4, 32) == 4.0


def test_stochastic_rounding_keeps_the_mean() -> None:
    for value in (0.3, -1.7, 0.0007, 100.1):
        y = fake_quantize(torch.full((300, 500), value), "fp8_e4m3", rounding="stochastic")
        assert y.unique().numel() == 2 and abs(float(y.double().mean()) - value) < 3e-3 * abs(value)
        assert torch.equal(y, fake_quantize(torch.full((300, 500), value), "fp8_e4m3", rounding="stochastic"))
    assert (fake_quantize(torch.full((9, 9), 449.0), "fp8_e4m3", rounding="stochastic") == 448).all()


@pytest.mark.parametrize(
    ("format", "least"),
    [("fp8_e4m3", 31), ("fp8_e5m2", 25), ("minifloat_denorm", 24.5), ({"format": "fp6_e2m3", "scaled": True}, 29)],
)
def test_signal_to_noise_on_weights_of_a_transformer(format: object, least: float) -> None:
    x = torch.randn(400, 500, generator=torch.Generator().manual_seed(0)) * 0.04
    error = fake_quantize(x, format) - x  # type: ignore[arg-type]
    assert least < 10 * torch.log10(x.square().mean() / error.square().mean()) < least + 2


def test_exported_and_copied() -> None:
    rules = [{"match": "*", "format": "fp8_e4m3"}]
    model = quantize_model(nn.Sequential(nn.Linear(300, 600)), "int8", rules=rules).eval()
    x = torch.randn(500, 300)  # more than one piece
    y = model(x)
    assert torch.equal(copy.deepcopy(model)(x), y) and torch.equal(pickle.loads(pickle.dumps(model))(x), y)
    assert torch.equal(torch.export.export(model, (x,)).module()(x), y)


def test_gradient_passes_straight_through() -> None:
    x = torch.tensor([0.3, 500.0, -1.1], requires_grad=True)
    fake_quantize(x, "fp8_e4m3").sum().backward()
    assert x.grad is not None and x.grad.tolist() == [1, 1, 1]
    x.grad = None
    fake_quantize(x, "fp8_e4m3", ste="clipped").sum().backward()
    assert x.grad is not None and x.grad.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"exponent_bits": 0}, "exponent_bits is a whole number from 1 to 8, got 0"),
        ({"exponent_bits": 2.5}, "exponent_bits is a whole number"),
        ({"mantissa_bits": 15}, "mantissa_bits is a whole number from 0 to 14, got 15"),
        ({"exponent_bits": 8, "mantissa_bits": 8}, "take 17 bits; at most 16"),
        ({"exponent_bits": 1, "top": "ieee"}, "no exponent for numbers"),
        ({"exponent_bits": 8}, "do not all lie in fp32; give another bias"),
        ({"top": "iee"}, "did you mean 'ieee'"),
        ({"saturating": False}, "without infinity or NaN .top: numbers. it saturates"),
        ({"mantisa_bits": 3}, "unknown option 'mantisa_bits'; did you mean 'mantissa_bits'"),
    ],
)
def test_what_cannot_be_is_one_line(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        fake_quantize(torch.ones(2), {"format": "minifloat", **fields})
    assert "\n" not in str(error.value) and "minifloat" in str(error.value)


def test_code_of_overflow_in_a_format_that_does_not_saturate() -> None:
    """Behind the last level, not the last level itself."""
    quantizer = Quantizer("x", ACTIVATION, QuantizerSpec(format="fp8_e4m3_ieee"), QuantizationContext())
    assert quantizer.codes(torch.tensor([240.0, -0.5]), 8).tolist() == [119, -48]
    assert quantizer.codes(torch.tensor([300.0, -1e9]), 8).tolist() == [120, -120]
    with pytest.raises(DataError, match="inf or NaN has no codes"):
        quantizer.codes(torch.tensor([math.inf]), 8)
