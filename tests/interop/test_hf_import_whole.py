"""What a folder says is imported as it says it, or refused: heads, activations, tokenizers, labels."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from fairseq.checkpoint import reading
from fairseq.data.encoders.sentences import sentence_encoder
from fairseq.errors import CheckpointError, ConfigError
from fairseq.interop import hf_compare
from fairseq.interop.hf_import import import_encoder
from fairseq.interop.hf_names import HEAD
from fairseq.models.roberta import RobertaModel

TYPES = "bert.embeddings.token_type_embeddings.weight[1:]"


def changed(source: Path, folder: Path, file: str = "config.json", **settings) -> Path:
    """A copy of a model folder with other settings in one of its JSON files."""
    shutil.copytree(source, folder)
    path = folder / file
    values = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**values, **settings}))
    return folder


def test_the_bias_that_is_used_is_the_one_that_is_imported(fixtures, tmp_path):
    source = fixtures / "hf" / "roberta_untied"
    theirs = load_file(source / "model.safetensors")
    assert not torch.equal(theirs["lm_head.bias"], theirs["lm_head.decoder.bias"])
    import_encoder(source, tmp_path / "x")
    ours = reading.read(tmp_path / "x" / "model.pt")["model"]
    assert torch.equal(ours["encoder.lm_head.bias"], theirs["lm_head.decoder.bias"])


def test_the_heads_activation_is_a_field(fixtures, tmp_path):
    """RoBERTa's head has exact GELU whatever hidden_act says, BERT's follows it."""
    settings = import_encoder(fixtures / "hf" / "roberta_untied", tmp_path / "a").settings
    assert "model.activation_fn=relu" in settings and "model.lm_head_activation_fn=gelu" in settings
    bert = changed(fixtures / "hf" / "bert", tmp_path / "bert", hidden_act="gelu_new")
    settings = import_encoder(bert, tmp_path / "b").settings
    assert "model.activation_fn=gelu_accurate" in settings and not any("lm_head_activation" in s for s in settings)


def test_an_import_that_computes_something_else_is_refused(fixtures, tmp_path, monkeypatch):
    """The comparison sees one wrong bias, and nothing is left in the folder."""
    monkeypatch.setattr("fairseq.interop.hf_names.HEADS", {
        theirs: ours for theirs, ours in __import__("fairseq.interop.hf_names", fromlist=["HEADS"]).HEADS.items()
        if theirs != "lm_head.decoder.bias"
    })  # fmt: skip
    with pytest.raises(CheckpointError, match="do not compute the same: lm differ by"):
        import_encoder(fixtures / "hf" / "roberta_untied", tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_ids_of_every_tokenizer_setting(fixtures, tmp_path):
    """Added tokens (one of two words), a normalizer, a space in front, special tokens elsewhere: as `transformers`."""
    source = fixtures / "hf" / "roberta_reordered"
    expected = json.loads((source / "expected_ids.json").read_text())
    import_encoder(source, tmp_path / "x")
    roberta, prepared = RobertaModel.from_pretrained(str(tmp_path / "x")), sentence_encoder(tmp_path / "x")
    described = json.loads((source / "tokenizer.json").read_text())
    tokens = {**described["model"]["vocab"], **{t["content"]: t["id"] for t in described["added_tokens"]}}
    names = {index: token.replace("Rose Garden", "Rose\\u0020Garden#15") for token, index in tokens.items()}
    for text, ids in expected.items():
        symbols = [roberta.task.source_dictionary[i] for i in roberta.encode(text).tolist()]
        assert symbols == ["<s>", *(names[i] for i in ids), "</s>"]
        assert next(iter(prepared.encode([text]))).tolist() == roberta.encode(text).tolist()[1:]
    assert roberta.decode(roberta.encode("ARISE Rose Garden")) == " arise Rose Garden"


@pytest.mark.parametrize("prefix", [False, True])
def test_files_without_tokenizer_json(prefix, fixtures, tmp_path, transformers_python):
    """vocab.json, merges.txt, and what the files beside them add: the ids of AutoTokenizer."""
    source = changed(fixtures / "hf" / "roberta", tmp_path / "hf", "tokenizer_config.json", add_prefix_space=prefix)
    (source / "added_tokens.json").write_text(json.dumps({"<ent>": 14}))
    tensors = load_file(source / "model.safetensors")
    for name in ("roberta.embeddings.word_embeddings.weight", "lm_head.bias"):
        tensors[name] = torch.cat([tensors[name], tensors[name][:1] + 1])
    save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})
    changed_config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**changed_config, "vocab_size": 15}))
    import_encoder(source, tmp_path / "x")
    roberta = RobertaModel.from_pretrained(str(tmp_path / "x"))
    texts = ["rise", " a<ent>is", "a <ent>", "is  a"]
    read = "import sys, json; from transformers import AutoTokenizer as A; t = A.from_pretrained(sys.argv[1]); "
    read += "print(json.dumps([t(s)['input_ids'] for s in json.loads(sys.argv[2])]))"
    words = [transformers_python, "-c", read, source, json.dumps(texts)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert [roberta.encode(text).tolist() for text in texts] == json.loads(done.stdout)


def test_class_names_and_dropout_come_along(fixtures, tmp_path):
    source = changed(
        fixtures / "hf" / "roberta_reordered", tmp_path / "hf", hidden_dropout_prob=0.3, classifier_dropout=0.2
    )
    settings = import_encoder(source, tmp_path / "x").settings
    assert "model.dropout=0.3" in settings and "model.pooler_dropout=0.2" in settings
    roberta = RobertaModel.from_pretrained(str(tmp_path / "x"))
    assert roberta.label_names(HEAD) == ["sad", "so so", "glad"]


def test_what_is_left_out_is_named(fixtures, tmp_path):
    folder = changed(fixtures / "hf" / "bert", tmp_path / "hf")
    tensors = load_file(folder / "model.safetensors")
    extra = {"bert.pooler.dense.weight": torch.zeros(8, 8), "cls.seq_relationship.bias": torch.zeros(2)}
    save_file({**tensors, **extra}, folder / "model.safetensors")
    assert import_encoder(folder, tmp_path / "x").left_out == [*sorted(extra), TYPES]
    inside = {"bert.encoder.layer.0.attention.self.distance_embedding.weight": torch.zeros(3, 4)}
    save_file({**tensors, **inside}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"no place for bert\.encoder\.layer\.0\.attention\.self\.distance_emb"):
        import_encoder(folder, tmp_path / "y")
    assert not (tmp_path / "y").exists()


def test_what_cannot_be_expressed_is_an_error(fixtures, tmp_path):
    bert, roberta = fixtures / "hf" / "bert", fixtures / "hf" / "roberta"
    for source, file, settings, message in (
        (bert, "tokenizer_config.json", {"tokenizer_class": "BertJapaneseTokenizer"}, "what a BertJapaneseTokenizer"),
        (roberta, "tokenizer_config.json", {"cls_token": "a"}, "its cls_token is 'a'"),
        (bert, "config.json", {"add_cross_attention": True}, "cross-attention"),
        (roberta, "config.json", {"tie_word_embeddings": False}, "unties the output embeddings"),
        (roberta, "config.json", {"hidden_size": "wide"}, "positive whole number"),
        (roberta, "added_tokens.json", {"<ent>": 20}, "has id 20, but the vocabulary gives it 14"),
    ):
        shutil.rmtree(tmp_path / "hf", ignore_errors=True)
        with pytest.raises(CheckpointError, match=message) as caught:
            import_encoder(changed(source, tmp_path / "hf", file, **settings), tmp_path / "x")
        assert "\n" not in str(caught.value) and not (tmp_path / "x").exists()


def test_special_ids_in_another_order_are_no_missing_cls(fixtures, tmp_path):
    folder = changed(fixtures / "hf" / "roberta", tmp_path / "hf")
    vocab = json.loads((folder / "vocab.json").read_text())
    swapped = {**vocab, "<s>": vocab["<pad>"], "<pad>": vocab["<s>"]}
    (folder / "vocab.json").write_text(json.dumps(swapped))
    import_encoder(folder, tmp_path / "x")
    del swapped["<unk>"]
    (folder / "vocab.json").write_text(json.dumps(swapped))
    with pytest.raises(CheckpointError, match=r"has neither <unk> nor \[UNK\]"):
        import_encoder(folder, tmp_path / "y")


def test_files_that_are_there_are_kept(fixtures, tmp_path):
    source, dest = fixtures / "hf" / "bert", tmp_path / "x"
    import_encoder(fixtures / "hf" / "roberta", dest)
    (dest / "notes.txt").write_text("mine")
    before = {path.name: path.read_bytes() for path in dest.iterdir()}
    with pytest.raises(ConfigError, match=r"holds model\.pt already; give another --dest, or --overwrite"):
        import_encoder(source, dest)
    assert {path.name: path.read_bytes() for path in dest.iterdir()} == before
    import_encoder(source, dest, overwrite=True)
    # nothing of the other tokenizer is left for readers that choose by files, and nobody else's file is touched
    assert {path.name for path in dest.iterdir()} == {"model.pt", "dict.txt", "vocab.txt", "notes.txt"}
    copy = changed(source, tmp_path / "hf")
    with pytest.raises(ConfigError, match="is the folder of the model itself"):
        import_encoder(copy, copy, overwrite=True)


def test_the_summary_says_against_what(fixtures, tmp_path):
    said = import_encoder(fixtures / "hf" / "bert", tmp_path / "x").comparison.summary()
    assert said.startswith("on made-up batches both compute the same: features within ") and "language model" in said
    assert hf_compare.MAX_DEVIATION <= 1e-4
