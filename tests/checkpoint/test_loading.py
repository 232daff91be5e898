"""Checkpoints that fairseq 0.12 wrote, read by us; checkpoints that we write, read by fairseq 0.12.

The files are made by tests/conformance/make_checkpoint_fixtures.py; expected.json is what fairseq 0.12 makes of them.
"""

import json
import subprocess
from argparse import Namespace

import pytest
import torch
from omegaconf import DictConfig

from fairseq import checkpoint_utils
from fairseq.checkpoint.format import build_state
from fairseq.dataclass.utils import to_plain
from fairseq.errors import CheckpointError, ConfigError
from fairseq.logging import metrics

HEAD = "sentence_classification_head"
KINDS = pytest.mark.parametrize("kind", ["argparse", "hydra"])


@pytest.fixture(scope="module")
def files(fixtures):
    return fixtures / "checkpoints"


@pytest.fixture(scope="module")
def expected(files):
    return json.loads((files / "expected.json").read_text())


def load_model(path, files, **overrides):
    loaded = checkpoint_utils.load_model_ensemble_and_task([str(path)], {"data": str(files / "data"), **overrides})
    (model,), cfg, task = loaded
    return model.eval(), cfg, task


def logits(model, expected):
    return model(torch.tensor(expected["batch"]), features_only=True, classification_head_name=HEAD)[0]


@KINDS
def test_contents(kind, files, expected):
    state = checkpoint_utils.load_checkpoint_to_cpu(str(files / f"{kind}.pt"))
    wanted = expected[kind]
    found = {key: [list(value.shape), value.double().sum().item()] for key, value in state["model"].items()}
    assert found == wanted["weights"]
    assert state["optimizer_history"] == wanted["optimizer_history"]
    assert state["extra_state"]["train_iterator"] == wanted["train_iterator"]
    assert state["extra_state"]["best"] == wanted["best"]
    assert isinstance(state["last_optimizer_state"]["state"][0]["exp_avg"], torch.Tensor)
    with metrics.isolated():
        metrics.load_state_dict(state["extra_state"]["metrics"])
        assert metrics.get_meter("train", "loss").count == 40
        assert metrics.get_smoothed_value("valid", "bsz") == 4


@KINDS
def test_config(kind, files):
    cfg = checkpoint_utils.load_checkpoint_to_cpu(str(files / f"{kind}.pt"), {"dropout": 0.25, "seed": 9})["cfg"]
    assert isinstance(cfg, DictConfig)
    assert (cfg.task._name, cfg.task.num_classes, cfg.task.max_positions) == ("sentence_prediction", 2, 16)
    assert cfg.common.seed == 9 and cfg.optimization.lr == [0.001] and cfg.optimizer._name == "adam"
    assert isinstance(cfg.model, Namespace if kind == "argparse" else DictConfig)
    assert (cfg.model._name, cfg.model.encoder_layers, cfg.model.dropout) == ("roberta", 1, 0.25)


@KINDS
def test_model(kind, files, expected):
    model, _, task = load_model(files / f"{kind}.pt", files)
    assert len(task.source_dictionary) == 25
    torch.testing.assert_close(logits(model, expected), torch.tensor(expected[kind]["logits"]), rtol=1e-5, atol=1e-6)


def test_ensemble_and_overrides(files):
    paths = [str(files / f"{kind}.pt") for kind in ("argparse", "hydra")]
    models, cfg = checkpoint_utils.load_model_ensemble(paths, {"data": str(files / "data"), "dropout": 0.0})
    assert len(models) == 2 and cfg.model.dropout == 0.0
    with pytest.raises(ConfigError, match="checkpoints in parts"):
        checkpoint_utils.load_model_ensemble(paths, num_shards=2)
    with pytest.raises(CheckpointError, match=r"hydra-x.pt does not exist"):
        checkpoint_utils.load_model_ensemble(paths[1:], suffix="-x")


def test_another_dictionary(files, tmp_path):
    for part in ("input0", "label"):
        (tmp_path / part).mkdir()
        text = (files / "data" / part / "dict.txt").read_text()
        (tmp_path / part / "dict.txt").write_text(text + "extra 1\n" * (part == "input0"))
    with pytest.raises(CheckpointError, match=r"dictionary of 25 entries, but .* gives 26"):
        checkpoint_utils.load_model_ensemble([str(files / "hydra.pt")], {"data": str(tmp_path)})


def test_weights_without_a_config(files, tmp_path):
    path = str(tmp_path / "w.pt")
    checkpoint_utils.torch_persistent_save({"model": {}}, path)
    with pytest.raises(CheckpointError, match="holds weights, but no config"):
        checkpoint_utils.load_model_ensemble([path])
    checkpoint_utils.torch_persistent_save({"weight": torch.ones(1)}, path)
    with pytest.raises(CheckpointError, match=r"holds no model in fairseq's layout, but the keys weight"):
        checkpoint_utils.load_checkpoint_to_cpu(path)


@pytest.mark.parametrize("group", ["task", "model"])
@pytest.mark.parametrize("cut", [lambda cfg, group: cfg.pop(group), lambda cfg, group: cfg.update({group: None})])
def test_a_config_without_a_model_or_task_says_so(group, cut, files, tmp_path):
    state = torch.load(files / "hydra.pt", weights_only=False)
    state["cfg"] = to_plain(state["cfg"])
    cut(state["cfg"], group)
    torch.save(state, tmp_path / "c.pt")
    with pytest.raises(CheckpointError, match=rf"c\.pt: its config names no {group}"):
        load_model(tmp_path / "c.pt", files)


