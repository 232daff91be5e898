"""fairseq-generate and fairseq-interactive print fairseq 0.12's lines: the same words, scores to 1e-4.

Against tests/fixtures/translate/ (made by make_translate_fixtures.py) everywhere; live where fairseq 0.12 is installed.
"""

import json
import re
import sys

import pytest
from make_translate_fixtures import OUT
from translate_cases import CASES, told, words_of
from translation_cases import binarise, write_pairs

from fairseq.search import DiverseBeamSearch

EXPECTED = json.loads((OUT / "told.json").read_text(encoding="utf-8"))
LIVE = ["n-best", "in order"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    from fairseq import options
    from fairseq_cli import preprocess

    folder = tmp_path_factory.mktemp("data")
    write_pairs(folder / "text")
    parser = options.get_preprocessing_parser
    return binarise(folder, False, lambda words: preprocess.main(parser().parse_args(words)))


def parts(line):
    """Words, and numbers rounded to what has to agree."""
    return [float(part) if re.fullmatch(r"-?\d+\.\d+", part) else part for part in re.split(r"[\s,]", line)]


def by_sentence(lines):
    """fairseq 0.12 leaves to chance in which order sentences of one length are in their batch."""
    return sorted(lines, key=lambda line: int(line.split("\t")[0][2:]) if line[1] == "-" else sys.maxsize)


def check(found, expected):
    found, expected = by_sentence(found), by_sentence(expected)
    assert [line.split("\t")[0] for line in found] == [line.split("\t")[0] for line in expected]
    for line, wanted in zip(found, expected, strict=True):
        close = [pytest.approx(part, abs=2e-4) if isinstance(part, float) else part for part in parts(wanted)]
        assert parts(line) == close, f"{line!r}; fairseq 0.12 prints {wanted!r}"


def run(call, case, folder, data):
    return told(call(*words_of(case, folder, data, OUT / "model.pt", OUT / "other.pt")))


class OverlapOfAnother(DiverseBeamSearch):
    """fairseq 0.12's fault: overlaps are kept by row at the first step, and looked up by the sentence's number later.

    With more sentences in the split than in the batch, it looks beyond them and fails.
    """

    def step(self, step, lprobs, scores, prev_output_tokens=None, original_batch_idxs=None):
        if step:
            self.group_overlap = self.of_batch[original_batch_idxs]
        found = super().step(step, lprobs, scores, prev_output_tokens, original_batch_idxs)
        if step:
            self.of_batch[original_batch_idxs] = self.group_overlap
        else:
            self.of_batch = self.group_overlap
        return found


@pytest.mark.parametrize("case", CASES)
def test_told_as_by_fairseq(case, ours, data, tmp_path, monkeypatch):
    if case == "all diverse beams":
        monkeypatch.setattr("fairseq.search.DiverseBeamSearch", OverlapOfAnother)
    check(run(ours, case, tmp_path, data), EXPECTED[case])


@pytest.mark.oracle
@pytest.mark.slow
@pytest.mark.parametrize("case", LIVE)
def test_live(case, ours, theirs, data, tmp_path):
    lines = run(theirs, case, tmp_path, data)
    assert lines == EXPECTED[case]
    check(run(ours, case, tmp_path, data), lines)
