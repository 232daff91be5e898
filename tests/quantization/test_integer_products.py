"""Integer products against fp64 computed from the same codes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fairseq.quantization.kernels import torch_gemm
from fairseq.quantization.kernels.codes import pack, signed
from fairseq.quantization.kernels.linear import backward_product, forward_product
from fairseq.quantization.kernels.prepared_weight import PreparedWeight
from tests.quantization.integer_tools import NAMES, close, codes_of, values

pytestmark = pytest.mark.usefixtures("each_kernel")


def matrix(draw: st.DrawFn, rows: int, columns: int) -> Tensor:
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**20)))
    x = torch.randn(rows, columns, generator=generator) * 10.0 ** draw(st.integers(-8, 8))
    x += x.abs().mean() * draw(st.sampled_from([0.0, 0.0, 0.5, -3.0]))
    if draw(st.booleans()):
        x[draw(st.integers(0, rows - 1))] = 0.0
    return x


bits, sizes = st.integers(2, 8), st.integers(1, 40)


@pytest.mark.parametrize("backend", ["best", "float", "unfused"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_products_equal_fp64(backend: str, data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if backend == "float":
            patch.setattr(torch_gemm, "backend", lambda device_type: "float")
        if backend != "best":
            patch.setattr("fairseq.quantization.kernels.prepared_weight.fuses", lambda device_type: False)
        rows, depth, columns = (data.draw(sizes) for _ in range(3))
        x = codes_of(matrix(data.draw, rows, depth), data.draw(st.sampled_from(NAMES)), data.draw(bits),
                     data.draw(st.sampled_from([None, 1])))  # fmt: skip
        w = codes_of(matrix(data.draw, columns, depth), data.draw(st.sampled_from(NAMES)), data.draw(bits),
                     data.draw(st.sampled_from([None, 1])))  # fmt: skip
        bias = torch.linspace(-1, 1, columns) * values(x).abs().max().float() if data.draw(st.booleans()) else None
        y = forward_product(x, PreparedWeight(w), bias, torch.float32)
        close(y, values(x) @ values(w).t() + (0.0 if bias is None else bias.double()), "forward")

        g = codes_of(matrix(data.draw, rows, columns), data.draw(st.sampled_from(NAMES)), data.draw(st.integers(2, 8)))
        for right, transposed, left in ((w, False, values(g)), (x, True, None)):
            if transposed:
                g = codes_of(matrix(data.draw, rows, columns), data.draw(st.sampled_from(NAMES)), 8)
                left = values(g).t()
            codes, zero_point = signed(right)
            offset = None if right.offset is None else right.offset / right.scale
            relative = values(right) / right.scale.double()  # scales have been taken out of the sum
            found = backward_product(g, transposed, codes, zero_point, offset, torch.full((1, 1), 0.5))
            close(found, 0.5 * (left @ relative), f"backward, transposed {transposed}")


@pytest.mark.parametrize("depth", [4096, 16384, 40000])
def test_long_contractions(depth: int) -> None:
    """Codes at their ends, all of one sign: the largest sums that there are."""
    x = torch.ones(3, depth)
    x[1], x[2, 0] = -1.0, -1.0
    w = torch.ones(5, depth)
    w[1, 1:], w[2] = -1.0, torch.randn(depth)
    for name in NAMES:
        for x_name in NAMES:
            a, b = codes_of(x, x_name, 8), codes_of(w, name, 8, 1)
            close(forward_product(a, PreparedWeight(b), None, torch.float32), values(a) @ values(b).t(), name)
        data, zero_point = signed(codes_of(x.t().contiguous(), name, 8))
        right = codes_of(x.t().contiguous(), name, 8)
        offset = None if right.offset is None else right.offset / right.scale
        g = codes_of(w.t().contiguous(), "symmetric", 8)
        found = backward_product(g, True, data, zero_point, offset, torch.ones(1, 1))
        close(found, values(g).t() @ (values(right) / right.scale.double()), name)


@pytest.mark.parametrize("num_bits", range(2, 9))
@pytest.mark.parametrize("columns", [1, 7, 16])
def test_packing(num_bits: int, columns: int) -> None:
    codes = codes_of(torch.randn(5, columns), "affine", num_bits)
    packed = pack(codes)
    assert torch.equal(packed.unpack().data, codes.data)
    per_byte = {2: 4, 3: 2, 4: 2}.get(num_bits, 1)
    assert packed.codes.data.numel() == 5 * -(-columns // per_byte)


def test_integer_gemms_are_believed_only_when_they_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some instruction sets saturate at 16 bits: their products must not be used."""

    def saturating(left: Tensor, right: Tensor) -> Tensor:
        return (left.float() @ right.float()).clamp(-(2.0**15), 2.0**15).int()

    monkeypatch.setitem(torch_gemm._PRODUCTS, "int8", saturating)
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: True)
    torch_gemm.backend.cache_clear()
    torch_gemm.fuses.cache_clear()
    assert torch_gemm.backend("cpu") == "float" and not torch_gemm.fuses("cpu")
    left, right = torch_gemm._extreme_codes("cpu")
    assert torch.equal(torch_gemm.integer_product(left, right).long(), left.long() @ right.long())
