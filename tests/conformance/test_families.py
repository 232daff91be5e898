"""Models of every family give what they give in fairseq 0.12: weights, scores, attention, beams, losses, flags
(tests/fixtures/families.json, see family_cases.py)."""

import json
import os
import subprocess
import sys

import family_cases
import pytest
from make_family_fixtures import TARGET

# flags of transformers for experts on several GPUs, another library's attention, and inputs that nothing reads
LEFT_OUT = {"--base-layers", "--base-sublayers", "--base-shuffle", "--char-inputs"}
LEFT_OUT |= {"--encoder-xformers-att-config", "--decoder-xformers-att-config"}
EXPECTED = json.loads(TARGET.read_text(encoding="utf-8"))


def close(found, expected, tolerance):
    """The same, with numbers to a tolerance."""
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(close(found[key], expected[key], tolerance) for key in expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(close(f, e, tolerance) for f, e in zip(found, expected, strict=True))
    if isinstance(expected, float):
        return found == pytest.approx(expected, abs=tolerance)
    return found == expected


@pytest.mark.parametrize("name", EXPECTED["cases"])
def test_same_as_fairseq(name):
    found, expected = family_cases.describe(name), EXPECTED["cases"][name]
    for part, tolerance in (("shapes", 0), ("parameters", 0), ("initial", 2e-4), ("lprobs", 1e-5), ("attention", 1e-5),
                            ("losses", 1e-3), ("beams", 1e-3), ("max_positions", 0)):  # fmt: skip
        assert close(found[part], expected[part], tolerance), (part, found[part], expected[part])


def test_every_case_has_a_fixture():
    assert set(family_cases.CASES) == set(EXPECTED["cases"])
    assert set(family_cases.architectures()) == set(EXPECTED["architectures"])


@pytest.mark.parametrize("arch", EXPECTED["architectures"])
def test_defaults_and_flags_equal_fairseqs(arch):
    found = {key: family_cases.plain(value) for key, value in vars(family_cases.parsed(arch)).items()}
    expected = EXPECTED["architectures"][arch]
    assert {key: found[key] for key in expected} == expected
    assert family_cases.followers(arch) == EXPECTED["followers"][arch]
    assert set(EXPECTED["flags"][arch]) <= {*family_cases.flags(arch), *LEFT_OUT}


@pytest.mark.oracle
@pytest.mark.slow
def test_fixtures_are_what_fairseq_gives_today(oracle_python, oracle_env, tmp_path):
    script = os.path.join(os.path.dirname(__file__), "make_family_fixtures.py")
    target = tmp_path / "families.json"
    subprocess.run([oracle_python, script, target], env=oracle_env, cwd=tmp_path, check=True, stdout=sys.stderr)
    assert close(json.loads(target.read_text(encoding="utf-8")), EXPECTED, 1e-4)
