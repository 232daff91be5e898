"""Files of an older build load, go on and evaluate as they did there: tests/fixtures/release*/, written once a release.

Numbers are compared bit for bit where torch's own operations give this machine the bits that they gave the writing one
(`arithmetic`). Elsewhere a last bit may turn a code of few bits over, so the same numbers are compared up to `LOOSE`.
Integer products are exact on every processor; the softmax, norms and rescaling around them are floating point.
"""

import gzip
import json
from functools import cache
from pathlib import Path

import pytest
import torch

from fairseq.checkpoint_utils import load_model_ensemble_and_task
from fairseq.quantization import read_config, read_plan
from fairseq_cli.train import cli_main
from tests.conformance.release_cases import CASES, arithmetic, evaluated, outcome

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
LOOSE = 0.02  # relative and absolute; torch's AVX2 and plain kernels and other MKL code paths stay below 0.003
FILES = [f"{file.parent.name}/{file.name[:-6]}" for file in sorted(FIXTURES.glob("release*/*.pt.gz"))]
RESUMED = [name for name in FILES if name.split("/")[1] in CASES]
PLANS = [f"{file.parent.name}/{file.name[:-10]}" for file in sorted(FIXTURES.glob("release*/*_plan.json"))]


@cache
def expected(release: str) -> dict:
    return json.loads((FIXTURES / release / "expected.json").read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def _one_thread():
    """The files were written with one thread; with more, sums have another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def data_of(name: str) -> Path:
    return FIXTURES / name.split("/")[0] / "data"


@pytest.fixture
def unzipped(tmp_path):
    def unzipped(name: str) -> Path:
        path = tmp_path / f"{name.split('/')[1]}.pt"
        path.write_bytes(gzip.decompress((FIXTURES / f"{name}.pt.gz").read_bytes()))
        return path

    return unzipped


def check(found, known, exact: bool) -> None:
    """The same numbers in the same places."""
    if isinstance(known, dict):
        assert found.keys() == known.keys()
        for key in known:
            check(found[key], known[key], exact)
    elif isinstance(known, list):
        assert len(found) == len(known)
        for one, other in zip(found, known, strict=True):
            check(one, other, exact)
    elif exact or isinstance(known, int):
        assert found == known
    else:
        assert found == pytest.approx(known, rel=LOOSE, abs=LOOSE)


def exact(name: str) -> bool:
    return arithmetic() == expected(name.split("/")[0])["arithmetic"]


@pytest.mark.parametrize("name", FILES)
def test_evaluates_as_written(name, unzipped):
    release, short = name.split("/")
    known, file = expected(release)["evaluated"][short], unzipped(name)
    check({compute: evaluated(file, data_of(name), compute) for compute in known}, known, exact(name))


@pytest.mark.parametrize("name", RESUMED)
def test_goes_on_as_the_uninterrupted_run(name, unzipped, runs):
    release, short = name.split("/")
    words = CASES[short].words(data_of(name), runs.folder / "run", restored=unzipped(name))
    result = runs.call(cli_main, words)
    assert result.code == 0, result.err + result.out[-2000:]
    check(outcome(runs.folder / "run"), expected(release)["resumed"][short], exact(name))


@pytest.mark.parametrize("name", PLANS)
def test_plan_file_tells_what_the_checkpoint_has(name, unzipped):
    """Its config, given back, is the config in force, and its rows are those of the model that the checkpoint makes."""
    saved = read_plan((FIXTURES / f"{name}_plan.json").read_text(encoding="utf-8"))
    models, _, _ = load_model_ensemble_and_task([str(unzipped(name))], {"data": str(data_of(name))})
    quantization = models[0].quantization
    assert read_config(saved["config"]) == quantization.config
    assert quantization.plan.as_dicts() == saved["plan"]
