"""The layout that is written, and errors for weights that do not fit."""

from argparse import Namespace
from collections import OrderedDict

import pytest
import torch
from torch import nn

from fairseq.checkpoint.format import build_state, check_history, load_weights, portable
from fairseq.dataclass.typed import typed_config
from fairseq.errors import CheckpointError


class FairseqAdam:
    """As an optimizer wrapper, but only what a checkpoint asks for."""

    def state_dict(self):
        return {"state": {0: {"step": 3}}, "param_groups": []}


class PolynomialDecay(FairseqAdam):
    def state_dict(self):
        return {"best": 1.0}


def state(**changes):
    arguments = {
        "cfg": typed_config({"model": "roberta", "task": {"_name": "masked_lm", "data": "D"}}),
        "model_state": nn.Linear(2, 2).half().state_dict(),
        "criterion": nn.Identity(),
        "optimizer": FairseqAdam(),
        "lr_scheduler": PolynomialDecay(),
        "num_updates": 7,
        "extra_state": {"metrics": OrderedDict(), "previous_training_time": 1.5},
    }
    return build_state(**{**arguments, **changes})


def test_layout():
    built = state()
    assert list(built) == [
        "args",
        "cfg",
        "model",
        "criterion",
        "optimizer_history",
        "task_state",
        "extra_state",
        "last_optimizer_state",
    ]
    assert built["args"] is None and built["criterion"] is None and built["task_state"] == {}
    assert type(built["cfg"]) is dict and type(built["cfg"]["model"]) is dict
    assert built["cfg"]["task"]["sample_break_mode"] == "none" and type(built["cfg"]["optimization"]["lr"]) is list
    assert built["optimizer_history"] == [
        {
            "criterion_name": "Identity",
            "optimizer_name": "FairseqAdam",
            "lr_scheduler_state": {"best": 1.0},
            "num_updates": 7,
        }
    ]
    assert type(built["model"]) is OrderedDict and built["model"]["weight"].dtype == torch.float32


def test_options():
    assert "last_optimizer_state" not in state(save_optimizer_state=False)
    assert set(state(criterion=nn.Linear(1, 1))["criterion"]) == {"weight", "bias"}
    assert [entry.get("old") for entry in state(optimizer_history=[{"old": 1}])["optimizer_history"]] == [1, None]
    assert state(task=PolynomialDecay())["task_state"] == {"best": 1.0}


def test_portable_keeps_ties_and_drops_graphs(tmp_path):
    weight = nn.Parameter(torch.ones(1000, dtype=torch.bfloat16))
    tied = {"a": weight, "b": [weight.detach()], "c": (weight * 2,), "empty": [torch.zeros(0), torch.ones(0)]}
    moved = portable(tied)
    assert moved["a"].data_ptr() == moved["b"][0].data_ptr() and moved["a"].dtype == torch.float32
    assert not moved["c"][0].requires_grad and type(moved["c"]) is tuple
    torch.save(moved, tmp_path / "c.pt")
    assert (tmp_path / "c.pt").stat().st_size < 11_000  # two vectors of 4000 bytes, not three


def test_history_must_match(caplog):
    saved = state()
    assert check_history(saved, nn.Identity(), FairseqAdam(), "c.pt")["num_updates"] == 7
    with pytest.raises(
        CheckpointError, match=r"c.pt was trained with criterion Identity, this run uses Linear; .*reset"
    ):
        check_history(saved, nn.Linear(1, 1), FairseqAdam(), "c.pt")
    with pytest.raises(CheckpointError, match=r"optimizer FairseqAdam, this run uses PolynomialDecay"):
        check_history(saved, nn.Identity(), PolynomialDecay(), "c.pt")
    assert check_history(state(save_optimizer_state=False), nn.Identity(), FairseqAdam(), "c.pt") is None
    assert "c.pt holds no optimizer state" in caplog.text


class Encoder(nn.Module):
    def __init__(self, rows, width=4):
        super().__init__()
        self.encoder = nn.ModuleDict({"embed_tokens": nn.Embedding(rows, width), "fc": nn.Linear(width, width)})


def test_another_dictionary():
    saved = Encoder(10).state_dict()
    with pytest.raises(CheckpointError) as error:
        load_weights(Encoder(12), saved, "c.pt", dictionary=range(12), dict_path="D/input0/dict.txt")
    assert str(error.value) == (
        "checkpoint c.pt was trained with a dictionary of 10 entries, but D/input0/dict.txt gives 12 (special symbols "
        "included); preprocess the data with the dict.txt that belongs to the checkpoint"
    )
    load_weights(Encoder(10), saved, "c.pt")


def test_misfits_are_told_on_one_line():
    saved = Encoder(10).state_dict()
    with pytest.raises(CheckpointError) as error:
        load_weights(Encoder(10, width=6), {k: v for k, v in saved.items() if "fc" in k} | {"x.y": torch.ones(1)}, "c")
    assert "\n" not in str(error.value)
    for part in ("encoder.fc.weight is 4x4 in the file, 6x6 in the model", "1 missing (encoder.embed_tokens.weight)"):
        assert part in str(error.value)
    with pytest.raises(CheckpointError, match=r"1 that the model does not have \(x.y\)"):
        load_weights(Encoder(10), {**saved, "x.y": torch.ones(1)}, "c.pt")
    load_weights(Encoder(10), {**saved, "x.y": torch.ones(1)}, "c.pt", strict=False)


def test_namespaces_survive():
    cfg = typed_config({})
    cfg.model = Namespace(_name="of_a_plugin", layers=2)
    assert state(cfg=cfg)["cfg"]["model"] == Namespace(_name="of_a_plugin", layers=2)


def test_an_optimizer_history_without_names_is_named():
    state = {"optimizer_history": [{"num_updates": 1}], "last_optimizer_state": {}}
    with pytest.raises(CheckpointError, match=r"x\.pt is damaged: its optimizer history names no criterion"):
        check_history(state, object(), object(), "x.pt")
