"""Checkpoints -> Hugging Face folders: bit for bit there and back, and `transformers` computes the same with them."""

import json
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from fairseq.checkpoint import reading, writing
from fairseq.checkpoint_utils import load_model_ensemble_and_task
from fairseq.data.dictionary import Dictionary
from fairseq.data.encoders.sentences import sentence_encoder
from fairseq.errors import CheckpointError, ConfigError
from fairseq.interop import hf_export_tokenizer, own_tokenizer
from fairseq.interop.hf_export import export_encoder
from fairseq.interop.hf_import import import_encoder
from fairseq.interop.hf_names import HEAD
from fairseq.interop.hf_tokenizer import convert

MODELS = ("bert", "bert_classifier", "roberta", "roberta_classifier", "roberta_reordered", "roberta_untied", "xlmr")
CLASSIFIERS = ("bert_classifier", "roberta_classifier", "roberta_reordered")
TOKENS = [[0, 4, 3, 4, 8, 2], [0, 4, 4, 2, 1, 1]]
TEXT = ["a rose is a rose", "is a"]


@pytest.fixture(scope="module")
def exported(fixtures, tmp_path_factory) -> Path:
    """NAME/ours and NAME/theirs for every model."""
    folder = tmp_path_factory.mktemp("exported")
    for name in MODELS:
        import_encoder(fixtures / "hf" / name, folder / name / "ours")
        export_encoder(folder / name / "ours" / "model.pt", folder / name / "theirs", folder / name / "ours")
    return folder


def load(folder: Path):
    models, _, _ = load_model_ensemble_and_task([str(folder / "model.pt")], {"load_checkpoint_heads": True})
    return models[0].eval()


@pytest.mark.parametrize("name", ["roberta", "roberta_classifier"])
def test_a_folder_of_roberta_comes_back(name, exported, fixtures):
    source, result = fixtures / "hf" / name, exported / name / "theirs"
    before, after = load_file(source / "model.safetensors"), load_file(result / "model.safetensors")
    types = before.pop("roberta.embeddings.token_type_embeddings.weight")
    assert not after.pop("roberta.embeddings.token_type_embeddings.weight").any()
    before["roberta.embeddings.position_embeddings.weight"][2:] += types  # where the import puts them
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    old, new = (json.loads((folder / "config.json").read_text()) for folder in (source, result))
    same = "architectures model_type vocab_size hidden_size num_hidden_layers num_attention_heads intermediate_size"
    same += " hidden_act max_position_embeddings type_vocab_size layer_norm_eps pad_token_id bos_token_id eos_token_id"
    assert {key: old[key] for key in same.split()} == {key: new[key] for key in same.split()}
    assert json.loads((result / "vocab.json").read_text()) == json.loads((source / "vocab.json").read_text())
    assert (result / "merges.txt").read_text() == (source / "merges.txt").read_text()


@pytest.mark.parametrize("name", MODELS)
def test_a_checkpoint_comes_back_bit_for_bit(name, exported, tmp_path):
    import_encoder(exported / name / "theirs", tmp_path)
    before, after = (reading.read(folder / "model.pt")["model"] for folder in (exported / name / "ours", tmp_path))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    again, first = sentence_encoder(tmp_path), sentence_encoder(exported / name / "ours")
    assert [list(ids) for ids in again.encode(TEXT)] == [list(ids) for ids in first.encode(TEXT)]


def test_transformers_computes_the_same(exported, transformers_python, tmp_path):
    request = [{"folder": str(exported / name / "theirs"), "tokens": TOKENS, "text": TEXT} for name in MODELS]
    (tmp_path / "request.json").write_text(json.dumps(request))
    script, answer = Path(__file__).with_name("with_transformers.py"), tmp_path / "answer.safetensors"
    subprocess.run([transformers_python, script, tmp_path / "request.json", answer], check=True, capture_output=True)
    found = load_file(answer)
    with safe_open(answer, "pt") as file:
        notes = json.loads(file.metadata()["notes"])
    real = torch.tensor(TOKENS) != 1
    for number, name in enumerate(MODELS):
        model, tokens = load(exported / name / "ours"), torch.tensor(TOKENS)
        with torch.no_grad():
            features, _ = model(tokens, features_only=True)
            scores, _ = model(tokens, **({"classification_head_name": HEAD} if name in CLASSIFIERS else {}))
        torch.testing.assert_close(found[f"{number}.features"][real], features[real], atol=1e-6, rtol=0)
        rows = slice(None) if name in CLASSIFIERS else real
        torch.testing.assert_close(found[f"{number}.scores"][rows], scores[rows], atol=1e-6, rtol=1e-6)
        assert notes[number]["wrong"] == []
        ids = [[0, *ids] for ids in sentence_encoder(exported / name / "ours").encode(TEXT)]
        assert notes[number]["ids"] == ids  # also where the imported tokenizer puts nothing around the text


