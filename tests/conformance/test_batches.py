"""Tasks make fairseq 0.12's batches: same examples, order, tokens, targets, masks (tests/fixtures/batches.json)."""

import json
import shutil

import pytest
from make_batch_fixtures import BASE, MASKED_LM, OUT, RANKING, made_up_data, make_batches, rte_data

from fairseq import tasks
from fairseq.data import Dictionary
from fairseq.data.indexed_dataset import make_builder

SETUPS = {"text": ("masked_lm", MASKED_LM), "choices": ("sentence_ranking", RANKING)}
CASES = json.loads(OUT.read_text())


def binarise(lines, folder, dictionary=None):
    """What fairseq-preprocess --only-source does."""
    folder.mkdir(parents=True)
    if dictionary is None:
        dictionary = Dictionary()
        for line in lines:
            dictionary.encode_line(line)
        dictionary.finalize(padding_factor=8)
    dictionary.save(str(folder / "dict.txt"))
    builder = make_builder(str(folder / "train.bin"), impl="mmap", vocab_size=len(dictionary))
    for line in lines:
        builder.add_item(dictionary.encode_line(line, add_if_not_exist=False))
    builder.finalize(str(folder / "train.idx"))
    return dictionary


@pytest.fixture(scope="module")
def made_up_bins(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made-up")
    for name, files in made_up_data().items():
        if name == "text":
            binarise(files[""], folder / name)
            continue
        dictionary = binarise(files["input0"], folder / name / "input0")
        for part in sorted(files.keys() - {"input0", "label"}):
            binarise(files[part], folder / name / part, dictionary)
        if name in ("numbers", "choices"):
            (folder / name / "label").mkdir()
            (folder / name / "label" / "train.label").write_text("\n".join(files["label"]) + "\n")
        else:
            binarise(files["label"], folder / name / "label")
    return folder


@pytest.fixture(scope="module")
def rte_bin(tmp_path_factory, shared_data, bpe_dir):
    from tokenizers import ByteLevelBPETokenizer

    tokenizer = ByteLevelBPETokenizer(str(bpe_dir / "encoder.json"), str(bpe_dir / "vocab.bpe"))
    folder = tmp_path_factory.mktemp("rte")
    dictionary = Dictionary.load(str(bpe_dir / "dict.txt"))
    files = rte_data(shared_data, lambda text: tokenizer.encode(text).ids)
    for name in ("input0", "input1"):
        binarise(files[name], folder / "rte" / name, dictionary)
        shutil.copy(bpe_dir / "dict.txt", folder / "rte" / name / "dict.txt")
    binarise(files["label"], folder / "rte" / "label")
    return folder


def check(case, folder):
    name, defaults = SETUPS.get(case["data"], ("sentence_prediction", BASE))
    task = tasks.setup_task({**defaults, **case["task"], "_name": name, "data": str(folder / case["data"])})
    ours = make_batches(task, case["batching"], case["epochs"], in_full=case["data"] != "rte")
    assert len(ours) == len(case["batches"])
    for number, (batch, expected) in enumerate(zip(ours, case["batches"], strict=True)):
        assert batch == expected, number


@pytest.mark.parametrize("case", [c for c in CASES if c["data"] != "rte"], ids=lambda c: c["data"])
def test_made_up_data(case, made_up_bins):
    check(case, made_up_bins)


@pytest.mark.parametrize(
    "case", [c for c in CASES if c["data"] == "rte"], ids=lambda c: f"seed{c['task'].get('seed', 1)}"
)
def test_rte(case, rte_bin):
    check(case, rte_bin)
