"""Ours trains language models to fairseq 0.12's losses, continues its runs, and reports its evaluations.

Against tests/fixtures/lm/printed.json (made by make_lm_training_fixtures.py) everywhere; live where fairseq 0.12 is
installed.
"""

import json
import re
import subprocess

import pytest
from lm_training_cases import KEPT, RUNS, reported, words_with_marks, write_start
from make_lm_training_fixtures import OUT
from test_training_runs import check
from training_cases import SPLIT, after, binarise, printed, write_text

EXPECTED = json.loads((OUT / "printed.json").read_text())


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    from fairseq import options
    from fairseq_cli import preprocess

    folder = tmp_path_factory.mktemp("text")
    write_text(folder / "text")
    words_with_marks(folder / "text")
    return binarise(folder, lambda words: preprocess.main(options.get_preprocessing_parser().parse_args(words)))


def train(call, name, data, folder, start=None):
    folder.mkdir(exist_ok=True)
    first = start or write_start(folder / "start.pt", data / "dict.txt", name)
    return printed(call("train", RUNS[name].words(data, first, folder / "out", resume=start is not None)))


def check_reported(found, expected):
    """The same lines, numbers in them up to the last digits."""
    number = re.compile(r"-?\d+\.\d+(?:e-\d+)?")
    assert [number.sub("#", line) for line in found] == [number.sub("#", line) for line in expected]
    for line, wanted in zip(found, expected, strict=True):
        values = [[float(value) for value in number.findall(each)] for each in (line, wanted)]
        # perplexity is printed with two digits, loss with four
        assert values[0] == pytest.approx(values[1], rel=1e-4, abs=1.1e-4), (line, wanted)


@pytest.mark.parametrize("name", RUNS)
def test_trained_and_evaluated_as_by_fairseq(name, ours, data, tmp_path):
    lines = train(ours, name, data, tmp_path)
    assert len([line for line in lines if line["tag"] == "train_inner"]) == 40
    check(lines, EXPECTED[name]["lines"], exact=False)
    for number, expected in enumerate(EXPECTED[name]["evaluated"]):
        words = RUNS[name].evaluating(data, tmp_path / "out" / "checkpoint_last.pt", number)
        check_reported(reported(ours("eval_lm", words)), expected)


def test_fairseqs_run_goes_on_here(ours, data, tmp_path):
    lines = train(ours, KEPT, data, tmp_path, start=OUT / f"{KEPT}.pt")
    check(lines, after(EXPECTED[KEPT]["lines"], SPLIT), exact=False)


@pytest.mark.oracle
@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_live_and_each_continues_the_other(name, ours, theirs, data, tmp_path, oracle_python, oracle_env):
    whole = train(theirs, name, data, tmp_path / "theirs")
    assert whole == EXPECTED[name]["lines"]
    check(train(ours, name, data, tmp_path / "ours"), whole, exact=False)

    (middle,) = (tmp_path / "ours" / "out").glob(f"checkpoint_*_{SPLIT}.pt")
    assert train(theirs, name, data, tmp_path / "ours-theirs", start=middle) == after(whole, SPLIT)
    (middle,) = (tmp_path / "theirs" / "out").glob(f"checkpoint_*_{SPLIT}.pt")
    check(train(ours, name, data, tmp_path / "theirs-ours", start=middle), after(whole, SPLIT), exact=False)
    words = RUNS[name].evaluating(data, tmp_path / "ours" / "out" / "checkpoint_last.pt", 0)
    line = [str(oracle_python), "-W", "ignore", "-m", "fairseq_cli.eval_lm", *words]
    done = subprocess.run(
        line, env=oracle_env, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    check_reported(reported(ours("eval_lm", words)), reported(done.stdout))
