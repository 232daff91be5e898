"""Ours pre-trains to fairseq 0.12's losses, and continues its runs (see pretraining_cases.py).

Against tests/fixtures/pretraining/ (made by make_pretraining_fixtures.py) everywhere; live where fairseq 0.12 is
installed.
"""

import json
import sys

import pytest
from make_pretraining_fixtures import OUT
from pretraining_cases import KEPT, PLUGIN, RUNS, prepare, write_start
from test_training_runs import check
from training_cases import SPLIT, after, printed

EXPECTED = json.loads((OUT / "printed.json").read_text())


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    from fairseq import options
    from fairseq_cli import preprocess

    def binarise(words):
        preprocess.main(options.get_preprocessing_parser().parse_args(words))

    return prepare(tmp_path_factory.mktemp("pretraining"), binarise)


@pytest.fixture(autouse=True)
def without_plugin():
    """The plugin's encoding is taken out again."""
    yield
    from fairseq.data.encoders import BPE_REGISTRY
    from fairseq.dataclass import catalog

    sys.modules.pop(PLUGIN.name, None)
    for table in (BPE_REGISTRY, catalog.group("bpe")):
        table.pop("marks", None)


def train(call, name, data, folder, start=None):
    folder.mkdir(exist_ok=True)
    first = start or write_start(folder / "start.pt", data, RUNS[name])
    return printed(call("train", RUNS[name].words(data, first, folder / "out", resume=start is not None)))


@pytest.mark.parametrize("name", RUNS)
def test_printed_as_by_fairseq(name, ours, data, tmp_path):
    lines = train(ours, name, data, tmp_path)
    assert len([line for line in lines if line["tag"] == "train_inner"]) >= 40
    check(lines, EXPECTED[name], exact=False)


def test_fairseqs_run_goes_on_here(ours, data, tmp_path):
    lines = train(ours, KEPT, data, tmp_path, start=OUT / f"{KEPT}.pt")
    check(lines, after(EXPECTED[KEPT], SPLIT), exact=False)


@pytest.mark.oracle
@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_live_and_each_continues_the_other(name, ours, theirs, data, tmp_path):
    whole = train(theirs, name, data, tmp_path / "theirs")
    assert whole == EXPECTED[name]
    check(train(ours, name, data, tmp_path / "ours"), whole)
    if name != KEPT:  # fairseq 0.12 makes the batches of a later epoch anew when it resumes there
        return
    (middle,) = (tmp_path / "ours" / "out").glob(f"checkpoint_*_{SPLIT}.pt")
    assert train(theirs, name, data, tmp_path / "ours-theirs", start=middle) == after(whole, SPLIT)
    (middle,) = (tmp_path / "theirs" / "out").glob(f"checkpoint_*_{SPLIT}.pt")
    check(train(ours, name, data, tmp_path / "theirs-ours", start=middle), after(whole, SPLIT))
