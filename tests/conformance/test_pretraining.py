"""Ours pre-trains to fairseq 0.12's losses, and continues its runs (see pretraining_cases.py).

Against tests/fixtures/pretraining/ (made by make_pretraining_fixtures.py) everywhere; live where fairseq 0.12 is
installed.
"""

import json
import subprocess
import sys

import pytest
import torch
from make_pretraining_fixtures import OUT
from pretraining_cases import KEPT, PLUGIN, RUNS, prepare, write_start
from test_training_runs import check
from training_cases import SPLIT, after, printed

from fairseq.checkpoint.reading import read
from fairseq.models.bart import BARTModel

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


FEATURES = """
import json, sys
import torch
from fairseq.models.bart import BARTModel
bart = BARTModel.from_pretrained(sys.argv[1], "checkpoint_last.pt", sys.argv[2], bpe=None).eval()
print(json.dumps(bart.extract_features(torch.tensor([0, 5, 9, 7, 2])).tolist()))
"""


def test_a_checkpoint_has_the_flags_that_fairseqs_bart_asks_for(ours, data, tmp_path):
    start = write_start(tmp_path / "start.pt", data, RUNS["denoising lines"])
    words = RUNS["denoising lines"].words(data, start, tmp_path / "out", resume=False)
    ours("train", [*words, "--max-update", "2"])
    saved = read(tmp_path / "out" / "checkpoint_last.pt")
    assert (saved["args"].task, saved["args"].arch, saved["args"].mask) == ("denoising", "bart_base", 0.3)
    assert saved["cfg"]["task"]["permute_sentences"] == -1  # an integer, as there


@pytest.mark.oracle
@pytest.mark.slow
def test_our_bart_loads_there(ours, data, tmp_path, oracle_python, oracle_env):
    start = write_start(tmp_path / "start.pt", data, RUNS["denoising lines"])
    words = RUNS["denoising lines"].words(data, start, tmp_path / "out", resume=False)
    ours("train", [*words, "--max-update", "4"])
    line = [str(oracle_python), "-c", FEATURES, str(tmp_path / "out"), str(data / "bin")]
    done = subprocess.run(line, env=oracle_env, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]
    bart = BARTModel.from_pretrained(str(tmp_path / "out"), "checkpoint_last.pt", str(data / "bin"), bpe=None).eval()
    with torch.no_grad():
        features = bart.extract_features(torch.tensor([0, 5, 9, 7, 2]))
    torch.testing.assert_close(torch.tensor(json.loads(done.stdout.splitlines()[-1])), features, rtol=0, atol=1e-5)


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
