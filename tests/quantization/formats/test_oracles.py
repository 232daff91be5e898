"""Microscaling and nvfp4 against torchao, minifloats of any split against Brevitas.

Their results on hard numbers are files (`make_oracles.py` writes them: torchao 0.18.0, Brevitas 0.13.4). Where
`TORCHAO_PYTHON` or `BREVITAS_PYTHON` names an interpreter that has the library, it is run on the same numbers, too.

Where they leave their specification we do not follow; each such case is pinned here:

- torchao halves blocks whose scale byte is 0 (2^-127); under `rceil` it makes them zeros;
- an infinity makes every finite value of its block 0 in torchao; here the block is NaN, as with a NaN;
- torchao's nvfp4 has no scales below 2^-6, e4m3's least normal number; e4m3 goes down to 2^-9, so smaller blocks keep
  more of their values here;
- Brevitas makes infinities NaN, though it saturates; here they become the largest value;
- Brevitas in fp16 adds 2^-14 to |x| before it takes the logarithm: below 2^-10 it rounds one bit too coarsely, and a
  value of the format may become another one.
"""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from fairseq.quantization import fake_quantize
from fairseq.quantization.formats.block.scales import SCALE_RULES
from tests.quantization.formats import make_oracles
from tests.quantization.formats.tools import same

MICROSCALING = ("mxfp8_e4m3", "mxfp8_e5m2", "mxfp6_e2m3", "mxfp6_e3m2", "mxfp4")
TYPES = tuple(make_oracles.DTYPES)

Results = Mapping[str, np.ndarray]


def results(library: str, kind: str, folder: Path, fixtures: Path) -> Results:
    """Arrays of a library by name, as committed or from a run of it."""
    if kind == "committed":
        return np.load(fixtures / "formats" / f"{library}.npz")  # type: ignore[no-any-return]
    variable = f"{library.upper()}_PYTHON"
    python = os.environ.get(variable)
    if not python:
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"{library} is not installed; {variable} may name a Python that has it")
        python = sys.executable
    target = folder / f"{library}.npz"
    command = [python, make_oracles.__file__, library, str(target)]
    subprocess.run(command, check=True, capture_output=True, timeout=300, env={**os.environ, "PYTHONPATH": ""})
    return np.load(target)  # type: ignore[no-any-return]


@pytest.fixture(scope="module", params=["committed", "live"])
def torchao(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, fixtures: Path) -> Results:
    return results("torchao", request.param, tmp_path_factory.mktemp("torchao"), fixtures)


@pytest.fixture(scope="module", params=["committed", "live"])
def brevitas(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, fixtures: Path) -> Results:
    return results("brevitas", request.param, tmp_path_factory.mktemp("brevitas"), fixtures)


def tensor(array: np.ndarray) -> Tensor:
    found = torch.from_numpy(np.array(array))
    return found.view(torch.bfloat16) if found.dtype == torch.int16 else found


@pytest.mark.parametrize("rule", SCALE_RULES)
@pytest.mark.parametrize("name", MICROSCALING)
def test_microscaling(name: str, rule: str, torchao: Results) -> None:
    for kind in TYPES if rule == "floor" else ("fp32", "bf16"):
        x, expected = tensor(torchao[kind]), tensor(torchao[f"{kind}/{name}/{rule}"])
        ours = fake_quantize(x.float(), {"format": name, "scale_rule": rule})
        # what is rounded are the numbers themselves, whatever their type
        assert same(fake_quantize(x, {"format": name, "scale_rule": rule}), ours.to(x.dtype))
        least = torch.from_numpy(torchao[f"{kind}/{name}/{rule}/scale"]) == 0
        infinite, nan, zero = x.isinf().any(1), x.isnan().any(1), x.abs().amax(1) == 0
        assert infinite.sum() == nan.sum() == 1 and ours[infinite | nan].isnan().all()
        assert expected[nan].isnan().all() and not expected[infinite & ~x.isinf().all(1)][~x[infinite].isinf()].any()
        usual = ~least & ~infinite & ~nan
        assert usual.sum() > 95 and torch.equal(ours[usual], expected[usual])
        assert not ours[zero].any() and not expected[zero].any()
        pinned = least & (x.abs().amax(1) > 2.0**-126)
        if pinned.any():
            size = x[pinned].float().abs().sum()
            assert float(ours[pinned].abs().sum() / size) == pytest.approx(1, abs=0.15)
            assert float(expected[pinned].abs().sum() / size) == pytest.approx(0 if rule == "rceil" else 0.5, abs=0.1)


@pytest.mark.parametrize("kind", TYPES)
def test_nvfp4(kind: str, torchao: Results) -> None:
    x, expected = tensor(torchao[f"{kind}/nvfp4/x"]).float(), tensor(torchao[f"{kind}/nvfp4"])
    scales = torch.from_numpy(torchao[f"{kind}/nvfp4/scale"]).view(torch.float8_e4m3fn).float().view(-1, 1)
    ours = fake_quantize(x, "nvfp4").view(-1, 16)
    x, expected = x.view(-1, 16), expected.view(-1, 16)
    clamped = (scales == 2.0**-6).flatten()
    assert torch.equal(ours[~clamped], expected[~clamped]) and (~clamped).sum() > 60
    deviating = (ours != expected).any(1)
    assert deviating.sum() > 40 and scales.min() == 2.0**-6
    closer = (ours - x).square().sum(1) < (expected - x).square().sum(1)
    assert closer[deviating].float().mean() > 0.9
    # blocks that torchao loses altogether
    lost = x.any(1) & ~expected.any(1)
    assert lost.any() and ours[lost].any(1).sum() > 10


def test_minifloats_of_any_split(brevitas: Results) -> None:
    names = [name for name in brevitas if not name.endswith("/x")]
    assert len(names) == len(make_oracles.SPLITS) + 2 * 12
    for name in names:
        kind, split = name.split("/")
        x, expected = tensor(brevitas[f"{name}/x"]), tensor(brevitas[name])
        spec = {"format": "minifloat", "exponent_bits": int(split[1]), "mantissa_bits": int(split[3])}
        ours = fake_quantize(x, spec)
        agree = (ours == expected) | (ours.isnan() & expected.isnan())
        assert x.isnan().any() and ours[x.isnan()].isnan().all()
        infinite, largest = x.isinf(), ours[x == torch.finfo(x.dtype).max]
        assert infinite.any() and expected[infinite].isnan().all() and (ours[infinite].abs() == largest[0]).all()
        agree |= infinite
        if kind == "fp16" and split == "e5m2":
            small = x.abs() < 2.0**-10
            assert not agree[small].all() and agree[~small].all(), name
            is_level = ours == x
            assert (expected[small & is_level] != x[small & is_level]).any()
            agree |= small
        assert agree.all(), name


def test_the_fixtures_are_of_these_inputs(fixtures: Path) -> None:
    """What `make_oracles.py` would run the libraries on today."""
    committed = results("torchao", "committed", fixtures, fixtures)
    for kind, dtype in make_oracles.DTYPES.items():
        assert same(tensor(committed[kind]), make_oracles.blocks(dtype))
        assert same(tensor(committed[f"{kind}/nvfp4/x"]), make_oracles.blocks_of_16(dtype))
