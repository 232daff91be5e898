"""`RobertaModel.from_pretrained` answers as fairseq 0.12's (tests/fixtures/hub.json; see hub_cases.py)."""

import json
import subprocess

import pytest
import torch
from hub_cases import results, settings, write_folder
from make_hub_fixtures import OUT

from fairseq.models.roberta import RobertaModel, alignment_utils

EXPECTED = json.loads(OUT.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("hub") / "roberta")


@pytest.fixture(scope="module")
def answers(folder):
    roberta = RobertaModel.from_pretrained(str(folder), "model.pt", str(folder), **settings(folder))
    return json.loads(json.dumps(results(roberta, alignment_utils)))


@pytest.mark.parametrize("call", EXPECTED)
def test_answers_as_fairseq(answers, call):
    found, wanted = answers[call], EXPECTED[call]
    if call.startswith(("encode", "decode", "alignment")):
        assert found == wanted
    elif call == "fill_mask":
        for ours, theirs in zip(found, wanted, strict=True):
            assert [(sentence, word) for sentence, _, word in ours] == [(s, w) for s, _, w in theirs]
            assert [score for _, score, _ in ours] == pytest.approx([score for _, score, _ in theirs], abs=1e-5)
    elif call == "all layers":
        assert len(found) == len(wanted)
        for ours, theirs in zip(found, wanted, strict=True):
            torch.testing.assert_close(torch.tensor(ours), torch.tensor(theirs), rtol=0, atol=1e-5)
    else:
        torch.testing.assert_close(torch.tensor(found), torch.tensor(wanted), rtol=0, atol=1e-5)


def test_the_folder_is_found_without_saying_where_its_files_are(folder, answers):
    roberta = RobertaModel.from_pretrained(str(folder)).eval()
    assert roberta.encode("hello world").tolist() == answers["encode"]["hello world"]


@pytest.mark.oracle
@pytest.mark.slow
def test_live(oracle_python, oracle_env, tmp_path, repository):
    script = repository / "tests" / "conformance" / "make_hub_fixtures.py"
    subprocess.run([oracle_python, script, tmp_path / "hub.json"], env=oracle_env, cwd=tmp_path, check=True)
    assert json.loads((tmp_path / "hub.json").read_text()) == EXPECTED
