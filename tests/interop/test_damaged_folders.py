"""Hugging Face folders of another shape or encoding, or with parts that do not fit: one line that names the file."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from fairseq.errors import CheckpointError
from fairseq.interop.hf_import import import_encoder


@pytest.fixture
def folder(fixtures, tmp_path):
    def copy(name):
        shutil.copytree(fixtures / "hf" / name, tmp_path / "hf")
        return tmp_path / "hf"

    return copy


def refused(folder, tmp_path, message):
    with pytest.raises(CheckpointError, match=message) as error:
        import_encoder(folder, tmp_path / "out")
    assert str(folder) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": 10**9}, "num_hidden_layers=1000000000, the weights have"),
        ({"num_hidden_layers": 1.5}, "num_hidden_layers must be a positive whole number"),
        ({"num_hidden_layers": None}, "num_hidden_layers must be a positive whole number"),
        ({"hidden_size": 64}, "hidden_size=64, the weights have"),
        ({"intermediate_size": -1}, "intermediate_size must be a positive whole number"),
        ({"intermediate_size": 12345}, "intermediate_size=12345, the weights have"),
        ({"num_attention_heads": 3}, "is no multiple of num_attention_heads=3"),
        ({"layer_norm_eps": [1]}, "layer_norm_eps must be a small number"),
        ({"layer_norm_eps": float("nan")}, "layer_norm_eps must be a small number"),
    ],
)
def test_sizes_in_config_json(changes, message, folder, tmp_path):
    folder = folder("roberta")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    refused(folder, tmp_path, message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"[]", "expected tokens with their ids, found a list"),
        (b'{"a": "1"}', "'a' has no id, but '1'"),
        (b'{"a": -1}', "'a' has no id, but -1"),
        (b'{"a": 1.0}', "'a' has no id, but 1.0"),
        (b'{"a": 1, "b": 1}', "'a' and 'b' both have id 1"),
        (b'{"\\ud800": 1}', "is no text"),
        (b"\xff", "is not UTF-8"),
        (b"[" * 100_000, "is no JSON"),
        (b'{"a": 0, "b": 100000}', "'b' has id 100000 among 2 tokens"),
    ],
)
def test_vocab_json(text, message, folder, tmp_path):
    folder = folder("roberta")
    (folder / "vocab.json").write_bytes(text)
    refused(folder, tmp_path, message)


@pytest.mark.parametrize(("name", "file"), [("roberta", "merges.txt"), ("bert", "vocab.txt")])
def test_text_that_is_not_utf8(name, file, folder, tmp_path):
    folder = folder(name)
    (folder / file).write_bytes(b"a b\n\xff\n")
    refused(folder, tmp_path, rf"{file} is not UTF-8 \(byte 4\)")


@pytest.mark.parametrize("index", [[], {}, {"weight_map": []}, {"weight_map": {"a": 1}}, {"weight_map": {"a": [1]}}])
def test_an_index_of_parts(index, folder, tmp_path):
    folder = folder("roberta")
    (folder / "model.safetensors").rename(folder / "part.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(folder, tmp_path, "does not say which file holds which weight")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("roberta.embeddings.word_embeddings.weight", lambda t: t.reshape(-1), "hidden_size"),
        ("roberta.embeddings.position_embeddings.weight", lambda t: t[:, :-1], "hidden_size"),
        ("lm_head.bias", lambda t: t[:-1], "the encoder.lm_head.bias is"),
        ("roberta.encoder.layer.0.intermediate.dense.weight", lambda t: t.t(), "intermediate_size"),
    ],
)
def test_weights_of_other_shapes(name, change, message, folder, tmp_path):
    folder = folder("roberta")
    weights = load_file(folder / "model.safetensors")
    weights[name] = change(weights[name]).contiguous()
    save_file(weights, folder / "model.safetensors")
    refused(folder, tmp_path, message)


@pytest.mark.parametrize("pad", [-1, 10**6, 2**62])
def test_padding_that_is_no_id(pad, folder, tmp_path):
    folder = folder("bert")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "pad_token_id": pad}))
    refused(folder, tmp_path, f"pad_token_id must be one of the 13 ids, not {pad}")


def test_weights_cut_short(folder, tmp_path):
    folder = folder("roberta")
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-100])
    refused(folder, tmp_path, "model.safetensors is damaged")


def test_pickled_weights_that_are_no_weights(folder, tmp_path):
    folder = folder("roberta")
    (folder / "model.safetensors").unlink()
    torch.save({1: torch.zeros(2), "x": 3}, folder / "pytorch_model.bin")
    refused(folder, tmp_path, "the weights hold no")
