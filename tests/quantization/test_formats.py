"""Number formats: torch's own fake quantization as oracle, and properties over shapes, bits and granularities."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairseq.errors import ConfigError
from fairseq.quantization.formats import FORMATS, build_format
from fairseq.quantization.quantizer import ACTIVATION, WEIGHT, QuantizationContext, Quantizer, QuantizerSpec

NAMES = ["affine", "affine_float_zp", "symmetric"]
GRANULARITIES = ["tensor", "channel", "channel:0", "token", "group:3"]


def quantizer(name: str, granularity: str = "tensor", **settings: object) -> Quantizer:
    return Quantizer(
        "t", ACTIVATION, QuantizerSpec(format=name, granularity=granularity, **settings), QuantizationContext()
    )


def test_registry() -> None:
    assert set(NAMES) < set(FORMATS)
    assert FORMATS.lookup("affine_int") is FORMATS.lookup("affine") and FORMATS.canonical("affine_int") == "affine"
    with pytest.raises(ConfigError, match="did you mean 'symmetric'"):
        FORMATS.lookup("symetric")


@pytest.mark.parametrize("num_bits", range(2, 17))
def test_integer_formats_equal_torch(num_bits: int) -> None:
    x = torch.randn(40, 50) * 2 - 0.4
    affine, symmetric = build_format("affine"), build_format("symmetric")
    qparams = affine.qparams(x.min() * 0.7, x.max() * 0.7, num_bits)  # values outside are clamped
    low, high = affine.code_range(num_bits)
    expected = torch.fake_quantize_per_tensor_affine(x, qparams.scale, qparams.zero_point.int(), low, high)
    assert torch.equal(affine.fake_quantize(x, qparams), expected)

    qparams = symmetric.qparams(x.amin(1, keepdim=True) * 0.6, x.amax(1, keepdim=True) * 0.6, num_bits)
    low, high = symmetric.code_range(num_bits)
    zero = torch.zeros(40, dtype=torch.int32)
    expected = torch.fake_quantize_per_channel_affine(x, qparams.scale.flatten(), zero, 0, low, high)
    assert torch.equal(symmetric.fake_quantize(x, qparams), expected)

    qparams = affine.qparams(x.amin(1, keepdim=True), x.amax(1, keepdim=True), num_bits)
    low, high = affine.code_range(num_bits)
    zero = qparams.zero_point.flatten().int()
    expected = torch.fake_quantize_per_channel_affine(x, qparams.scale.flatten(), zero, 0, low, high)
    assert torch.equal(affine.fake_quantize(x, qparams), expected)


def test_clipped_gradient_equals_torch() -> None:
    x = torch.randn(40, 50, requires_grad=True)
    weights = torch.randn(40, 50)
    ours = Quantizer(
        "t",
        ACTIVATION,
        QuantizerSpec(format="affine", ste="clipped", range={"name": "percentile", "percent": 90}),
        QuantizationContext(),
    )
    (ours(x, 4).tensor() * weights).sum().backward()
    grad, x.grad = x.grad, None
    (qparams,) = ours.qparams(x.detach(), 4)
    y = torch.fake_quantize_per_tensor_affine(x, qparams.scale.view(()), qparams.zero_point.view(()).int(), 0, 15)
    (y * weights).sum().backward()
    assert torch.equal(grad, x.grad) and (grad == 0).any()


@pytest.mark.parametrize("name", NAMES)
def test_describes_itself(name: str) -> None:
    fmt = build_format(name)
    assert fmt.bits_per_value(4) == 4 and fmt.bits_per_value(4, 64) in (4.5, 5.0)
    assert fmt.max_value(4) == fmt.code_range(4)[1]
    for bad in (1, 17, 4.5, True):
        with pytest.raises(ConfigError, match="bits"):
            fmt.check_bits(bad, "here")


@st.composite
def cases(draw: st.DrawFn) -> tuple[str, str, int, torch.Tensor]:
    shape = draw(st.lists(st.integers(1, 7), min_size=1, max_size=4))
    scale = draw(st.sampled_from([1e-20, 1e-3, 1.0, 1e6]))
    shift = draw(st.sampled_from([-2.0, 0.0, 3.0]))
    x = (torch.randn(shape, generator=torch.Generator().manual_seed(draw(st.integers(0, 999)))) + shift) * scale
    return draw(st.sampled_from(NAMES)), draw(st.sampled_from(GRANULARITIES)), draw(st.integers(2, 12)), x


@settings(max_examples=150, deadline=None)
@given(cases())
def test_properties(case: tuple[str, str, int, torch.Tensor]) -> None:
    name, granularity, num_bits, x = case
    ours = quantizer(name, granularity)
    y = ours.fake(x, num_bits)
    assert y.shape == x.shape and y.isfinite().all()

    all_qparams, pieces, results = ours.qparams(x, num_bits), list(ours.pieces(x)), list(ours.pieces(y))
    for qparams, before, after in zip(all_qparams, pieces, results, strict=True):
        # inside the range the error is at most half a step (and the rounding of fp32 itself)
        slack = before.abs().amax() * 1e-6
        allowed = qparams.scale * 0.5 + slack
        assert ((after - before).abs() <= allowed).all()
        # idempotent on the grid: values on it stay
        again = ours.format.fake_quantize(after, qparams)
        assert torch.allclose(again, after, rtol=1e-5, atol=float(slack))
        # monotone: a larger value never gets a smaller code
        flat = before.sort(-1).values
        codes = ours.format.quantize(flat, qparams) if qparams.scale.shape[-1] == 1 else None
        assert codes is None or (codes.diff(dim=-1) >= 0).all()
        # at most 2^b levels
        assert torch.unique(ours.format.quantize(before, qparams)).numel() <= 2**num_bits
        if ours.format.has_exact_zero:
            zeros = ours.format.fake_quantize(torch.zeros_like(before), qparams)
            assert (zeros == 0).all()


@settings(max_examples=60, deadline=None)
@given(cases())
def test_codes_and_values_agree(case: tuple[str, str, int, torch.Tensor]) -> None:
    name, granularity, num_bits, x = case
    ours = quantizer(name, granularity)
    codes, y = ours.codes(x, num_bits), ours.fake(x, num_bits)
    low, high = ours.format.code_range(num_bits)
    assert not codes.is_floating_point() and codes.min() >= low and codes.max() <= high
    rebuilt = torch.empty_like(x)
    for qparams, code, target in zip(
        ours.qparams(x, num_bits), ours.pieces(codes.to(x.dtype)), ours.pieces(rebuilt), strict=True
    ):
        ours.format.dequantize(code, qparams, out=target)
    assert torch.equal(rebuilt, y)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_types(name: str, granularity: str, dtype: torch.dtype) -> None:
    x = torch.randn(4, 5, 7).to(dtype)
    ours = quantizer(name, granularity)
    y = ours.fake(x, 6)
    assert y.dtype == dtype
    if dtype == torch.bfloat16:  # codes and scales are those of the fp32 tensor
        assert torch.equal(y, ours.fake(x.float(), 6).bfloat16())
        assert torch.equal(ours.codes(x, 6), ours.codes(x.float(), 6))


@pytest.mark.parametrize("name", NAMES)
def test_layouts(name: str) -> None:
    x = torch.randn(6, 5, 4)
    for granularity in ("tensor", "token"):
        ours = quantizer(name, granularity)
        strided = x.transpose(0, 1).contiguous().transpose(0, 1)
        assert not strided.is_contiguous() and torch.equal(ours.fake(strided, 5), ours.fake(x, 5))
    assert torch.equal(quantizer(name).fake(x.expand(2, 6, 5, 4), 5)[1], quantizer(name).fake(x, 5))


def test_granularities_by_hand() -> None:
    x = torch.tensor([[1.0, 2.0, 3.0, 40.0, 50.0], [0.1, 0.2, 0.3, 0.4, 0.5]])
    shapes = {"tensor": (1, 1), "channel": (1, 5), "channel:0": (2, 1), "token": (2, 1)}
    for granularity, shape in shapes.items():
        (qparams,) = quantizer("affine_float_zp", granularity).qparams(x, 8)
        assert tuple(qparams.scale.shape) == shape, granularity
    first, rest = quantizer("affine_float_zp", "group:3").qparams(x, 8)
    assert tuple(first.scale.shape) == (2, 1, 1) and tuple(rest.scale.shape) == (2, 1)
    assert torch.allclose(first.zero_point.flatten(), torch.tensor([1.0, 0.1]))
    assert torch.allclose(rest.zero_point.flatten(), torch.tensor([40.0, 0.4]))
    weight = Quantizer("w", WEIGHT, QuantizerSpec(granularity="channel"), QuantizationContext(), shape=(2, 5))
    assert tuple(weight.qparams(x, 8)[0].scale.shape) == (2, 1)


@pytest.mark.parametrize("text", ["row", "group", "group:0", "group:x", "tensor:3"])
def test_bad_granularity(text: str) -> None:
    with pytest.raises(ConfigError, match="granularity"):
        quantizer("affine_float_zp", text)


def test_range_sources() -> None:
    x = torch.cat([torch.randn(4000).clamp(-3, 3), torch.tensor([90.0])])
    full = quantizer("symmetric").fake(x, 4)
    for source in (
        "percentile",
        "mse",
        {"name": "percentile", "percent": 99.0},
        {"name": "mse", "candidates": 64, "smallest": 0.01},
    ):
        y = quantizer("symmetric", range=source).fake(x, 4)
        bulk = slice(0, 4000)
        assert (y - x)[bulk].square().mean() <= (full - x)[bulk].square().mean()
    ours = quantizer("affine_float_zp", range={"name": "mse", "candidates": 64, "smallest": 0.01})
    assert (ours.fake(x, 2) - x).square().mean() <= (quantizer("affine_float_zp").fake(x, 2) - x).square().mean()
    with pytest.raises(ConfigError, match="did you mean 'percentile'"):
        quantizer("affine_float_zp", range="percentil")
    with pytest.raises(ConfigError, match="percentile"):
        quantizer("affine_float_zp", range={"name": "percentile", "percentage": 99})
    with pytest.raises(ConfigError, match="50"):
        quantizer("affine_float_zp", range={"name": "percentile", "percent": 20})


def test_percentile_by_rows() -> None:
    x = torch.arange(40.0).view(4, 10)
    (qparams,) = quantizer("affine_float_zp", "token", range={"name": "percentile", "percent": 90}).qparams(x, 8)
    assert qparams.zero_point.flatten().tolist() == [1, 11, 21, 31]
    assert torch.allclose(qparams.scale.flatten() * 255, torch.full((4,), 7.0))
    # the rank is rounded up, so that at least `percent` of the values lie inside: the 10th of 11
    (qparams,) = quantizer("affine_float_zp", "token", range={"name": "percentile", "percent": 90}).qparams(
        torch.arange(11.0), 8
    )
    assert qparams.zero_point.item() == 1 and round(qparams.scale.item() * 255) == 8
