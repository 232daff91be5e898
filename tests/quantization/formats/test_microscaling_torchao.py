"""Microscaling against torchao's, for every scale rule. `TORCHAO_PYTHON` may name a Python that has it (0.18).

Where torchao leaves the specification we do not follow; each such case is pinned here:

- blocks whose scale byte is 0 (2^-127) come back halved, under `rceil` as zeros;
- an infinity makes its block zeros or NaN by rule and format; here it is NaN, as with a NaN.
"""

import functools
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fairseq.quantization import fake_quantize
from fairseq.quantization.formats.block.scales import SCALE_RULES

NAMES = {
    "mxfp8_e4m3": "torch.float8_e4m3fn",
    "mxfp8_e5m2": "torch.float8_e5m2",
    "mxfp6_e2m3": "'fp6_e2m3'",
    "mxfp6_e3m2": "'fp6_e3m2'",
    "mxfp4": "torch.float4_e2m1fn_x2",
}
SCRIPT = """
import sys, torch
from torchao.prototype.mx_formats.config import ScaleCalculationMode
from torchao.prototype.mx_formats.mx_tensor import to_dtype, to_mx
names = {names}
x, found = torch.load(sys.argv[1]), {{}}
for name, kind in names.items():
    for rule in {rules}:
        scale, data = to_mx(x, kind, 32, ScaleCalculationMode(rule))
        found[name, rule] = scale.view(torch.uint8), to_dtype(data, scale, kind, 32, torch.float32)
torch.save(found, sys.argv[2])
"""


def _python() -> str:
    named = os.environ.get("TORCHAO_PYTHON")
    if named:
        return named
    if importlib.util.find_spec("torchao") is None:
        pytest.skip("torchao is not installed; TORCHAO_PYTHON may name a Python that has it")
    return sys.executable


@functools.cache
def values() -> Tensor:
    generator = torch.Generator().manual_seed(5)
    normal = torch.randn(2000, 32, generator=generator)
    normal = normal * 10.0 ** torch.randint(-36, 37, (2000, 1), generator=generator)
    spread = torch.randn(500, 32, generator=generator) * 2.0 ** torch.randint(-18, 18, (500, 32), generator=generator)
    ends = torch.rand(400, 32, generator=generator) * 2 - 1  # the largest decides the scale: each of 8 mantissa bits
    ends[:, 0] = (1 + torch.arange(400) / 400) * 2.0 ** torch.arange(-60, 60).repeat(4)[:400]
    powers = torch.zeros(254, 32)
    powers[:, 3] = 2.0 ** torch.arange(-126, 128, dtype=torch.float64).float()
    powers[:, 7] = -0.3 * powers[:, 3]
    special = torch.zeros(3, 32)
    special[1, 4], special[2, 4] = torch.nan, torch.inf
    return torch.cat([normal, spread, ends, powers, special])


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], tuple[Tensor, Tensor]]:
    folder: Path = tmp_path_factory.mktemp("torchao")
    torch.save(values(), folder / "x.pt")
    names = "{" + ", ".join(f"{name!r}: {kind}" for name, kind in NAMES.items()) + "}"
    script = SCRIPT.format(names=names, rules=SCALE_RULES)
    environment = {**os.environ, "PYTHONPATH": ""}
    arguments = [_python(), "-c", script, str(folder / "x.pt"), str(folder / "found.pt")]
    subprocess.run(arguments, check=True, capture_output=True, timeout=300, env=environment)
    return torch.load(folder / "found.pt", weights_only=True)  # type: ignore[no-any-return]


@pytest.mark.parametrize("rule", SCALE_RULES)
@pytest.mark.parametrize("name", NAMES)
def test_equal(name: str, rule: str, theirs: dict[tuple[str, str], tuple[Tensor, Tensor]]) -> None:
    x = values()
    scale, expected = theirs[name, rule]
    ours = fake_quantize(x, {"format": name, "scale_rule": rule})
    least = scale.flatten() == 0
    usual = ~least & x.isfinite().all(1)
    usual[x.abs().amax(1) == 0] = False
    assert usual.sum() > 2800 and torch.equal(ours[usual], expected.view_as(x)[usual])
    assert ours[-2:].isnan().all() and expected.view_as(x)[-2].isnan().all()
    assert not ours[-3].any()
    normal = least & (x.abs().amax(1) > 2.0**-125)
    if normal.any():
        deviating, size = expected.view_as(x)[normal].abs().sum(), x[normal].abs().sum()
        assert abs(float(ours[normal].abs().sum() / size) - 1) < 0.1
        assert abs(float(deviating / size) - (0 if rule == "rceil" else 0.5)) < 0.05
