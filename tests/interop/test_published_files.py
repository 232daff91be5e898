"""`model.pt` of every age gives fairseq 0.12's numbers: old names, flags or config, half precision, other heads.

The weights and the expected logits are those of tests/fixtures/checkpoints, made by fairseq 0.12; the older layouts are
written here, and where fairseq 0.12 is installed it reads them, too.
"""

import json
import os
import random
import subprocess
import sys
from argparse import Namespace

import pytest
import torch

from fairseq.checkpoint import reading
from fairseq.checkpoint_utils import load_model_ensemble_and_task
from fairseq.interop.hf_import import import_encoder
from fairseq.interop.hf_names import HEAD
from fairseq.models.roberta import RobertaModel

AGES = ("2019", "2020", "2022")
ATTENTION = "encoder.sentence_encoder.layers.{}.self_attn."


def old_names(state: dict) -> dict:
    """As files of 2019 have them: a decoder, one input projection, another name for the first layer norm."""
    state = {key: value for key, value in state.items() if not key.endswith(".version")}
    layers = sorted({key.split(".")[3] for key in state if ".layers." in key})
    for prefix in map(ATTENTION.format, layers):
        for kind in ("weight", "bias"):
            state[f"{prefix}in_proj_{kind}"] = torch.cat([state.pop(f"{prefix}{part}_proj.{kind}") for part in "qkv"])
    renamed = {key.replace(".layernorm_embedding.", ".emb_layer_norm."): value for key, value in state.items()}
    return {f"decoder.{key[8:]}" if key.startswith("encoder.") else key: value for key, value in renamed.items()}


def write(path, fixtures, age: str, half: bool = False) -> None:
    """The fixture as a version of that year would have saved it."""
    new = reading.read(fixtures / "checkpoints" / "argparse.pt")
    flags = vars(new["cfg"]["model"])
    weights = dict(new["model"])
    if age == "2019":
        weights = old_names(weights)
        # `optimizer` at the top, no history; options that did not exist yet are not there
        flags = {key: value for key, value in flags.items() if "quant" not in key and "spectral" not in key}
        state = {"args": Namespace(**flags), "model": weights, "optimizer": None, "best_loss": 1.0, "epoch": 3}
    elif age == "2020":
        state = {**new, "cfg": None, "args": Namespace(**flags)}
    else:
        state = new
    if half:
        state["model"] = {key: value.half() for key, value in weights.items()}
    torch.save(state, path, _use_new_zipfile_serialization=age != "2019")


def logits(path, data, batch) -> torch.Tensor:
    models, _, _ = load_model_ensemble_and_task([str(path)], arg_overrides={"data": str(data)})
    assert {parameter.dtype for parameter in models[0].parameters()} == {torch.float32}
    with torch.no_grad():
        return models[0].eval()(torch.tensor(batch), classification_head_name=HEAD)[0]


@pytest.fixture(scope="module")
def expected(fixtures) -> dict:
    return json.loads((fixtures / "checkpoints" / "expected.json").read_text())


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
@pytest.mark.parametrize("age", AGES)
def test_every_age_gives_fairseqs_logits(age, half, expected, fixtures, tmp_path):
    write(tmp_path / "model.pt", fixtures, age, half)
    ours = logits(tmp_path / "model.pt", fixtures / "checkpoints" / "data", expected["batch"])
    theirs = torch.tensor(expected["argparse"]["logits"])
    torch.testing.assert_close(ours, theirs, atol=2e-3 if half else 1e-5, rtol=0)


READ = """
import json, sys, torch
from fairseq import checkpoint_utils
path, data, batch = sys.argv[1:]
(model,), _, _ = checkpoint_utils.load_model_ensemble_and_task([path], arg_overrides={"data": data})
scores, _ = model.eval()(torch.tensor(json.loads(batch)), classification_head_name="sentence_classification_head")
print(json.dumps(scores.tolist()))
"""


