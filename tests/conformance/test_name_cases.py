"""What users' own code relies on is as in fairseq 0.12, case by case (fixtures/name_cases.json; see name_cases.py)."""

import json
import math
import os
import subprocess
import sys

import pytest
from make_name_case_fixtures import TARGET
from name_cases import CASES

import fairseq.registry
from fairseq.dataclass import catalog
from fairseq.models import registries
from fairseq.registry import Registry

EXPECTED = json.loads(TARGET.read_text(encoding="utf-8"))


def differs(found, expected, where="result"):
    """Where two results differ first; numbers may differ by 1e-5 of their size."""
    if isinstance(found, dict) and isinstance(expected, dict) and set(found) == set(expected):
        return next((d for k in found if (d := differs(found[k], expected[k], f"{where}.{k}"))), None)
    if isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        pairs = enumerate(zip(found, expected, strict=True))
        return next((d for i, (a, b) in pairs if (d := differs(a, b, f"{where}[{i}]"))), None)
    both = isinstance(found, float) and isinstance(expected, float)
    if both and (
        math.isclose(found, expected, rel_tol=1e-5, abs_tol=1e-6) or (found != found and expected != expected)
    ):
        return None
    return None if type(found) is type(expected) and found == expected else f"{where}: {found!r}, not {expected!r}"


@pytest.fixture(autouse=True)
def own_components_are_forgotten():
    """Cases register components of their own; tests that look at all components come later.

    Built-in ones, which are entered when they are first used, stay.
    """
    known = [value for value in vars(registries).values() if isinstance(value, Registry)]
    known += [entry["registry"] for entry in fairseq.registry.REGISTRIES.values()]
    builtins = [(registry, registry._builtins) for registry in known]
    builtins += [(group, catalog.BUILTINS.get(name, {})) for name, group in catalog._GROUPS.items()]
    before = [set(registry._entries) for registry, _ in builtins]
    yield
    for (registry, builtin), names in zip(builtins, before, strict=True):
        for name in set(registry._entries) - names - set(builtin):
            del registry[name]


@pytest.mark.parametrize("name", CASES)
def test_same_as_fairseq(name):
    found = json.loads(json.dumps(CASES[name]()))
    assert differs(found, EXPECTED[name]) is None


def test_every_case_has_a_fixture():
    assert set(CASES) == set(EXPECTED)


@pytest.mark.oracle
@pytest.mark.slow
def test_fixtures_are_what_fairseq_gives_today(oracle_python, oracle_env, tmp_path):
    script = os.path.join(os.path.dirname(__file__), "make_name_case_fixtures.py")
    target = tmp_path / "cases.json"
    subprocess.run([oracle_python, script, target], env=oracle_env, cwd=tmp_path, check=True, stdout=sys.stderr)
    assert differs(json.loads(target.read_text(encoding="utf-8")), EXPECTED) is None
