"""BitOPs on a model: CPT's figure, what counts beside it, frozen parts."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fairseq.quantization import quantize_model
from fairseq.quantization.analysis.bitops import NOISE_BITOPS, QUANTIZE_BITOPS, Cost, CostMeter
from fairseq.quantization.analysis.gemm_trace import trace_gemms
from fairseq.quantization.schedules.base import schedule_of


def cost_of(model: nn.Module, tokens: torch.Tensor, bits: int, update: int = 0) -> Cost:
    quantization = model.quantization
    meter = CostMeter(upper_bits=quantization.config.num_bits)
    quantization.begin_micro_batch(update)
    with meter.counting(model, quantization.context):
        model(tokens, num_bits=bits).sum().backward()
    return meter.take()


@pytest.mark.parametrize(
    ("preset", "settings", "saving"), [("cpt_3_8", {}, 36.67), ("cpt_3_8", {"num_bits": 6, "num_grad_bits": 6}, 30.05)]
)
def test_saving_on_the_model_is_cpts(
    preset: str, settings: dict[str, int], saving: float, transformer: nn.Module, tokens: torch.Tensor
) -> None:
    # the input of the first projections needs a gradient, or two products would be missing beside the formula's three
    model = quantize_model(transformer, preset, **settings)
    schedule, total = schedule_of(model.quantization.config), 64000
    by_bits = {bits: cost_of(model, tokens, bits, bits) for bits in range(schedule.low, schedule.high + 1)}
    counts = dict.fromkeys(by_bits, 0)
    for update in range(total):
        counts[schedule.bits(update, total)] += 1
    whole = Cost()
    for bits, count in counts.items():
        part = by_bits[bits]
        whole.add(Cost(part.quantized * count, part.full * count, part.quantizing * count, part.static * count))
    assert abs(100 * whole.saving - saving) < 0.02
    assert 0 < whole.total_saving < whole.saving  # quantizing and the head cost something, too
    assert f"{100 * whole.saving:.2f} %" in whole.describe()


def test_every_product_and_value_is_counted(transformer: nn.Module, tokens: torch.Tensor) -> None:
    model = quantize_model(transformer, "int8")
    meter = CostMeter(upper_bits=8)
    with trace_gemms(model) as trace, meter.counting(model, model.quantization.context):
        model(tokens, num_bits=4).sum().backward()
    full = sum(trace.full_precision().values()) // 2  # FLOPs are two per multiply-accumulate
    assert meter.total.full == full * 32 * 32
    expected = sum(gemm.flops // 2 * gemm.bits[0] * gemm.bits[1] for gemm in trace.gemms if gemm.is_quantized)
    assert meter.total.quantized == expected
    assert set(meter.by_path) > {"layers.0.fc1", "layers.1.self_attn.qk_matmul", "classification_heads"}
    fc1 = model.layers[0].fc1
    assert meter.by_path["layers.0.fc1.weight"].quantizing == fc1.weight.numel() * QUANTIZE_BITOPS
    assert meter.by_path["layers.0.fc1.grad_output"].quantizing == 7 * 3 * 32 * (QUANTIZE_BITOPS + NOISE_BITOPS)


def test_frozen_and_evaluation_cost_less(transformer: nn.Module, tokens: torch.Tensor) -> None:
    model = quantize_model(transformer, "int8")
    whole = cost_of(model, tokens, 8)
    for parameter in model.layers[0].parameters():
        parameter.requires_grad_(False)
    model.embed.weight.requires_grad_(False)
    frozen = cost_of(model, tokens, 8, update=1)
    # of the first layer only the forward products are left; the second keeps all but the gradient of its input
    assert whole.quantized * 0.5 < frozen.quantized < whole.quantized * 0.7
    meter = CostMeter(upper_bits=8)
    with torch.no_grad(), meter.counting(model, model.quantization.context):
        model(tokens)
    assert meter.total.quantized == pytest.approx(whole.quantized / 3)


class Mixed(nn.Module):
    """Every module of torch that multiplies, beside one that is quantized."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.back = nn.Conv1d(8, 12, 3, groups=2), nn.ConvTranspose1d(12, 8, 3)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True, kdim=8, vdim=8)
        self.fc = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.back(self.conv(x.mT)).mT
        return self.fc(self.attention(x, x, x)[0])


def test_torchs_own_modules_are_counted() -> None:
    model = quantize_model(Mixed(), "int8", rules=[{"match": "re:(attention|conv|back)\\..*", "quantize": False}])
    x, meter = torch.randn(3, 6, 8), CostMeter(upper_bits=8)
    with FlopCounterMode(display=False) as counter, torch.no_grad(), meter.counting(model, model.quantization.context):
        model(x, num_bits=8)
    linear = 3 * 6 * 8 * 8
    assert meter.total.full / 32**2 == counter.get_total_flops() / 2 - linear
    off = [{"match": "1.*", "quantize": False}]
    # FlopCounterMode knows no recurrent layers: their gates by hand
    model = quantize_model(nn.Sequential(nn.Linear(8, 8), nn.LSTM(8, 5, batch_first=True)), "int8", rules=off)
    with torch.no_grad(), meter.counting(model, model.quantization.context):
        model(x)
    assert meter.by_path["1"].full / 32**2 == 3 * 6 * 4 * 5 * (8 + 5)
    cell = quantize_model(nn.Sequential(nn.Linear(8, 8), nn.GRUCell(8, 5)), "int8", rules=off)
    pair = quantize_model(
        nn.ModuleDict({"fc": nn.Linear(2, 2), "pair": nn.Bilinear(8, 8, 4)}),
        "int8",
        rules=[{"match": "pair.*", "quantize": False}],
    )
    meter = CostMeter(upper_bits=8)
    with torch.no_grad(), meter.counting(cell, cell.quantization.context):
        cell(x[0])
    with torch.no_grad(), meter.counting(pair, pair.quantization.context):
        pair["pair"](x, x)
    assert meter.by_path["1"].full / 32**2 == 6 * 3 * 5 * (8 + 5)
    assert meter.by_path["pair"].full / 32**2 == 3 * 6 * 4 * 8 * 8
    rounded, meter = quantize_model(nn.Sequential(nn.Bilinear(8, 8, 4)), "int8"), CostMeter(upper_bits=8)
    with meter.counting(rounded, rounded.quantization.context):
        rounded[0](x, x).sum().backward()
    assert meter.total.quantized / 8**2 == 2 * 3 * 6 * 4 * 8 * 8  # forward, and the weight's gradient


def test_pinned_bits_save_nothing_by_the_schedule(transformer: nn.Module, tokens: torch.Tensor) -> None:
    model = quantize_model(transformer, "int8", rules=[{"match": "layers.*", "bits": 5}])
    assert cost_of(model, tokens, 3).saving == 0


def test_totals_resume(transformer: nn.Module, tokens: torch.Tensor) -> None:
    model = quantize_model(transformer, "int8")
    meter = CostMeter(upper_bits=8)
    with meter.counting(model, model.quantization.context):
        model(tokens).sum().backward()
    resumed = CostMeter(upper_bits=8)
    resumed.load_state_dict(meter.state_dict())
    assert resumed.total == meter.total and resumed.take() == Cost()
    assert not model.quantization.context.callbacks and not model.classification_heads._forward_hooks
