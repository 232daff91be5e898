"""`BARTModel.from_pretrained` answers as fairseq 0.12's (tests/fixtures/bart.json; see bart_cases.py)."""

import json
import subprocess

import pytest
import torch
from bart_cases import MASKED, results, write_folder
from hub_cases import settings
from make_bart_fixtures import OUT

from fairseq.errors import ConfigError, DataError
from fairseq.models.bart import BARTModel

EXPECTED = json.loads(OUT.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def bart(tmp_path_factory):
    folder = write_folder(tmp_path_factory.mktemp("bart") / "model")
    return BARTModel.from_pretrained(str(folder), "model.pt", str(folder), **settings(folder)).eval()


@pytest.fixture(scope="module")
def answers(bart):
    return json.loads(json.dumps(results(bart)))


def same(found, wanted):
    """Equal, numbers to 1e-5."""
    if isinstance(wanted, float):
        assert found == pytest.approx(wanted, abs=1e-5)
    elif isinstance(wanted, list):
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            same(one, other)
    elif isinstance(wanted, dict):
        same([found[key] for key in wanted], list(wanted.values()))
    else:
        assert found == wanted


@pytest.mark.parametrize("call", EXPECTED)
def test_answers_as_fairseq(answers, call):
    same(answers[call], EXPECTED[call])


def test_one_sentence_is_generated_from_as_several_are(bart):
    one = bart.encode("hello world")
    found = bart.generate(one, beam=2, max_len_b=5)
    assert [each["tokens"].tolist() for each in found] == [
        each["tokens"].tolist() for each in bart.generate([one], beam=2, max_len_b=5)[0]
    ]
    prefix = torch.tensor([[0, 9]])
    begun = bart.generate(one, beam=2, max_len_b=5, inference_step_args={"prefix_tokens": prefix})
    assert all(each["tokens"][:2].tolist() == [0, 9] for each in begun)


def test_masks_are_filled_to_the_length_of_each_text(bart):
    together = bart.fill_mask(MASKED, topk=1, beam=3)
    apart = [bart.fill_mask([text], topk=1, beam=3)[0] for text in MASKED]
    assert [[text for text, _ in each] for each in together] == [[text for text, _ in each] for each in apart]


def test_what_does_not_work_says_so_in_a_line(bart):
    with pytest.raises(ConfigError, match="fill_mask needs <mask>"):
        bart.fill_mask(["no mask here"])
    with pytest.raises(ConfigError, match="unknown classification head 'nope'"):
        bart.predict("nope", bart.encode("hello"))
    with pytest.raises(DataError, match="70 tokens do not fit the model's 64 positions"):
        bart.extract_features(torch.arange(70))


@pytest.mark.oracle
@pytest.mark.slow
def test_live(oracle_python, oracle_env, tmp_path, repository):
    script = repository / "tests" / "conformance" / "make_bart_fixtures.py"
    subprocess.run([oracle_python, script, tmp_path / "bart.json"], env=oracle_env, cwd=tmp_path, check=True)
    assert json.loads((tmp_path / "bart.json").read_text()) == EXPECTED
