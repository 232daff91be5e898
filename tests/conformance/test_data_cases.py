"""`fairseq.data` does what fairseq 0.12 does, case by case (tests/fixtures/data_cases.json; see data_cases.py)."""

import json
import os
import subprocess
import sys

import pytest
from data_cases import CASES
from make_data_fixtures import TARGET

EXPECTED = json.loads(TARGET.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", CASES)
def test_same_as_fairseq(name):
    assert CASES[name]() == EXPECTED[name]


def test_every_case_has_a_fixture():
    assert set(CASES) == set(EXPECTED)


@pytest.mark.oracle
@pytest.mark.slow
def test_fixtures_are_what_fairseq_gives_today(oracle_python, oracle_env, tmp_path):
    script = os.path.join(os.path.dirname(__file__), "make_data_fixtures.py")
    target = tmp_path / "cases.json"
    subprocess.run([oracle_python, script, target], env=oracle_env, cwd=tmp_path, check=True, stdout=sys.stderr)
    assert json.loads(target.read_text(encoding="utf-8")) == EXPECTED