@pytest.mark.oracle
@pytest.mark.parametrize("age", ["2019", "2020"])
def test_fairseq_reads_these_files(age, expected, fixtures, oracle_python, oracle_env, tmp_path):
    write(tmp_path / "model.pt", fixtures, age)
    words = [oracle_python, "-c", READ, tmp_path / "model.pt", fixtures / "checkpoints" / "data"]
    done = subprocess.run([*words, json.dumps(expected["batch"])], env=oracle_env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    theirs = torch.tensor(json.loads(done.stdout.splitlines()[-1]))
    torch.testing.assert_close(theirs, torch.tensor(expected["argparse"]["logits"]), atol=1e-6, rtol=0)


@pytest.fixture(scope="module")
def published(fixtures, tmp_path_factory):
    """A folder as the paper's authors published them in 2019: fp16, old names, flags, and a head of three classes."""
    folder = tmp_path_factory.mktemp("published")
    import_encoder(fixtures / "hf" / "bert", folder)
    new = reading.read(folder / "model.pt")
    torch.manual_seed(0)
    for name, shape in (
        ("dense.weight", (8, 8)),
        ("dense.bias", (8,)),
        ("out_proj.weight", (3, 8)),
        ("out_proj.bias", (3,)),
    ):
        new["model"][f"classification_heads.mnli.{name}"] = torch.randn(shape)
        new["model"][f"classification_heads.{HEAD}.{name}"] = torch.randn(shape)
    shape = ("encoder_layers", "encoder_embed_dim", "encoder_ffn_embed_dim", "encoder_attention_heads")
    flags = {key: new["cfg"]["model"][key] for key in (*shape, "layer_norm_eps", "max_positions")}
    args = Namespace(arch="roberta_base", task="masked_lm", data="/gone", tokens_per_sample=10, **flags)
    half = {key: value.half() for key, value in old_names(new["model"]).items()}
    path = folder / "model.pt"
    path.unlink()
    torch.save({"args": args, "model": half}, path, _use_new_zipfile_serialization=False)
    return folder


@torch.no_grad()
def test_a_published_folder_in_python(published, fixtures, tmp_path):
    """Weights are widened, all heads come along, the dictionary is the folder's."""
    import_encoder(fixtures / "hf" / "bert", tmp_path)
    now = RobertaModel.from_pretrained(str(tmp_path)).eval()
    old = RobertaModel.from_pretrained(str(published)).eval()
    tokens = old.encode("a rose is")
    assert torch.equal(tokens, now.encode("a rose is"))
    now.model.half().float()
    torch.testing.assert_close(old.extract_features(tokens), now.extract_features(tokens), atol=1e-6, rtol=0)
    assert old.predict("mnli", tokens).shape == (1, 3)


def test_fine_tuning_from_a_published_file(published, repository, tmp_path):
    """With two classes: the three of its head of the same name are left out with a word, the encoder is taken."""
    draw = random.Random(0)
    (tmp_path / "glue" / "SST-2").mkdir(parents=True)
    for split, count in (("train", 8), ("dev", 4)):
        lines = [f"{' '.join(draw.choices(['a', 'rose', 'is'], k=3))}\t{i % 2}" for i in range(count)]
        (tmp_path / "glue" / "SST-2" / f"{split}.tsv").write_text("\n".join(["sentence\tlabel", *lines, ""]))
    command = [sys.executable, "-m"]
    prepare = ["fairseq_cli.prepare_glue", "--task", "SST-2", "--glue-dir", "glue", "--bpe-dir", str(published)]
    settings = """
        task.data=bin task.max_positions=10 model.encoder_layers=2 model.encoder_embed_dim=8 model.layer_norm_eps=1e-12
        model.encoder_ffn_embed_dim=16 model.encoder_attention_heads=2 optimization.max_update=1 optimization.lr=[1e-9]
        common.fp16=false checkpoint.save_dir=run dataset.num_workers=0 lr_scheduler.warmup_updates=0
    """
    train = ["fairseq_cli.hydra_train", "--config-dir", str(repository / "examples/roberta/config/finetuning")]
    train += ["--config-name", "sst_2", f"checkpoint.restore_file={published}/model.pt", *settings.split()]
    environment = {**os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}
    for words in ([*prepare, "--dest", "bin"], train):
        done = subprocess.run([*command, *words], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
    log = done.stdout + done.stderr
    assert f"not loading classification head '{HEAD}' of the checkpoint: it has 3 classes" in log
    assert "not loading classification head 'mnli' of the checkpoint: this model has no such head" in log
    weights = reading.read(tmp_path / "run" / "checkpoint_last.pt")["model"]
    start = reading.read(published / "model.pt")["model"]
    name = "sentence_encoder.layers.1.fc1.weight"
    torch.testing.assert_close(weights[f"encoder.{name}"], start[f"decoder.{name}"].float(), atol=1e-6, rtol=0)
    assert weights[f"classification_heads.{HEAD}.out_proj.weight"].shape == (2, 8)
