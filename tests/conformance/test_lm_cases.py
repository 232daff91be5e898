"""Language models do what fairseq 0.12 does, case by case (tests/fixtures/lm/cases.json; see lm_cases.py)."""

import json
import os
import subprocess
import sys

import pytest
from lm_cases import CASES
from make_lm_fixtures import TARGET

EXPECTED = json.loads(TARGET.read_text(encoding="utf-8"))


def check(found, expected, where=""):
    """Equal, numbers up to the order of sums in fp32."""
    if isinstance(expected, dict):
        if "dropout" not in expected:  # an architecture's settings; ours may say more
            assert list(found) == list(expected), where
        for key, value in expected.items():
            check(found[key], value, f"{where}.{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for number, pair in enumerate(zip(found, expected, strict=True)):
            check(*pair, where=f"{where}[{number}]")
    elif isinstance(expected, float) and isinstance(found, float):
        assert found == pytest.approx(expected, rel=1e-4, abs=2e-5), where
    else:
        assert found == expected, where


@pytest.mark.parametrize("name", CASES)
def test_same_as_fairseq(name):
    check(CASES[name](), EXPECTED[name], name)


def test_every_case_has_a_fixture():
    assert set(CASES) == set(EXPECTED)


@pytest.mark.oracle
@pytest.mark.slow
def test_fixtures_are_what_fairseq_gives_today(oracle_python, oracle_env, tmp_path):
    script = os.path.join(os.path.dirname(__file__), "make_lm_fixtures.py")
    target = tmp_path / "cases.json"
    subprocess.run([oracle_python, script, target], env=oracle_env, cwd=tmp_path, check=True, stdout=sys.stderr)
    check(json.loads(target.read_text(encoding="utf-8")), EXPECTED)
