"""Our own kernels as other processors get them, and beside settings of torch that they must not depend on."""

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fairseq.modules.fairseq_dropout import FairseqDropout
from fairseq.modules.multihead_attention import MultiheadAttention
from fairseq.modules.transformer_encoder_layer import TransformerEncoderLayer
from fairseq.native import compiled, gelu, library
from fairseq.quantization import quantize_model
from fairseq.quantization.kernels import encoding, gemm, packing, weights
from fairseq.quantization.kernels import library as kernel_library
from fairseq.quantization.kernels.gemm import CodeQParams, PackedOperand
from fairseq.quantization.products import integer_encode
from tests import needs

SOURCES = [source for folder in (library.SOURCES, kernel_library.SOURCES) for source in sorted(folder.glob("*.cpp"))]
intel = pytest.mark.skipif(library.platform.machine() not in ("x86_64", "AMD64"), reason="flags of x86 compilers")


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(compiled, "MIN_KERNEL_ELEMENTS", 2**60)
    least = ((gemm, "MIN_MACS"), (encoding, "MIN_KERNEL_ELEMENTS"), (integer_encode, "MIN_WEIGHT_ELEMENTS"),
             (packing, "MIN_KERNEL_ELEMENTS"), (gelu, "MIN_KERNEL_ELEMENTS"))  # fmt: skip
    for place, name in least:
        monkeypatch.setattr(place, name, 0)
    monkeypatch.setattr(gemm, "has_amx", lambda: False)
    yield
    library.library.cache_clear()
    gemm._panel_columns.cache_clear()


def built_with(monkeypatch: pytest.MonkeyPatch, *flags: str) -> None:
    monkeypatch.setattr(library, "NATIVE", ("-march=native", *flags))
    library.library.cache_clear()
    gemm._panel_columns.cache_clear()


def gradients() -> list[Any]:
    torch.manual_seed(4)
    model = quantize_model(nn.Sequential(nn.Linear(48, 40)), "int8", compute="integer")
    model.quantization.begin_micro_batch(0)
    x = torch.randn(70, 48, requires_grad=True)
    y = model(x)
    y.backward(torch.randn_like(y))
    return [y.detach(), x.grad, model[0].weight.grad, model[0].bias.grad]


def encoder_layer(**settings: Any) -> TransformerEncoderLayer:
    torch.manual_seed(5)
    shape = {"encoder_embed_dim": 16, "encoder_ffn_embed_dim": 64, "encoder_attention_heads": 2}
    return TransformerEncoderLayer(Namespace(**shape, activation_fn="gelu", **settings))


@intel
def test_without_dot_products(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = gradients()
    built_with(monkeypatch, "-mno-avx512f", "-mno-avxvnni")
    assert not gemm.can_run(torch.device("cpu"))
    for found, other in zip(gradients(), expected, strict=True):
        torch.testing.assert_close(found, other, rtol=1e-5, atol=1e-5)


@needs.compiler
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_a_compiler_that_is_there_builds_every_kernel(source: Path) -> None:
    assert library.library(source.stem, source.parent, uses_torch=source.stem == "arena") is not None


@intel
@needs.compiler
@pytest.mark.parametrize("threads", [1, 4])
def test_with_registers_of_256_bits(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if "avx_vnni" not in library._processor():
        pytest.skip("no AVX-VNNI here")
    built_with(monkeypatch, "-mno-avx512f")
    assert gemm._panel_columns() == 16
    left, right = (torch.randint(0, 256, (40, count), dtype=torch.uint8) for count in (12000, 70))
    one, zero = torch.ones(1, 1), torch.zeros(1, 1, dtype=torch.int32)
    expected = (left.t().long() @ right.long()).float()
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        for _ in range(5):  # several threads pack neighbouring blocks of a side
            y = gemm.product(
                left.t(), CodeQParams(one, zero, None), PackedOperand.of(right.t()), CodeQParams(one, zero - 128, None)
            )
            assert y.equal(expected)
    finally:
        torch.set_num_threads(before)


@needs.compiler
@pytest.mark.parametrize("setting", [torch.bfloat16, torch.float64])
def test_whatever_the_default_type(setting: torch.dtype) -> None:
    x, layer = torch.randn(64, 80, 16), encoder_layer(dropout=0.0)
    y = layer.eval()(x, None)
    model = quantize_model(nn.Sequential(nn.Linear(48, 40)), "int8", compute="integer")
    z = torch.randn(70, 48, requires_grad=True)
    expected = model(z).detach()
    try:
        torch.set_default_dtype(setting)
        found = model(z)
        found.sum().backward()
        assert found.dtype == torch.float32 and found.equal(expected)
        torch.testing.assert_close(layer(x, None), y, rtol=1e-6, atol=1e-6)
        layer.train()(x, None).sum().backward()
        weights.encode_rows(torch.randn(30, 20, dtype=torch.float32), 8)
    finally:
        torch.set_default_dtype(torch.float32)


def test_tracing_records_operations_of_torch() -> None:
    layer = encoder_layer().eval().requires_grad_(False)
    traced = torch.jit.trace(lambda x: layer(x, None), torch.randn(64, 80, 16), check_trace=False)
    x = torch.randn(64, 80, 16)
    torch.testing.assert_close(traced(x), layer(x, None), rtol=1e-5, atol=1e-5)


def test_a_dropout_of_somebody_else_is_called() -> None:
    calls = []

    class Counted(FairseqDropout):
        def forward(self, x: Tensor, inplace: bool = False) -> Tensor:
            calls.append(1)
            return super().forward(x, inplace)

    model: Any = quantize_model(MultiheadAttention(16, 2, dropout=0.1, self_attention=True), "int8", compute="integer")
    model.dropout_module = Counted(0.1)
    x = torch.randn(64, 16, 16)
    model(x, x, x, need_weights=False)
    assert calls == [1]


def test_an_expanded_bias() -> None:
    model = quantize_model(nn.Sequential(nn.Linear(48, 40)), "int8", compute="integer")
    bias, x = torch.ones(1).expand(40), torch.randn(30, 48)
    model[0].bias = nn.Parameter(bias)
    y = model(x)
    model[0].bias = nn.Parameter(bias.contiguous())
    assert y.equal(model(x))
