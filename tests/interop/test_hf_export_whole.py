"""What a checkpoint holds is exported as it computes, or refused: dictionaries, tokenizers, heads, quantizers."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from fairseq.checkpoint import reading, writing
from fairseq.errors import CheckpointError, ConfigError
from fairseq.interop import own_tokenizer
from fairseq.interop.hf_export import export_encoder
from fairseq.interop.hf_import import import_encoder
from fairseq.interop.hf_names import HEAD
from fairseq.models.roberta import RobertaModel
from fairseq_cli import export_hf

TEXTS = ["rise", "a roses", " is a rise", "arse  is"]
EMBEDDING = "roberta.embeddings.word_embeddings.weight"


@pytest.fixture
def imported(fixtures, tmp_path):
    """imported(NAME): the folder of an imported fixture."""

    def make(name: str) -> Path:
        import_encoder(fixtures / "hf" / name, tmp_path / name)
        return tmp_path / name

    return make


def edited(folder: Path, change: Any, name: str = "edited.pt") -> Path:
    """The folder's model with something changed, beside it."""
    state = reading.read(folder / "model.pt")
    change(state)
    writing.save(state, str(folder / name))
    return folder / name


def in_transformers(python: Path, tmp_path: Path, folder: Path, tokens: list, text: list) -> tuple[dict, dict]:
    """Tensors and notes of tests/interop/with_transformers.py about one folder."""
    request, answer = tmp_path / "request.json", tmp_path / "answer.safetensors"
    request.write_text(json.dumps([{"folder": str(folder), "tokens": tokens, "text": text}]))
    script = Path(__file__).with_name("with_transformers.py")
    subprocess.run([python, script, request, answer], check=True, capture_output=True)
    with safe_open(answer, "pt") as file:
        [notes] = json.loads(file.metadata()["notes"])
    return load_file(answer), notes


def own_dictionary(state: dict) -> None:
    """As `fairseq-preprocess` makes one from text: by frequency, without tokens that never occurred."""
    old = state["task_state"]["dictionaries"]["source"].split("\n")[:-1]
    kept = [line for line in old if line.split()[0] not in ("3", "6")][::-1]  # "r" and " " are gone
    rows = torch.tensor([0, 1, 2, 3, *(4 + old.index(line) for line in kept)])
    for name in ("encoder.sentence_encoder.embed_tokens.weight", "encoder.lm_head.weight", "encoder.lm_head.bias"):
        if name in state["model"]:
            state["model"][name] = state["model"][name][rows]
    state["task_state"]["dictionaries"]["source"] = "".join(f"{line}\n" for line in kept)


@pytest.mark.parametrize("name", ["roberta", "roberta_classifier", "roberta_untied"])
def test_a_dictionary_of_its_own(name, imported, tmp_path):
    """Tokens that it lacks read as <unk>, and are never predicted; merges through them still work."""
    folder = imported(name)
    checkpoint = edited(folder, own_dictionary)
    export = export_encoder(checkpoint, tmp_path / "hf")
    assert (export.tokenizer, export.extra) == ("gpt2", 2) and "2 tokens that the dictionary lacks" in export.notes()[
        -1
    ]
    tensors = load_file(tmp_path / "hf" / "model.safetensors")
    unk = tensors[EMBEDDING][3]
    assert len(tensors[EMBEDDING]) == 14 and torch.equal(tensors[EMBEDDING][12:], torch.stack([unk, unk]))
    if "lm_head.bias" in tensors:
        assert (tensors["lm_head.bias"][12:] == -1e4).all()
    from tokenizers import Tokenizer

    theirs = Tokenizer.from_file(str(tmp_path / "hf" / "tokenizer.json"))
    roberta = RobertaModel.from_pretrained(str(folder), "edited.pt", data_name_or_path="nowhere")
    for text in TEXTS:
        assert [i if i < 12 else 3 for i in theirs.encode(text).ids] == roberta.encode(text).tolist()
    assert theirs.encode("a<mask>").ids == [0, roberta.task.source_dictionary.index("0"), 4, 2]


def test_a_dictionary_of_its_own_in_transformers(imported, tmp_path, transformers_python):
    folder = imported("roberta_classifier")
    export_encoder(edited(folder, own_dictionary), tmp_path / "hf")
    roberta = RobertaModel.from_pretrained(str(folder), "edited.pt", data_name_or_path="nowhere").eval()
    ours = torch.nn.utils.rnn.pad_sequence([roberta.encode(t) for t in TEXTS], batch_first=True, padding_value=1)
    _, notes = in_transformers(transformers_python, tmp_path, tmp_path / "hf", [[0, 2]], TEXTS)
    assert any(index >= 12 for ids in notes["ids"] for index in ids) and notes["wrong"] == []
    longest = max(map(len, notes["ids"]))
    theirs = [ids + [1] * (longest - len(ids)) for ids in notes["ids"]]
    found, _ = in_transformers(transformers_python, tmp_path, tmp_path / "hf", theirs, TEXTS)
    with torch.no_grad():
        scores = roberta.predict(HEAD, ours, return_logits=True)
    torch.testing.assert_close(found["0.scores"], scores, atol=1e-6, rtol=1e-6)


