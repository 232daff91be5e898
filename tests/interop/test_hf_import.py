"""Imported encoders compute what `transformers` computed (fixtures: tests/conformance/make_hf_fixtures.py)."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from fairseq.checkpoint_utils import load_model_ensemble_and_task
from fairseq.data.glue.prepare import sentence_encoder
from fairseq.errors import CheckpointError
from fairseq.interop.hf_files import locate
from fairseq.interop.hf_import import import_encoder
from fairseq.interop.hf_names import HEAD
from fairseq.interop.hf_tokenizer import convert

MODELS = ("bert", "bert_classifier", "roberta", "roberta_classifier", "xlmr")


@pytest.mark.parametrize("name", MODELS)
def test_features_and_scores_equal_transformers(name, fixtures, tmp_path):
    source = fixtures / "hf" / name
    expected = load_file(source / "expected.safetensors")
    import_encoder(source, tmp_path / "x")
    size = json.loads((source / "config.json").read_text())["vocab_size"]
    (tmp_path / "again").mkdir()
    order = torch.tensor(convert(source, tmp_path / "again", size).order)
    models, _, _ = load_model_ensemble_and_task(
        [str(tmp_path / "x" / "model.pt")], arg_overrides={"load_checkpoint_heads": True}
    )
    model = models[0].eval()
    tokens = order.argsort()[expected["tokens"]]  # their ids -> ours
    real = tokens != 1
    with torch.no_grad():
        features, _ = model(tokens, features_only=True)
        if name.endswith("classifier"):
            scores, _ = model(tokens, classification_head_name=HEAD)
            theirs = expected["logits"]
        else:
            scores = model(tokens)[0][real]
            theirs = expected["logits"][..., order][real]
    torch.testing.assert_close(features[real], expected["features"][real], atol=1e-5, rtol=0)
    torch.testing.assert_close(scores, theirs, atol=1e-5, rtol=0)


def test_special_symbols_of_bert_come_first(fixtures, tmp_path):
    import_encoder(fixtures / "hf" / "bert", tmp_path)
    encoder = sentence_encoder(tmp_path)
    assert encoder.dictionary.symbols[:7] == ["<s>", "<pad>", "</s>", "<unk>", "[unused0]", "a", "rose"]
    ids = next(iter(encoder.encode(["A roses ROSE xyz"])))
    assert [encoder.dictionary[i] for i in ids] == ["a", "rose", "##s", "rose", "<unk>", "</s>"]


@pytest.mark.parametrize("name", ["roberta", "xlmr"])
def test_ids_of_roberta_stay(name, fixtures, tmp_path):
    import_encoder(fixtures / "hf" / name, tmp_path)
    encoder = sentence_encoder(tmp_path)
    ids = next(iter(encoder.encode(["a is"]))).tolist()
    # byte-level: "a", "_i", "s"; unigram: "_a", "_is"
    assert ids == ([4, 12, 6, 2] if name == "roberta" else [4, 6, 2])


def test_a_model_of_another_kind_is_refused(fixtures, tmp_path):
    folder = tmp_path / "gpt"
    shutil.copytree(fixtures / "hf" / "bert", folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "gpt2"}))
    with pytest.raises(CheckpointError, match="'gpt2' cannot be imported"):
        import_encoder(folder, tmp_path / "x")


def test_missing_and_damaged_folders_are_named(fixtures, tmp_path):
    with pytest.raises(CheckpointError, match="download the model"):
        locate(str(tmp_path / "nothing"))
    folder = tmp_path / "bert"
    shutil.copytree(fixtures / "hf" / "bert", folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged"):
        import_encoder(folder, tmp_path / "x")
    weights.unlink()
    with pytest.raises(CheckpointError, match=r"neither model\.safetensors nor pytorch_model\.bin"):
        import_encoder(folder, tmp_path / "x")
