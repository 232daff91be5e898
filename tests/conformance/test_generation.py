"""Generation gives what fairseq 0.12 gives, case by case (tests/fixtures/generation; see generation_cases.py)."""

import json
import os
import subprocess
import sys

import generation_cases_more  # noqa: F401  # adds cases
import pytest
from generation_cases import CASES
from make_generation_fixtures import TARGET

EXPECTED = json.loads(TARGET.read_text(encoding="utf-8"))


def close(found, expected):
    """The same, with numbers to 1e-4."""
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(close(found[key], expected[key]) for key in expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(close, found, expected))
    if isinstance(expected, float):
        return found == pytest.approx(expected, abs=1e-4)
    return found == expected


@pytest.mark.parametrize("name", EXPECTED)
def test_same_as_fairseq(name):
    found = json.loads(json.dumps(CASES[name]()))
    assert close(found, EXPECTED[name]), found


def test_every_case_has_a_fixture():
    assert set(CASES) == set(EXPECTED)


@pytest.mark.oracle
@pytest.mark.slow
def test_fixtures_are_what_fairseq_gives_today(oracle_python, oracle_env, tmp_path):
    script = os.path.join(os.path.dirname(__file__), "make_generation_fixtures.py")
    target = tmp_path / "cases.json"
    subprocess.run([oracle_python, script, target], env=oracle_env, cwd=tmp_path, check=True, stdout=sys.stderr)
    assert close(json.loads(target.read_text(encoding="utf-8")), EXPECTED)
