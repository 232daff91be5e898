"""Ours prints fairseq 0.12's losses of translation models; each continues the other's runs.

As test_training_runs.py: against tests/fixtures/translation/ (made by make_translation_fixtures.py) everywhere, digit
for digit; live where fairseq 0.12 is installed.
"""

import json

import pytest
from make_translation_fixtures import KEPT, OUT
from test_training_runs import check, meters
from training_cases import after, printed
from translation_cases import RUNS, SPLIT, binarise, write_pairs, write_start

EXPECTED = json.loads((OUT / "printed.json").read_text())


@pytest.fixture(scope="module")
def data_of(tmp_path_factory):
    """kind of data -> its folder, made when first asked for."""
    from fairseq import options
    from fairseq_cli import preprocess

    made = {}

    def get(kind):
        if kind not in made:
            folder = tmp_path_factory.mktemp(kind)
            write_pairs(folder / "text")
            parser = options.get_preprocessing_parser
            made[kind] = binarise(
                folder, kind == "joined", lambda words: preprocess.main(parser().parse_args(words)) and None
            )
        return made[kind]

    return get


def train(call, name, folder, data_of, *, start=None):
    run = RUNS[name]
    folder.mkdir(exist_ok=True)
    data = data_of(run.data)
    begin = start or write_start(folder / "start.pt", data, run.start)
    words = run.words(folder, data, begin, folder / "out", resume=start is not None)
    return printed(call(run.command, words))


@pytest.mark.parametrize("name", RUNS)
def test_printed_as_by_fairseq(name, ours, data_of, tmp_path):
    lines = train(ours, name, tmp_path, data_of)
    assert len([line for line in lines if line["tag"] == "train_inner"]) == 40
    check(lines, EXPECTED[name], exact=False)
    if name == KEPT:
        (middle,) = (tmp_path / "out").glob(f"checkpoint_*_{SPLIT}.pt")
        assert meters(middle).items() >= meters(OUT / "smoothed.pt").items()


def test_fairseqs_run_goes_on_here(ours, data_of, tmp_path):
    lines = train(ours, KEPT, tmp_path, data_of, start=OUT / "smoothed.pt")
    check(lines, after(EXPECTED[KEPT], SPLIT), exact=False)


@pytest.mark.oracle
@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_live_and_each_continues_the_other(name, ours, theirs, data_of, tmp_path):
    whole = train(theirs, name, tmp_path / "theirs", data_of)
    assert whole == EXPECTED[name]
    check(train(ours, name, tmp_path / "ours", data_of), whole)

    (middle,) = (tmp_path / "ours" / "out").glob(f"checkpoint_*_{SPLIT}.pt")
    assert train(theirs, name, tmp_path / "ours-theirs", data_of, start=middle) == after(whole, SPLIT)
    (middle,) = (tmp_path / "theirs" / "out").glob(f"checkpoint_*_{SPLIT}.pt")
    check(train(ours, name, tmp_path / "theirs-ours", data_of, start=middle), after(whole, SPLIT))
