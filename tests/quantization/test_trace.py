"""Nothing bypassed: every GEMM FLOP of forward and backward is accounted for, and a bypass is found."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fairseq.errors import TrainingError
from fairseq.quantization import MatMul, quantize_model
from fairseq.quantization.analysis.gemm_trace import trace_gemms


@pytest.mark.parametrize("preset", ["cpt_3_8", "int4", "ffn4_mha16"])
@pytest.mark.parametrize("num_bits", [3, 6])
def test_all_gemms_are_accounted_for(preset: str, num_bits: int, transformer: nn.Module, tokens: torch.Tensor) -> None:
    model = quantize_model(copy.deepcopy(transformer), preset)
    with trace_gemms(model) as trace:
        model(tokens, num_bits=num_bits).sum().backward()
    trace.check(model.quantization.plan)
    with FlopCounterMode(display=False) as counter:  # torch's own count
        model(tokens, num_bits=num_bits).sum().backward()
    assert trace.total_flops == counter.get_total_flops()
    assert set(trace.full_precision()) == {"classification_heads"}
    assert trace.quantized_flops + sum(trace.full_precision().values()) == trace.total_flops
    # 2 layers: 6 linear layers and 2 products, three GEMMs each
    quantized = [gemm for gemm in trace.gemms if gemm.is_quantized]
    assert len(quantized) == 2 * 8 * 3
    plan = model.quantization.plan
    for gemm in quantized:
        grad = f"{gemm.path}.grad_output"
        for bits, levels in zip(gemm.bits, gemm.levels, strict=True):
            assert bits is not None and 1 < levels <= 2**bits
        if gemm.kind != "forward":
            assert gemm.bits[0] == plan[grad].spec.bits
        elif gemm.path.endswith(("fc1", "fc2")):
            assert gemm.bits == (plan.bits(f"{gemm.path}.input", num_bits), plan.bits(f"{gemm.path}.weight", num_bits))
    assert "layers.0.fc1" in trace.table() and "3" in trace.table()


@pytest.mark.parametrize("granularity", ["tensor", "token", "channel", "group:4"])
def test_levels_are_counted_per_scale(granularity: str, transformer: nn.Module, tokens: torch.Tensor) -> None:
    settings = {"granularity": granularity, "range": "minmax", "format": "symmetric"}
    model = quantize_model(transformer, "int8", num_bits=3, rules=[{"match": "layers.*", **settings}])
    with trace_gemms(model) as trace:
        model(tokens).sum().backward()
    trace.check(model.quantization.plan)
    forward = [gemm for gemm in trace.gemms if gemm.kind == "forward"]
    assert max(max(gemm.levels) for gemm in forward) <= 7


class Bypass(nn.Module):
    """Attention whose q_proj weight is multiplied directly, as fairseq 0.12's fast path does."""

    def __init__(self) -> None:
        super().__init__()
        self.q_proj, self.fc = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(F.linear(x, self.q_proj.weight, self.q_proj.bias))


def test_bypass_is_found() -> None:
    model = quantize_model(Bypass(), "int8")
    with trace_gemms(model) as trace:
        model(torch.randn(3, 8)).sum().backward()
    with pytest.raises(TrainingError, match="q_proj"):
        trace.check(model.quantization.plan)


def test_skipped_product_is_found(transformer: nn.Module, tokens: torch.Tensor) -> None:
    model = quantize_model(transformer, "int8")
    model.layers[0].self_attn.pv_matmul = MatMul()  # somebody puts a plain product in place of the quantized one
    with trace_gemms(model) as trace:
        model(tokens).sum().backward()
    with pytest.raises(TrainingError, match="self_attn"):
        trace.check(model.quantization.plan)


def test_more_levels_than_bits_are_found(
    transformer: nn.Module, tokens: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = quantize_model(transformer, "int8")
    quantizer = model.layers[1].fc2.quantizers.quantizer("input")
    monkeypatch.setattr(quantizer, "fake", lambda x, *_, **__: x * 1.5)
    with trace_gemms(model) as trace:
        model(tokens).sum().backward()
    with pytest.raises(TrainingError, match="levels"):
        trace.check(model.quantization.plan)


def test_torch_encoder_has_no_open_fast_path() -> None:
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)
    x = torch.randn(2, 5, 8)
    encoder.eval()
    with torch.no_grad(), trace_gemms(encoder) as trace:
        encoder(x)
    assert any(
        "transformer_encoder" in gemm.operator for gemm in trace.gemms
    )  # the fast path is open in the float model
    model = quantize_model(encoder, "int8").train()
    model(x)
    with torch.no_grad(), trace_gemms(model.eval()) as trace:
        model(x)
    trace.check(model.quantization.plan)
    assert trace.quantized_flops == trace.total_flops


def test_no_bits_no_quantized_gemm(transformer: nn.Module, tokens: torch.Tensor) -> None:
    model = quantize_model(transformer, "int8")
    with trace_gemms(model) as trace:
        model(tokens, num_bits=0).sum().backward()
    assert trace.quantized_flops == 0 < trace.total_flops