def test_untied_output_weights(exported, tmp_path):
    """They go along, and come back."""
    state = reading.read(exported / "roberta" / "ours" / "model.pt")
    state["cfg"]["model"]["untie_weights_roberta"] = True
    state["model"]["encoder.lm_head.weight"] = state["model"]["encoder.lm_head.weight"] + 1
    writing.save(state, str(tmp_path / "untied.pt"))
    assert export_encoder(tmp_path / "untied.pt", tmp_path / "x").architecture == "RobertaForMaskedLM"
    tensors = load_file(tmp_path / "x" / "model.safetensors")
    assert torch.equal(tensors["lm_head.decoder.weight"], state["model"]["encoder.lm_head.weight"])
    assert torch.equal(tensors["lm_head.decoder.bias"], tensors["lm_head.bias"])
    assert json.loads((tmp_path / "x" / "config.json").read_text())["tie_word_embeddings"] is False


@pytest.mark.parametrize("kind", ["argparse", "hydra"])
def test_what_fairseq_trained(kind, fixtures, tmp_path):
    """Neither its data folder nor its dictionary is needed for the weights."""
    source = fixtures / "checkpoints" / f"{kind}.pt"
    export = export_encoder(source, tmp_path)
    assert export.architecture == "RobertaForSequenceClassification" and export.names is None
    assert "nothing names the classes" in export.notes()[0]
    tensors = load_file(tmp_path / "model.safetensors")
    saved = reading.read(source)["model"]
    assert torch.equal(tensors["classifier.out_proj.bias"], saved[f"classification_heads.{HEAD}.out_proj.bias"])
    assert json.loads((tmp_path / "config.json").read_text())["id2label"] == {"0": "LABEL_0", "1": "LABEL_1"}


def test_labels_travel(exported, tmp_path):
    state = reading.read(exported / "roberta_classifier" / "ours" / "model.pt")
    state["task_state"]["dictionaries"]["label"] = "not_entailment 12\nentailment 10\n"
    writing.save(state, str(tmp_path / "m.pt"))
    export_encoder(tmp_path / "m.pt", tmp_path / "x")
    labels = json.loads((tmp_path / "x" / "config.json").read_text())["id2label"]
    assert labels == {"0": "not_entailment", "1": "entailment"}


def test_what_cannot_be_exported_is_said(exported, tmp_path):
    source = exported / "roberta_classifier" / "ours" / "model.pt"
    with pytest.raises(ConfigError, match="unknown classification head 'x'"):
        export_encoder(source, tmp_path / "x", head="x")
    state = reading.read(source)
    for kind in ("dense.weight", "dense.bias", "out_proj.weight", "out_proj.bias"):
        state["model"][f"classification_heads.b.{kind}"] = state["model"][f"classification_heads.{HEAD}.{kind}"] * 2
    writing.save(state, str(tmp_path / "two.pt"))
    with pytest.raises(ConfigError, match=f"heads b, {HEAD}; choose one with --head"):
        export_encoder(tmp_path / "two.pt", tmp_path / "x")
    export_encoder(tmp_path / "two.pt", tmp_path / "b", head="b")
    doubled = load_file(tmp_path / "b" / "model.safetensors")["classifier.dense.weight"]
    assert torch.equal(doubled, state["model"]["classification_heads.b.dense.weight"])
    with pytest.raises(CheckpointError, match="has no tokenizer"):
        export_encoder(source, tmp_path / "x", bpe_dir=tmp_path)
    for setting, value, message in (
        ("activation_fn", "tanh", "activation tanh cannot be exported"),
        ("pooler_activation_fn", "relu", "only classification heads with tanh"),
        ("no_scale_embedding", False, "no model.no_scale_embedding=False"),
    ):
        state = reading.read(source)
        state["cfg"]["model"][setting] = value
        writing.save(state, str(tmp_path / "other.pt"))
        with pytest.raises(CheckpointError, match=message):
            export_encoder(tmp_path / "other.pt", tmp_path / "x")


def test_robertas_own_tokenizer(bpe_dir, tmp_path, request):
    """The published files become Hugging Face's roberta-base: the ids that both document, there and back."""
    hf, back = tmp_path / "hf", tmp_path / "back"
    hf.mkdir()
    back.mkdir()
    tokenizer, dictionary = own_tokenizer.find(None, tmp_path, bpe_dir), Dictionary.load(str(bpe_dir / "dict.txt"))
    dictionary.add_symbol("<mask>")
    assert hf_export_tokenizer.export(tokenizer, dictionary, 50265, hf, max_positions=512) == 0
    vocab = json.loads((hf / "vocab.json").read_text(encoding="utf-8"))
    assert (len(vocab), vocab["<mask>"], vocab["\u0120world"], vocab["Hello"]) == (50265, 50264, 232, 31414)
    found = convert(hf, back, 50265)
    assert found.order == list(range(50265))
    sentences = ["Hello world!", "Na\u00efve caf\u00e9s \U0001f600 don't  exist"]
    ours, imported = (list(map(list, sentence_encoder(folder).encode(sentences))) for folder in (bpe_dir, back))
    assert ours == imported and ours[0] == [31414, 232, 328, 2]

    python = request.getfixturevalue("transformers_python")
    read = "import sys, json; from transformers import AutoTokenizer as A; t = A.from_pretrained(sys.argv[1]); "
    read += "print(json.dumps([t(s)['input_ids'] for s in json.loads(sys.argv[2])]))"
    done = subprocess.run([python, "-c", read, hf, json.dumps(sentences)], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [[0, *ids] for ids in ours]
