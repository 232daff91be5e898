"""Criterions give fairseq 0.12's losses and logged values on the same logits (tests/fixtures/criterions.json)."""

import json

import pytest
from make_criterion_fixtures import OUT, run

from fairseq.criterions import build_criterion
from fairseq.logging import metrics

CASES = json.loads(OUT.read_text())


def build(name, config, task):
    config._name = name
    return build_criterion(config, task)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["criterion"])
def test_equal_to_fairseq(case):
    ours = run(build, case, metrics.aggregate)
    for batch, (loss, expected) in enumerate(zip(ours["losses"], case["losses"], strict=True)):
        assert loss == pytest.approx(expected, rel=1e-6), batch
    assert set(ours["logged"]) == set(case["logged"])
    for name, expected in case["logged"].items():
        assert ours["logged"][name] == pytest.approx(expected, rel=1e-6, abs=1e-9), name
