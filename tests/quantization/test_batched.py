"""Products of batches of codes, from integers, against fp64 products of what the codes stand for."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fairseq.native import library
from fairseq.quantization import MatMul, quantize_model
from fairseq.quantization.kernels import batched
from fairseq.quantization.kernels import library as kernel_library
from fairseq.quantization.kernels.batched import batched_product
from fairseq.quantization.kernels.codes import QuantizedMatrix
from fairseq.quantization.products import integer_matmul
from tests import needs

CPU = torch.device("cpu")


def batch(
    batches: int, vectors: int, depth: int, bits: int, each: bool, has_offset: bool, seed: int
) -> QuantizedMatrix:
    generator = torch.Generator().manual_seed(seed)
    numbers = (batches, vectors, 1) if each else (1, 1, 1)
    data = torch.randint(0, 2**bits, (batches, vectors, depth), dtype=torch.uint8, generator=generator)
    scale = 10 ** (4 * torch.rand(numbers, generator=generator) - 2)
    zero_point = torch.randint(0, 2**bits, numbers, dtype=torch.int32, generator=generator)
    offset = torch.randn(numbers, generator=generator) * scale if has_offset else None
    return QuantizedMatrix(data, scale, zero_point, offset, bits)


def values(codes: QuantizedMatrix) -> Tensor:
    exact = (codes.data.double() - codes.zero_point) * codes.scale.double()
    return exact if codes.offset is None else exact + codes.offset.double()


def parts(codes: QuantizedMatrix) -> Tensor:
    exact = ((codes.data.double() - codes.zero_point) * codes.scale.double()).abs()
    return exact if codes.offset is None else exact + codes.offset.double().abs()


def check(a: QuantizedMatrix, b: QuantizedMatrix) -> None:
    left, right = values(a), values(b)
    size = parts(a) @ parts(b).mT  # what is added up: sums may cancel, and an offset may cancel a value
    assert bool(((batched_product(a, b) - left @ right.mT).abs() <= 1e-6 * size + 1e-30).all())


@needs.compiler
@given(st.data())
@settings(max_examples=60, deadline=None)
def test_equals_fp64_of_the_values(data: st.DataObject) -> None:
    size, flag, bits = st.integers(1, 70), st.booleans(), st.integers(2, 8)
    batches, rows, columns, depth = data.draw(st.integers(1, 5)), data.draw(size), data.draw(size), data.draw(size)
    a, b = (
        batch(batches, vectors, depth, data.draw(bits), data.draw(flag), data.draw(flag), data.draw(st.integers(0, 99)))
        for vectors in (rows, columns)
    )
    check(a, b)
    # the other strides of a gradient's products: along the vectors
    transposed = batch(batches, depth, rows, 8, False, data.draw(flag), 1).transposed
    check(transposed, b)
    check(b, transposed)


@needs.compiler
def test_long_contractions_of_extreme_codes_do_not_overflow() -> None:
    one, zero = torch.ones(1, 1, 1), torch.zeros(1, 1, 1).int()
    a = QuantizedMatrix(torch.full((1, 2, 2**15), 255, dtype=torch.uint8), one, zero, None, 8)
    b = a._replace(zero_point=torch.full((1, 1, 1), 255, dtype=torch.int32))
    assert batched_product(a, a).unique().item() == 2**15 * 255 * 255
    assert batched_product(a, b).unique().item() == 0
    with pytest.raises(ValueError, match="may overflow"):
        batched_product(*[QuantizedMatrix(torch.zeros(1, 1, 2**15 + 1, dtype=torch.uint8), *a[1:])] * 2)
    assert not batched.is_available(CPU, 2**15 + 1)


@needs.compiler
def test_threads_share_the_batches() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        for batches in (1, 2, 7):
            check(batch(batches, 129, 130, 8, False, True, 1), batch(batches, 131, 130, 8, True, False, 2))
    finally:
        torch.set_num_threads(before)


@needs.compiler
def test_the_loops_without_vnni(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(library, "NATIVE", ("-mno-avx512f",))
    plain = library.library.__wrapped__("batched", kernel_library.SOURCES)
    assert [path.suffix for path in (tmp_path / "fairseq").iterdir()] == [".so"]
    monkeypatch.setattr(batched, "library", lambda name: plain)
    for seed in range(3):
        check(batch(2, 33, 61, 8, True, True, seed), batch(2, 18, 61, 7, False, True, seed))


def test_a_compiler_that_fails_is_reported_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr(library.shutil, "which", lambda name: None)
    assert library.library.__wrapped__("batched", kernel_library.SOURCES) is None
    monkeypatch.setattr(library, "_compiler", lambda: str(tmp_path))

    def run(command: list[str], **_: Any) -> None:
        raise subprocess.CalledProcessError(1, command, stderr="fatal error: out of luck\nmore")

    monkeypatch.setattr(library.subprocess, "run", run)
    assert library.library.__wrapped__("batched", kernel_library.SOURCES) is None
    assert [record.getMessage() for record in caplog.records] == [
        "no batched kernel, torch's own operations instead (no C++ compiler; CXX names one)",
        "no batched kernel, torch's own operations instead (fatal error: out of luck)",
    ]
    assert not list((tmp_path / "fairseq").iterdir())  # nothing half made


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qk, self.pv = MatMul("query", "key"), MatMul("probs", "value")

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return self.pv(self.qk(q, k.mT).softmax(-1), v)


@pytest.mark.parametrize(
    "preset, granularity", [("int8", "tensor"), ("int4", "tensor"), ("cpt_3_8", "tensor"), ("int8", "token")]
)
@pytest.mark.parametrize("compiler", [pytest.param(True, marks=needs.compiler), False])
def test_attention_equals_simulate(
    preset: str, granularity: str, compiler: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    if compiler:
        product = integer_matmul.batched_product
        monkeypatch.setattr(integer_matmul, "batched_product", lambda a, b: calls.append(1) or product(a, b))
    else:
        monkeypatch.setattr(batched, "library", lambda name: None)
    torch.manual_seed(0)
    operands = [torch.randn(2, 9, 3, 8).transpose(1, 2).requires_grad_() for _ in range(3)]
    grad, found = torch.randn(2, 3, 9, 8), []
    by_token = {"granularity": "token", "range": "minmax"} if granularity == "token" else {"granularity": "tensor"}
    rules = [{"match": f"*{name}", **by_token} for name in ("query", "key", "probs", "value")]
    for compute in ("simulate", "integer"):
        model = quantize_model(Attention(), preset, compute=compute, rules=rules)
        model.quantization.begin_micro_batch(0)
        y = model(*operands)
        found.append([y, *torch.autograd.grad(y, operands, grad)])
    assert len(calls) == (0 if not compiler else 6 if granularity == "tensor" else 2)
    for one, other in zip(*found, strict=True):
        # a rounding difference before the softmax may put a probability on the next level
        assert (one - other).norm() <= 2e-3 * one.norm()


def test_operands_of_other_shapes_are_simulated() -> None:
    model = quantize_model(Attention(), "int8", compute="integer")
    y = model(torch.randn(2, 1, 5, 8), torch.randn(1, 8).expand(1, 1, 4, 8), torch.randn(2, 1, 4, 8))
    assert y.shape == (2, 1, 5, 8)
