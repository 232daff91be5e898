"""The library on its own: what importing it loads, and a training loop in plain PyTorch."""

import subprocess
import sys

import torch
from torch import nn

import fairseq.quantization
from fairseq.quantization import quantize_model
from fairseq.quantization.schedules.base import schedule_of
from tests.quantization.layer_registry import RareCell

LOADS_LITTLE = """
import sys
from fairseq.quantization import quantize_model, QLinear, read_config
import fairseq.quantization.analysis.report, fairseq.quantization.analysis.gemm_trace, fairseq.quantization.cpt
from torch import nn
quantize_model(nn.Sequential(nn.Linear(2, 2)), "cpt_3_8")
heavy = {"hydra", "omegaconf", "yaml", "sklearn", "scipy", "matplotlib"}
loaded = {name.partition(".")[0] for name in sys.modules} & heavy
inner = {name for name in sys.modules if name.startswith("fairseq.")}
inner = {name for name in inner if name.split(".")[1] not in ("quantization", "native", "errors")}
assert not loaded and not inner, (loaded, inner)
"""

LOADS_NO_TORCH = """
import sys
import fairseq.quantization
assert not {"importlib", "Any"} & {*dir(fairseq.quantization)}
assert {*fairseq.quantization.__all__, "quantize_model", "PrecisionScheduler"} <= {*dir(fairseq.quantization)}
from fairseq.quantization import read_config
from fairseq.quantization.schedules.base import schedule_of
schedule_of(read_config("cpt_3_8")).bits(3, 100)
assert "torch" not in sys.modules
"""


def test_imports() -> None:
    for program in (LOADS_LITTLE, LOADS_NO_TORCH):
        subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_every_name_can_be_imported() -> None:
    homes = {name: getattr(fairseq.quantization, name) for name in fairseq.quantization.__all__}
    assert {name: getattr(value, "__name__", name) for name, value in homes.items()} == {name: name for name in homes}


def test_plans_print_as_their_table() -> None:
    quantization = quantize_model(nn.Sequential(nn.Linear(2, 2), RareCell(2)), "int8").quantization
    plan = quantization.plan
    assert repr(plan) == str(plan) == plan.table() and "1              full precision (RareCell)" in repr(plan)
    assert str(quantization) == repr(quantization) == f"quantization=int8: 3 quantizers, 4 rows\n{plan.table()}"
    page = quantization._repr_html_()
    assert page.count("<tr>") == 5 and "<td>0.weight</td>" in page and page == plan._repr_html_()


def test_plain_training_loop_learns_with_cyclic_precision() -> None:
    x = torch.randn(64, 8)
    y = (x @ torch.randn(8, 1)).sin()
    model = quantize_model(nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.Linear(32, 1)), "cpt_4_8")
    quantization, total = model.quantization, 150
    schedule = schedule_of(quantization.config)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    losses = []
    for update in range(total):
        quantization.begin_micro_batch(update)
        loss = (model(x, num_bits=schedule.bits(update, total)) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        quantization.end_update(model)
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
    model.eval()
    with torch.no_grad():
        assert (model(x) - y).square().mean() < 0.4 * losses[0]
