"""MiniLM-L6, a real pretrained encoder (see conftest.py for where it is looked for)."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from fairseq.interop.hf_export import export_encoder
from fairseq.interop.hf_import import import_encoder
from fairseq.models.roberta import RobertaModel

# from transformers 5.23.0, torch 2.13.0, of "Two men are playing football.": the feature of the first token, its first
# 8 of 384 numbers, and those of the last token
FIRST = [0.061416, -0.003097, -0.036532, -0.577998, 0.032676, -0.041907, -0.254361, 0.046538]
LAST = [-0.064061, -0.083272, -0.134957, -0.270004, 0.225032, -0.127887, -0.236456, 0.290319]
SENTENCE = "Two men are playing football."


@pytest.fixture(scope="module")
def folder(minilm, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("minilm")
    import_encoder(minilm, folder)
    return folder


@pytest.fixture(scope="module")
def roberta(folder):
    return RobertaModel.from_pretrained(str(folder)).eval()


@torch.no_grad()
def test_features_of_one_sentence(roberta):
    features = roberta.extract_features(roberta.encode(SENTENCE))[0]
    assert features.shape == (8, 384)
    torch.testing.assert_close(features[0, :8], torch.tensor(FIRST), atol=1e-5, rtol=0)
    torch.testing.assert_close(features[-1, :8], torch.tensor(LAST), atol=1e-5, rtol=0)


@torch.no_grad()
def test_features_equal_transformers(roberta, folder, minilm, transformers_python, glue_dir, tmp_path):
    """Before and after the way through our checkpoint and back: 64 sentences of STS-B."""
    lines = (glue_dir / "STS-B" / "dev.tsv").read_text(encoding="utf-8").split("\n")[1:65]
    text = [line.split("\t")[7] for line in lines]
    ids = [roberta.encode(sentence) for sentence in text]
    tokens = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=1)
    theirs = {"<s>": "[CLS]", "<pad>": "[PAD]", "</s>": "[SEP]", "<unk>": "[UNK]", "<mask>": "[MASK]"}
    vocabulary = json.loads((minilm / "tokenizer.json").read_text())["model"]["vocab"]
    dictionary = roberta.task.source_dictionary
    in_theirs = [[vocabulary[theirs.get(dictionary[i], dictionary[i])] for i in row] for row in tokens.tolist()]
    export_encoder(folder / "model.pt", tmp_path / "back", folder)
    request = [
        {"folder": str(minilm), "tokens": in_theirs, "text": text},
        {"folder": str(tmp_path / "back"), "tokens": tokens.tolist(), "text": text},
    ]
    (tmp_path / "request.json").write_text(json.dumps(request))
    script, answer = Path(__file__).with_name("with_transformers.py"), tmp_path / "answer.safetensors"
    subprocess.run([transformers_python, script, tmp_path / "request.json", answer], check=True, capture_output=True)

    real = tokens != 1
    features = roberta.extract_features(tokens)[real]
    found = load_file(answer)
    for name in ("0.features", "1.features"):
        difference = (features - found[name][real]).abs().max().item()
        print(f"{name}: largest difference {difference:.1e}")
        assert difference < 1e-5
    with safe_open(answer, "pt") as file:
        original, back = (notes["ids"] for notes in json.loads(file.metadata()["notes"]))
    assert back == [row.tolist() for row in ids]
    assert original == [row[: len(own)] for row, own in zip(in_theirs, ids, strict=True)]


def test_similarity_without_training(roberta, glue_dir, repository, monkeypatch):
    monkeypatch.syspath_prepend(str(repository / "examples" / "roberta"))
    from mean_pooled_similarity import correlations

    count, _, spearman = correlations(roberta, str(glue_dir / "STS-B" / "dev.tsv"))
    assert count == 1500 and spearman > 0.86
    sys.modules.pop("mean_pooled_similarity")