def test_added_tokens_keep_their_ids(imported, tmp_path):
    """Also where the dictionary has them in the midst of others."""
    from tokenizers import Tokenizer

    folder = imported("roberta_reordered")
    export = export_encoder(edited(folder, own_dictionary), tmp_path / "hf")
    assert (export.tokenizer, export.extra, export.names) == ("hf_tokenizer", 0, ["sad", "so so", "glad"])
    theirs = Tokenizer.from_file(str(tmp_path / "hf" / "tokenizer.json"))
    roberta = RobertaModel.from_pretrained(str(folder), "edited.pt", data_name_or_path="nowhere")
    for text in ("a<ent>rise", "Rose Garden", "rose garden"):
        assert theirs.encode(text, add_special_tokens=False).ids == roberta.encode(text).tolist()[1:-1]
    assert theirs.token_to_id("<ent>") == 5


def test_another_tokenizers_dictionary_is_refused(imported, tmp_path):
    folder = imported("roberta")
    (imported("bert") / "vocab.txt").replace(tmp_path / "vocab.txt")
    with pytest.raises(CheckpointError, match="not one of the tokenizer"):
        export_encoder(folder / "model.pt", tmp_path / "hf", tmp_path)
    assert not (tmp_path / "hf").exists()


def test_the_tokenizer_that_the_checkpoint_names(imported, tmp_path):
    """Files of another one beside it do not matter; those that it names may have moved along with it."""
    folder, other = imported("xlmr"), imported("roberta")
    for name in ("encoder.json", "vocab.bpe"):
        shutil.copy(other / name, folder / name)
    folder.rename(tmp_path / "moved")
    assert export_encoder(tmp_path / "moved" / "model.pt", tmp_path / "hf").tokenizer == "hf_tokenizer"
    (tmp_path / "moved" / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"bpe=hf_tokenizer, but .*tokenizer\.json is not here; .*--no-tokenizer"):
        export_encoder(tmp_path / "moved" / "model.pt", tmp_path / "hf2")
    export = export_encoder(tmp_path / "moved" / "model.pt", tmp_path / "hf2", with_tokenizer=False)
    assert export.tokenizer is None and sorted(p.name for p in (tmp_path / "hf2").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]


def test_kinds_of_tokenizers(imported):
    assert own_tokenizer.find(None, Path("nowhere")) is None
    with pytest.raises(CheckpointError, match="bpe=characters cannot be written for Hugging Face"):
        own_tokenizer.find({"_name": "characters"}, Path("nowhere"))
    folder = imported("bert")
    cased = own_tokenizer.find({"_name": "bert", "bpe_vocab_file": "gone/vocab.txt", "bpe_cased": True}, folder)
    assert cased is not None and cased.cased and cased.files == [folder / "vocab.txt"]


def spectral(state: dict) -> None:
    state["cfg"]["model"]["spectral_norm_classification_head"] = True
    prefix = f"classification_heads.{HEAD}.out_proj."
    weight = state["model"].pop(f"{prefix}weight")
    u, s, v = torch.linalg.svd(3 * weight, full_matrices=False)
    state["model"] |= {f"{prefix}weight_orig": 3 * weight, f"{prefix}weight_u": u[:, 0], f"{prefix}weight_v": v[0]}
    state["spectral"] = 3 * weight / s[0]


def test_a_head_under_spectral_norm(imported, tmp_path):
    folder = imported("roberta_classifier")
    export = export_encoder(edited(folder, spectral), tmp_path / "hf")
    assert export.architecture == "RobertaForSequenceClassification"
    expected = reading.read(folder / "edited.pt")["spectral"]
    found = load_file(tmp_path / "hf" / "model.safetensors")["classifier.out_proj.weight"]
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)


def test_a_classifier_has_no_language_model_head(imported, tmp_path):
    """Fine-tuned checkpoints hold one, trained or not; transformers would call its weights unexpected."""
    folder, other = imported("roberta_classifier"), imported("roberta")

    def change(state: dict) -> None:
        weights = reading.read(other / "model.pt")["model"]
        state["model"] |= {name: tensor for name, tensor in weights.items() if ".lm_head." in name}

    export_encoder(edited(folder, change), tmp_path / "hf")
    assert not [name for name in load_file(tmp_path / "hf" / "model.safetensors") if name.startswith("lm_head")]


def quantized(state: dict) -> None:
    state["cfg"]["quantization"] = {**state["cfg"].get("quantization", {}), "preset": "int8"}


