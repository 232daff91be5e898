"""An imported encoder from the shell: examples/roberta/minilm.sh on tiny data, and its checkpoint without that data."""

import json
import os
import random
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from fairseq.errors import DataError
from fairseq.interop.hf_import import import_encoder
from fairseq.interop.hf_names import HEAD
from fairseq.interop.hf_tokenizer import convert
from fairseq.models.roberta import RobertaModel
from fairseq.models.roberta.alignment_utils import align_bpe_to_words


@pytest.mark.parametrize(
    ("name", "bpe"), [("bert", "BertBPE"), ("roberta", "GPT2BPE"), ("xlmr", "HuggingFaceTokenizer")]
)
@torch.no_grad()
def test_an_imported_model_in_python(name, bpe, fixtures, tmp_path):
    """It brings its tokenizer along, and is where the folder is, not where it was made."""
    import_encoder(fixtures / "hf" / name, tmp_path / "made")
    (tmp_path / "made").rename(tmp_path / "moved")
    roberta = RobertaModel.from_pretrained(str(tmp_path / "moved")).eval()
    assert type(roberta.bpe).__name__ == bpe
    tokens = roberta.encode("a is", "a")
    assert roberta.decode(tokens) == ["a is", "a"]
    layers = roberta.extract_features(tokens, return_all_hiddens=True)
    assert len(layers) == 3 and torch.equal(layers[-1], roberta.extract_features(tokens))
    filled = roberta.fill_mask("a <mask>", topk=len(roberta.task.source_dictionary))
    assert all(sentence == f"a{word}" for sentence, _, word in filled)
    assert {"bert": {" is", "s"}, "roberta": {" r", "r"}, "xlmr": {" is", "s"}}[name] <= {word for _, _, word in filled}


@pytest.mark.parametrize("words", [["A ", "Roses ", "is"], ["A", "Roses", "is"]])
def test_words_of_pieces_without_case(words, fixtures, tmp_path):
    import_encoder(fixtures / "hf" / "bert", tmp_path)
    roberta = RobertaModel.from_pretrained(str(tmp_path))
    tokens = roberta.encode("A Roses is")  # a rose ##s is
    assert align_bpe_to_words(roberta, tokens, words) == [[1], [2, 3], [4]]
    with pytest.raises(DataError, match="give 2 tokens, not the 4 of the features"):
        align_bpe_to_words(roberta, tokens, ["A", "is"])


@torch.no_grad()
def test_predictions_of_an_imported_classifier(fixtures, tmp_path):
    source = fixtures / "hf" / "bert_classifier"
    expected = load_file(source / "expected.safetensors")
    import_encoder(source, tmp_path / "x")
    (tmp_path / "again").mkdir()
    order = torch.tensor(convert(source, tmp_path / "again", 13).order)
    roberta = RobertaModel.from_pretrained(str(tmp_path / "x")).eval()
    scores = roberta.predict(HEAD, order.argsort()[expected["tokens"]], return_logits=True)
    torch.testing.assert_close(scores, expected["logits"], atol=1e-5, rtol=0)


def test_fine_tuned_and_used_without_its_data(fixtures, repository, tmp_path):
    draw = random.Random(0)
    (tmp_path / "glue" / "SST-2").mkdir(parents=True)
    for split, count in (("train", 20), ("dev", 6)):
        lines = [f"{' '.join(draw.choices(['a', 'rose', 'is', 'roses'], k=3))}\t{i % 2}" for i in range(count)]
        (tmp_path / "glue" / "SST-2" / f"{split}.tsv").write_text("\n".join(["sentence\tlabel", *lines, ""]))
    settings = {
        "PYTHON": sys.executable,
        "OUT": "out",
        "EPOCHS": "2",
        "BATCH": "4",
        "FIRST": "16",
        "LR": "1e-2",
        "SORTED": "1",
    }
    done = subprocess.run(
        ["bash", repository / "examples/roberta/minilm.sh", "SST-2", fixtures / "hf" / "bert", "glue"],
        cwd=tmp_path,
        env={**os.environ, **settings, "PYTHON": sys.executable, "OUT": "out", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout.splitlines()[-1].removeprefix("SST-2 seed 1: "))
    header, *lines = (tmp_path / "out" / "glue" / "SST-2" / "train.tsv").read_text().splitlines()
    assert header == "sentence\tlabel" and len(lines) == 16 and sorted(lines, key=len) == lines
    assert result["num_updates"] == 8 and 0 <= result["accuracy"] <= 100

    shutil.rmtree(tmp_path / "out" / "SST-2-bin")
    run = tmp_path / "out" / "SST-2-seed1"
    roberta = RobertaModel.from_pretrained(str(run), "checkpoint_last.pt").eval()
    tokens = roberta.encode("A rose is")
    assert roberta.decode(tokens) == "a rose is"
    assert roberta.predict(HEAD, tokens).shape == (1, 2)
    assert roberta.task.label_dictionary[roberta.task.label_dictionary.nspecial] in {"0", "1"}
    start = RobertaModel.from_pretrained(str(tmp_path / "out" / "model"))
    assert not torch.equal(start.extract_features(tokens), roberta.extract_features(tokens))