def test_averaged_weights(files, tmp_path):
    source, target = str(tmp_path / "c.pt"), str(tmp_path / "ema.pt")
    checkpoint_utils.torch_persistent_save(
        {"model": {"w": torch.zeros(1)}, "extra_state": {"ema": {"w": torch.ones(1)}}, "cfg": None}, source
    )
    checkpoint_utils.save_ema_as_checkpoint(source, target)
    assert checkpoint_utils.load_checkpoint_to_cpu(target)["model"]["w"].item() == 1
    with pytest.raises(CheckpointError, match=r"holds no averaged weights; train with ema.store_ema=true"):
        checkpoint_utils.save_ema_as_checkpoint(str(files / "hydra.pt"), target)


def test_component_of_a_model(files):
    model, _, _ = load_model(files / "hydra.pt", files)
    encoder = model.encoder
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.zero_()
    checkpoint_utils.load_pretrained_component_from_model(encoder, str(files / "hydra.pt"))
    assert all(layer.fc1.weight.abs().sum() > 0 for layer in encoder.sentence_encoder.layers)
    with pytest.raises(ConfigError, match="Linear is neither a FairseqEncoder nor a FairseqDecoder"):
        checkpoint_utils.load_pretrained_component_from_model(torch.nn.Linear(1, 1), str(files / "hydra.pt"))


@pytest.fixture(scope="module")
def ours(files, tmp_path_factory):
    """A checkpoint that we write: the weights of hydra.pt doubled in one place, its optimizer state taken over."""
    from fairseq import optim
    from fairseq.optim import lr_scheduler

    state = checkpoint_utils.load_checkpoint_to_cpu(str(files / "hydra.pt"))
    model, cfg, task = load_model(files / "hydra.pt", files)
    with torch.no_grad():
        model.classification_heads[HEAD].out_proj.bias.mul_(2)
    criterion = task.build_criterion(cfg.criterion)
    optimizer = optim.build_optimizer(cfg.optimizer, list(model.parameters()))
    optimizer.load_state_dict(state["last_optimizer_state"])
    schedule = lr_scheduler.build_lr_scheduler(cfg.lr_scheduler, optimizer)
    built = build_state(
        cfg=cfg,
        model_state=model.state_dict(),
        criterion=criterion,
        optimizer=optimizer,
        lr_scheduler=schedule,
        num_updates=10,
        extra_state=state["extra_state"],
        task=task,
    )
    path = tmp_path_factory.mktemp("ours") / "checkpoint_last.pt"
    checkpoint_utils.torch_persistent_save(built, str(path))
    return path, model


def test_written_as_fairseq_writes(ours, files):
    """The same keys and kinds of value, all the way down, but for keys of the config and clocks."""
    path, _ = ours

    def shape(value, depth=0):
        if isinstance(value, dict):
            return {key: shape(entry, depth + 1) for key, entry in value.items()}
        if isinstance(value, (list, tuple)):
            return [shape(entry, depth + 1) for entry in value]
        return (list(value.shape), value.dtype) if isinstance(value, torch.Tensor) else type(value)

    found, wanted = (torch.load(file, weights_only=False) for file in (path, files / "hydra.pt"))
    del wanted["cfg"]["job_logging_cfg"]  # Hydra's own
    assert set(found["cfg"]) >= set(wanted["cfg"]) and set(found["cfg"]["common"]) >= set(wanted["cfg"]["common"])
    for state in (found, wanted):
        del state["cfg"], state["extra_state"]["metrics"]
        del state["task_state"]
        del state["optimizer_history"][-1]["lr_scheduler_state"]  # ours says more; fairseq takes from it what it knows
    assert list(found) == list(wanted)
    assert shape(found) == shape(wanted)


READ = """
import json, sys, torch
from fairseq import checkpoint_utils
(model,), cfg, task = checkpoint_utils.load_model_ensemble_and_task([sys.argv[1]], arg_overrides={"data": sys.argv[2]})
batch = torch.tensor(json.loads(sys.argv[3]))
logits, _ = model.eval()(batch, features_only=True, classification_head_name="sentence_classification_head")
print(json.dumps(logits.tolist()))
"""


@pytest.mark.oracle
def test_read_by_fairseq(ours, files, expected, oracle_python, oracle_env):
    path, model = ours
    words = [str(oracle_python), "-c", READ, str(path), str(files / "data"), json.dumps(expected["batch"])]
    done = subprocess.run(words, env=oracle_env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found = torch.tensor(json.loads(done.stdout.splitlines()[-1]))
    torch.testing.assert_close(found, logits(model, expected), rtol=1e-5, atol=1e-6)


@pytest.mark.oracle
@pytest.mark.slow
def test_resumed_by_fairseq(ours, oracle_python, oracle_env, repository, tmp_path):
    """fairseq 0.12 goes on training from our file, optimizer state, schedule and meters included."""
    path, _ = ours
    words = [str(oracle_python), "-c", RESUME, str(repository / "tests" / "conformance"), str(tmp_path), str(path)]
    done = subprocess.run(words, env=oracle_env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "(epoch 2 @ 10 updates)" in done.stdout and "begin training epoch 2" in done.stdout
    assert "'num_updates', 'AverageMeter', {'val': 20" in done.stdout


RESUME = """
import subprocess, sys, torch
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import make_checkpoint_fixtures as maker
folder = Path(sys.argv[2])
maker.prepare(folder)
flags = maker.FLAGS.replace("--max-epoch 1", "--max-epoch 2").split()
words = ["data", *flags, "--restore-file", sys.argv[3], "--save-dir", "out"]
command = [sys.executable, "-m", "fairseq_cli.train", *words]
done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
print(done.stdout)
print(done.stderr, file=sys.stderr)
print(torch.load(folder / "out" / "checkpoint_last.pt", weights_only=False)["extra_state"]["metrics"])
sys.exit(done.returncode)
"""