def test_quantizers_do_not_stay_behind_in_silence(imported, tmp_path):
    checkpoint = edited(imported("roberta_classifier"), quantized)
    with pytest.raises(
        ConfigError, match="quantization=int8, which Hugging Face's RoBERTa does not have; --drop-quant"
    ):
        export_encoder(checkpoint, tmp_path / "hf")
    assert not (tmp_path / "hf").exists()
    export = export_encoder(checkpoint, tmp_path / "hf", drop_quantizers=True)
    assert any("the quantizers of int8 are not in" in note for note in export.notes())


def test_heads_that_cannot_be_written(imported, tmp_path):
    def wide(state: dict) -> None:
        for name in ("dense.weight", "dense.bias", "out_proj.weight"):
            key = f"classification_heads.{HEAD}.{name}"
            tensor = state["model"][key]
            state["model"][key] = torch.cat([tensor, tensor], dim=1 if name == "out_proj.weight" else 0)

    with pytest.raises(CheckpointError, match=f"head {HEAD} is 16 wide"):
        export_encoder(edited(imported("roberta_classifier"), wide), tmp_path / "hf")
    with pytest.raises(ConfigError, match="unknown classification head 'x'"):
        export_encoder(imported("roberta") / "model.pt", tmp_path / "hf", head="x")

    def other_activation(state: dict) -> None:
        state["cfg"]["model"]["activation_fn"] = "relu"

    relu = edited(tmp_path / "roberta", other_activation)
    with pytest.raises(CheckpointError, match="the language model head has the activation relu"):
        export_encoder(relu, tmp_path / "hf")

    def of_its_own(state: dict) -> None:
        other_activation(state)
        state["cfg"]["model"]["lm_head_activation_fn"] = "gelu"

    export_encoder(edited(tmp_path / "roberta", of_its_own), tmp_path / "hf")
    assert json.loads((tmp_path / "hf" / "config.json").read_text())["hidden_act"] == "relu"


def test_an_export_that_computes_something_else_is_refused(imported, tmp_path, monkeypatch):
    """The comparison reads what was written; nothing is left of it."""
    monkeypatch.setattr("fairseq.interop.hf_export.settings", lambda *args: {
        **__import__("fairseq.interop.hf_export_config", fromlist=["settings"]).settings(*args), "layer_norm_eps": 0.1
    })  # fmt: skip
    with pytest.raises(CheckpointError, match="do not compute the same: features differ"):
        export_encoder(imported("roberta") / "model.pt", tmp_path / "hf")
    assert [path.name for path in tmp_path.iterdir()] == ["roberta"]


def of_pairs(separator: Any) -> Any:
    def change(state: dict) -> None:
        state["cfg"]["task"] = {
            "_name": "sentence_prediction", "data": "gone", "init_token": 0, "separator_token": separator,
            "num_classes": 2, "max_positions": 10,
        }  # fmt: skip

    return change


@pytest.mark.parametrize("name", ["roberta_classifier", "bert_classifier"])
@pytest.mark.parametrize("separator", [None, 2])
def test_pairs_are_put_together_as_the_task_does(name, separator, imported, tmp_path):
    from tokenizers import Tokenizer

    folder = imported(name)
    export_encoder(edited(folder, of_pairs(separator)), tmp_path / "hf")
    theirs = Tokenizer.from_file(str(tmp_path / "hf" / "tokenizer.json"))
    roberta = RobertaModel.from_pretrained(str(folder))
    expected = roberta.encode("a rise", "is", no_separator=separator is None)
    found = theirs.encode("a rise", "is")
    assert found.ids == expected.tolist() and set(found.type_ids) == {0}


def run(monkeypatch: pytest.MonkeyPatch, capsys: Any, *words: Any) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["fairseq-export-hf", *map(str, words)])
    code = 0
    try:
        export_hf.cli_main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    return code, *capsys.readouterr()


def test_the_command(imported, tmp_path, monkeypatch, capsys):
    """Names of classes from a data folder; files that are there are kept."""
    folder, dest = imported("roberta_classifier"), tmp_path / "hf"
    code, out, err = run(monkeypatch, capsys, folder, "--dest", dest)
    assert code == 0 and "nothing names the classes" in err and "features within" in out and "class scores" in out
    before = {path.name: path.read_bytes() for path in dest.iterdir()}
    code, _, err = run(monkeypatch, capsys, folder, "--dest", dest)
    assert code and err.endswith("give another --dest, or --overwrite to replace its files\n")
    assert {path.name: path.read_bytes() for path in dest.iterdir()} == before
    (tmp_path / "bin" / "label").mkdir(parents=True)
    (tmp_path / "bin" / "label" / "dict.txt").write_text("1 37569\n0 29780\nmadeupword0000 0\n")
    words = (folder, "--dest", dest, "--overwrite", "--data", tmp_path / "bin")
    code, out, err = run(monkeypatch, capsys, *words)
    assert (code, err) == (0, "") and "(classes 1, 0)" in out
    assert json.loads((dest / "config.json").read_text())["id2label"] == {"0": "1", "1": "0"}
