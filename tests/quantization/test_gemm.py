"""Our own kernels of a linear layer: products of codes against fp64, codes of matrices and weights bit for bit against
torch's operations.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fairseq.native import minmax
from fairseq.quantization import quantize_model
from fairseq.quantization.formats import build_format
from fairseq.quantization.kernels import encoding, gemm, packing, weights
from fairseq.quantization.kernels.codes import QuantizedMatrix, column_sums, encode, encode_twice, pack
from fairseq.quantization.kernels.encoding import EncodeRequest, encode_matrix
from fairseq.quantization.kernels.gemm import CodeQParams, PackedOperand
from fairseq.quantization.kernels.kernel_qparams import KernelQParams
from fairseq.quantization.rounding.noise import HashNoise, NoiseKey, hash_state
from tests import needs

CPU = torch.device("cpu")
sizes = st.integers(1, 90)


def numbers(draw: st.DrawFn, count: int, has_offset: bool) -> CodeQParams:
    count = count if draw(st.booleans()) else 1
    offset = torch.randn(count, 1) if has_offset else None
    return CodeQParams(torch.rand(count, 1) + 0.1, torch.randint(0, 256, (count, 1), dtype=torch.int32), offset)


def values(codes: Tensor, numbers: CodeQParams) -> Tensor:
    found = (codes.double() - numbers.zero_point) * numbers.scale.double()
    return found if numbers.offset is None else found + numbers.offset.double()


@needs.compiler
@needs.dot_products
@settings(max_examples=150, deadline=None)
@given(data=st.data(), rows=sizes, columns=sizes, depth=st.integers(1, 300), threads=st.integers(1, 3))
def test_products_of_any_shape(data: st.DataObject, rows: int, columns: int, depth: int, threads: int) -> None:
    torch.manual_seed(data.draw(st.integers(0, 2**20)))
    has_offset, turned_left, turned_right, with_sums, later = (data.draw(st.booleans()) for _ in range(5))
    left, right = (torch.randint(0, 256, (count, depth), dtype=torch.uint8) for count in (rows, columns))
    left = left.t().contiguous().t() if turned_left else left
    right = right.t().contiguous().t() if turned_right else right
    left_qparams, right_qparams = (numbers(data.draw, count, has_offset) for count in (rows, columns))
    bias = torch.randn(columns) if data.draw(st.booleans()) else None
    less = right_qparams._replace(zero_point=right_qparams.zero_point - 128)
    sums = left.sum(1, dtype=torch.int32) if with_sums else None
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        y = gemm.product(left, left_qparams, PackedOperand.of(right), less, bias, sums, later)
    finally:
        torch.set_num_threads(before)
    expected = values(left, left_qparams) @ values(right, right_qparams).t()
    expected = expected if bias is None else expected + bias
    assert (y - expected).abs().max() <= 1e-5 * expected.abs().max()
    noted = minmax.cached_minmax(y)
    assert noted is None if later else noted is not None and torch.stack(noted).equal(torch.stack(y.aminmax()))


@needs.compiler
@needs.dot_products
@settings(max_examples=60, deadline=None)
@given(data=st.data(), rows=sizes, columns=sizes, depth=st.integers(1, 300))
def test_numbers_that_change_along_the_contraction(data: st.DataObject, rows: int, columns: int, depth: int) -> None:
    torch.manual_seed(data.draw(st.integers(0, 2**20)))
    left, right = (torch.randint(0, 256, (count, depth), dtype=torch.uint8) for count in (rows, columns))
    left_qparams, right_qparams = (
        numbers(data.draw, rows, data.draw(st.booleans())),
        numbers(data.draw, columns, False),
    )
    zero = torch.randint(-128, 128, (depth, 1), dtype=torch.int32)
    offset = torch.rand(depth, 1) - 0.5 if data.draw(st.booleans()) else None
    less = right_qparams._replace(zero_point=right_qparams.zero_point - 128)
    y = gemm.product(left, left_qparams, PackedOperand.of(right), less, depth_qparams=gemm.DepthQParams(zero, offset))
    changed = right_qparams.scale.double() * ((0 if offset is None else offset.double()) - zero).t()
    b = values(right, right_qparams) + changed
    expected = values(left, left_qparams) @ b.t()
    bound = values(left, left_qparams).abs() @ b.abs().t()
    assert (y - expected).abs().max() <= 1e-6 * bound.max()


@needs.compiler
@pytest.mark.parametrize("num_bits", [2, 3, 4])
@pytest.mark.parametrize("columns", [1, 7, 64, 301])
def test_packing_is_torch_s(num_bits: int, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    one = torch.ones(1, 1)
    made = QuantizedMatrix(
        torch.randint(0, 2**num_bits, (5, columns), dtype=torch.uint8), one, one.int(), None, num_bits
    )
    expected = pack(made)
    monkeypatch.setattr(packing, "MIN_KERNEL_ELEMENTS", 0)
    packed = pack(made)
    assert packed.codes.data.equal(expected.codes.data) and packed.unpack().data.equal(made.data)


@needs.compiler
@pytest.mark.parametrize("name", ["affine", "symmetric", "affine_float_zp"])
def test_codes_on_a_grid_for_each_row(name: str) -> None:
    x, number_format = torch.randn(9, 70), build_format(name)
    qparams = number_format.qparams(x.amin(1, keepdim=True), x.amax(1, keepdim=True), 5)
    exactly(encoding.encode_rows(x, number_format, qparams, 5), encode(x, number_format, qparams, 5))


@needs.compiler
@needs.dot_products
def test_where_another_gemm_is_preferred_ours_still_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    assert not gemm.is_preferred(CPU) and gemm.can_run(CPU)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert gemm.is_preferred(CPU) and not gemm.is_preferred(CPU, work=1)


@needs.compiler
@needs.dot_products
def test_sums_are_exact_at_the_largest_depth() -> None:
    left, right = torch.full((3, 2**15), 255, dtype=torch.uint8), torch.full((5, 2**15), 127, dtype=torch.int8)
    right[1], right[2, ::2] = -128, -128
    one, zero = torch.ones(1, 1), torch.zeros(1, 1, dtype=torch.int32)
    y = gemm.product(left, CodeQParams(one, zero, None), PackedOperand.of(right), CodeQParams(one, zero, None))
    assert y.equal((left.long() @ right.long().t()).float())


@needs.compiler
@needs.dot_products
def test_nan_reaches_the_range_and_the_layer_tells_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gemm, "MIN_MACS", 0)
    monkeypatch.setattr(gemm, "has_amx", lambda: False)
    model = quantize_model(torch.nn.Sequential(torch.nn.Linear(16, 40)), "int8", compute="integer")
    y = model(torch.randn(3, 5, 16))
    noted = minmax.cached_minmax(y)
    assert noted is not None and torch.stack(noted).equal(torch.stack(y.detach().aminmax()))
    with torch.no_grad():
        model[0].bias[39] = float("nan")
    noted = minmax.cached_minmax(model(torch.randn(3, 5, 16)))
    assert noted is not None and noted[0].isnan() and noted[1].isnan()


@needs.compiler
@needs.dot_products
@pytest.mark.parametrize("threads", [1, 2])
def test_large_products_are_cut_into_tasks(threads: int) -> None:
    left, right = torch.randint(0, 256, (700, 132), dtype=torch.uint8), torch.randint(-128, 128, (600, 132)).char()
    one, zero = torch.ones(1, 1), torch.zeros(1, 1, dtype=torch.int32)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        y = gemm.product(left, CodeQParams(one, zero, None), PackedOperand.of(right), CodeQParams(one, zero, None))
    finally:
        torch.set_num_threads(before)
    assert y.equal((left.long() @ right.long().t()).float())


@needs.compiler
@needs.dot_products
@settings(max_examples=60, deadline=None)
@given(rows=sizes, columns=sizes, flip=st.booleans(), transposed=st.booleans())
def test_packed_codes_are_the_codes(rows: int, columns: int, flip: bool, transposed: bool) -> None:
    made = torch.randint(0, 256, (columns, rows) if transposed else (rows, columns), dtype=torch.uint8)
    made = made.t() if transposed else made
    packed = PackedOperand.of(made if flip else made.view(torch.int8))
    expected = (made.int() - 128).to(torch.int8) if flip else made.view(torch.int8)
    assert packed.codes().equal(expected) and packed.sums.equal(expected.sum(1, dtype=torch.int32))


@needs.compiler
@needs.dot_products
@settings(max_examples=40, deadline=None)
@given(rows=sizes, columns=sizes, num_bits=st.integers(2, 8), threads=st.integers(1, 3))
def test_weights_are_packed_with_the_codes_of_their_rows(rows: int, columns: int, num_bits: int, threads: int) -> None:
    weight = torch.randn(rows, columns) * torch.logspace(-30, 3, rows)[:, None]
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        forward, grad_input, packed_scale = weights.encode_packed(weight, num_bits)
        data, _, scale = weights.encode_rows(weight, num_bits)
    finally:
        torch.set_num_threads(before)
    assert packed_scale.equal(scale)
    for side, expected in ((forward, data), (grad_input, data.t())):
        assert side.codes().equal(expected) and side.sums.equal(expected.sum(1, dtype=torch.int32))


def exactly(made: QuantizedMatrix, expected: QuantizedMatrix) -> None:
    assert made.data.equal(expected.data) and made.num_bits == expected.num_bits
    assert made.zero_point.equal(expected.zero_point) and made.scale.equal(expected.scale)
    assert (made.offset is None) == (expected.offset is None)
    if (
        made.offset is not None and expected.offset is not None
    ):  # torch may form zero + zero_point * scale in one rounding
        zero = expected.zero_point * expected.scale - expected.offset
        assert ((made.offset - expected.offset).abs() <= 1e-6 * zero.abs()).all()


@needs.compiler
@settings(max_examples=150, deadline=None)
@given(
    data=st.data(), rows=sizes, columns=st.integers(1, 600), num_bits=st.integers(2, 8),
    name=st.sampled_from(["affine", "symmetric", "affine_float_zp"]),
)  # fmt: skip
def test_codes_are_those_of_the_format(data: st.DataObject, rows: int, columns: int, num_bits: int, name: str) -> None:
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**20)))
    x = torch.randn(rows, columns, generator=generator) * 10.0 ** data.draw(st.integers(-6, 6))
    x += x.abs().mean() * data.draw(st.sampled_from([0.0, 0.5, -3.0]))
    number_format = build_format(name)
    low, high = x.aminmax()
    given_range = None
    if data.draw(st.booleans()):
        low, high = low * 0.5, high * 0.7
        given_range = (float(low), float(high))
    key = NoiseKey(1, 2, 3) if data.draw(st.booleans()) else None
    qparams = number_format.qparams(low.view(1, 1), high.view(1, 1), num_bits)
    expected = encode(x, number_format, qparams, num_bits, None if key is None else HashNoise(key, x))
    kernel_qparams = KernelQParams.of(
        build_format(name), num_bits, given_range, None if key is None else hash_state(key)
    )
    made, sums = encode_matrix(x, [EncodeRequest(kernel_qparams)], sums=True)
    exactly(made[0], expected)
    assert sums is not None and sums.equal(column_sums(expected.data))


@needs.compiler
@settings(max_examples=60, deadline=None)
@given(data=st.data(), rows=sizes, columns=st.integers(1, 600), num_bits=st.integers(2, 8), noisy=st.booleans())
def test_two_sets_of_gradient_codes(data: st.DataObject, rows: int, columns: int, num_bits: int, noisy: bool) -> None:
    name = data.draw(st.sampled_from(["affine", "symmetric"]))
    x, number_format, key = torch.randn(rows, columns), build_format(name), NoiseKey(4, 5, 6)
    column_scale = torch.rand(1, columns) if data.draw(st.booleans()) else None
    row_scale = torch.rand(rows, 1) if data.draw(st.booleans()) else None
    wide = [x if part is None else x * part for part in (column_scale, row_scale)]
    ends = [[end.view(1, 1) for end in part.aminmax()] for part in wide]
    all_qparams = tuple(number_format.qparams(*pair, num_bits) for pair in ends)
    noise = HashNoise(key, x) if noisy else None
    expected = encode_twice(
        x, number_format, (all_qparams[0], all_qparams[1]), num_bits, noise, column_scale, row_scale
    )
    state = hash_state(key) if noisy else None
    sets = [
        EncodeRequest(KernelQParams.of(build_format(name), num_bits, None, state), column_scale),
        EncodeRequest(KernelQParams.of(build_format(name), num_bits, None, state), None, row_scale),
    ]
    made, sums = encode_matrix(x, sets, sums=True)
    for mine, theirs in zip(made, expected, strict=True):
        exactly(mine, theirs)
    assert sums is not None and sums.equal(column_sums(expected[1].data))


@needs.compiler
@pytest.mark.parametrize("name", ["affine", "symmetric", "affine_float_zp"])
def test_nan_reaches_the_scale(name: str) -> None:
    x = torch.randn(4, 50)
    x[2, 7] = float("nan")
    assert encode_matrix(x, [EncodeRequest(KernelQParams.of(build_format(name), 8))]).codes[0].scale.isnan()
