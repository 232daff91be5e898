"""Imported encoders compute what `transformers` computed (fixtures: tests/conformance/make_hf_fixtures.py)."""

import json
import shutil
import sys
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from fairseq.checkpoint import reading
from fairseq.checkpoint_utils import load_model_ensemble_and_task
from fairseq.data.encoders.sentences import sentence_encoder
from fairseq.errors import CheckpointError
from fairseq.interop.hf_files import locate
from fairseq.interop.hf_import import import_encoder
from fairseq.interop.hf_names import HEAD
from fairseq.interop.hf_reference import Reference
from fairseq.interop.hf_tokenizer import convert

MODELS = ("bert", "bert_classifier", "roberta", "roberta_classifier", "roberta_reordered", "roberta_untied", "xlmr")
CLASSIFIERS = ("bert_classifier", "roberta_classifier", "roberta_reordered")


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
        if name in CLASSIFIERS:
            scores, _ = model(tokens, classification_head_name=HEAD)
            theirs = expected["logits"]
        else:
            scores = model(tokens)[0][real]
            theirs = expected["logits"][..., order][real]
    torch.testing.assert_close(features[real], expected["features"][real], atol=1e-5, rtol=0)
    torch.testing.assert_close(scores, theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", MODELS)
def test_the_comparison_knows_what_transformers_computes(name, fixtures):
    """Features and scores of `hf_reference`, which every import and export is compared with."""
    expected = load_file(fixtures / "hf" / name / "expected.safetensors")
    reference = Reference(fixtures / "hf" / name)
    real = expected["tokens"] != reference.pad
    found = reference.outputs(expected["tokens"], real.long())
    torch.testing.assert_close(found["features"][real], expected["features"][real], atol=1e-5, rtol=0)
    kind, rows = ("classes", slice(None)) if name in CLASSIFIERS else ("lm", real)
    torch.testing.assert_close(found[kind][rows], expected["logits"][rows], atol=1e-5, rtol=0)


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


def rewritten(source, folder, form):
    """The model in `source` with its weights stored in another form."""
    shutil.copytree(source, folder)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    if form == "gamma":  # as TensorFlow's checkpoints were converted in 2018, in torch's own format
        old = {
            key.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): tensors[key] for key in tensors
        }
        torch.save(old, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    elif form == "parts":
        names = sorted(tensors)
        parts = {"model-1.safetensors": names[:9], "model-2.safetensors": names[9:]}
        for file, held in parts.items():
            save_file({name: tensors[name] for name in held}, folder / file)
        index = {"weight_map": {name: file for file, held in parts.items() for name in held}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    elif form == "half":
        save_file({key: tensors[key].half() for key in tensors}, folder / "model.safetensors")
    elif form == "unprefixed":  # as BertModel alone saves itself, with what is no weight
        state = {key.removeprefix("bert."): tensors[key] for key in tensors}
        save_file({**state, "embeddings.position_ids": torch.arange(10)[None]}, folder / "model.safetensors")


@pytest.mark.parametrize("form", ["gamma", "parts", "half", "unprefixed"])
def test_weights_in_other_forms(form, fixtures, tmp_path):
    rewritten(fixtures / "hf" / "bert", tmp_path / "other", form)
    import_encoder(fixtures / "hf" / "bert", tmp_path / "a")
    import_encoder(tmp_path / "other", tmp_path / "b")
    expected, found = (reading.read(tmp_path / name / "model.pt")["model"] for name in "ab")
    assert found.keys() == expected.keys()
    for key, tensor in found.items():
        tolerance = {"atol": 2e-3, "rtol": 1e-3} if form == "half" else {"atol": 0, "rtol": 0}
        torch.testing.assert_close(tensor, expected[key], **tolerance)


class Evil:
    def __reduce__(self):
        return print, ("run",)


def test_code_in_the_weights_is_refused(fixtures, tmp_path, capsys):
    folder = tmp_path / "evil"
    shutil.copytree(fixtures / "hf" / "bert", folder)
    (folder / "model.safetensors").unlink()
    torch.save({"bert.x": Evil()}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"builtins\.print, which is not data"):
        import_encoder(folder, tmp_path / "x")
    assert capsys.readouterr().out == ""


def test_a_model_of_another_kind_is_refused(fixtures, tmp_path):
    folder = tmp_path / "gpt"
    shutil.copytree(fixtures / "hf" / "bert", folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "gpt2"}))
    with pytest.raises(CheckpointError, match="'gpt2' cannot be imported"):
        import_encoder(folder, tmp_path / "x")


def test_a_model_id_is_looked_up_in_the_cache_and_then_online(fixtures, tmp_path, monkeypatch):
    snapshot = tmp_path / "hub" / "models--someone--tiny-bert" / "snapshots" / "0123abcd"
    shutil.copytree(fixtures / "hf" / "bert", snapshot)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0123abcd\n")
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert locate("someone/tiny-bert") == snapshot

    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # as if not installed
    with pytest.raises(
        CheckpointError, match=r"someone/other: .* huggingface_hub is not installed; download the model"
    ):
        locate("someone/other")

    def offline(name, allow_patterns):
        if name == "someone/here":
            return str(tmp_path)
        raise OSError("no route to host\nand more lines")

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(snapshot_download=offline))
    assert locate("someone/here") == tmp_path
    with pytest.raises(CheckpointError) as caught:
        locate("someone/other")
    assert "could not be downloaded (no route to host); download the model" in str(caught.value)
    assert "\n" not in str(caught.value)


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


def test_the_settings_to_fine_tune_with_can_be_pasted(tmp_path, monkeypatch, capsys, fixtures):
    """Also where the folder's name has spaces."""
    import shlex
    import sys

    from fairseq_cli.import_hf import cli_main

    dest = tmp_path / "übernommene Modelle"
    monkeypatch.setattr(sys, "argv", ["import_hf", str(fixtures / "hf" / "roberta"), "--dest", str(dest)])
    cli_main()
    words = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert words[0] == f"checkpoint.restore_file={dest}/model.pt" and all("=" in word for word in words)
