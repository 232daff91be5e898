"""Files of older fairseq versions; what is expected is what fairseq 0.12 makes of them."""

import copy
from argparse import Namespace

import pytest
import torch

from fairseq.checkpoint_utils import _upgrade_state_dict, load_checkpoint_to_cpu, torch_persistent_save


def upgraded(**changes):
    state = {
        "args": Namespace(arch="roberta_base"),
        "model": {},
        "optimizer_history": [
            {"criterion_name": "C", "optimizer_name": "O", "lr_scheduler_state": {"best": 1.0}, "num_updates": 5}
        ],
        "extra_state": {"train_iterator": {"epoch": 3, "iterations_in_epoch": 0}},
        "last_optimizer_state": {"state": {}},
        **changes,
    }
    return _upgrade_state_dict({key: copy.deepcopy(value) for key, value in state.items() if value is not ...})


def test_nothing_to_do():
    state = upgraded(args=None)
    assert state == upgraded(args=None) and state["optimizer_history"][0]["num_updates"] == 5
    assert state["extra_state"] == {"train_iterator": {"epoch": 3, "iterations_in_epoch": 0}}


def test_optimizer_at_the_top():
    state = upgraded(optimizer_history=..., last_optimizer_state=..., best_loss=2.5, optimizer={"state": 1})
    assert state["last_optimizer_state"] == {"state": 1} and not {"optimizer", "best_loss"} & set(state)
    assert state["optimizer_history"] == [
        {
            "criterion_name": "CrossEntropyCriterion",
            "optimizer_name": "FairseqNAG",
            "lr_scheduler_state": {"best": 2.5},
            "num_updates": 0,
        }
    ]


def test_optimizer_in_the_history():
    history = [
        {"criterion_name": "C", "optimizer": {"a": 0}, "best_loss": 3.0},
        {"criterion_name": "C", "optimizer": {"a": 1}, "best_loss": 2.0},
    ]
    state = upgraded(optimizer_history=history)
    assert state["last_optimizer_state"] == {"a": 1}
    assert state["optimizer_history"][0] == {"criterion_name": "C", "best_loss": 3.0}
    assert state["optimizer_history"][1]["lr_scheduler_state"] == {"best": 2.0}
    assert state["optimizer_history"][1]["optimizer_name"] == "FairseqNAG"


def test_position():
    state = upgraded(extra_state=..., epoch=4, batch_offset=7, val_loss=0.5)
    assert state["extra_state"]["train_iterator"] == {"epoch": 4, "iterations_in_epoch": 7}
    assert state["extra_state"]["val_loss"] == 0.5 and "epoch" not in state
    assert upgraded(extra_state={})["extra_state"]["train_iterator"] == {"epoch": 1, "iterations_in_epoch": 0}
    position = {"train_iterator": {"epoch": 0, "iterations_in_epoch": 2}}
    assert upgraded(extra_state=position)["extra_state"]["train_iterator"]["epoch"] == 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({}, {"task": "translation"}),
        ({"task": "masked_lm"}, {"task": "masked_lm"}),
        ({"max_positions": 512}, {"max_source_positions": 512, "max_target_positions": 512}),
        ({"max_positions": 512, "max_source_positions": 100}, {"max_source_positions": 100}),
        ({"raw_text": True}, {"dataset_impl": "raw"}),
        ({"raw_text": False, "dataset_impl": "mmap"}, {"dataset_impl": "mmap"}),
        ({"lazy_load": True}, {"dataset_impl": "lazy"}),
        ({"remove_bpe": "@@ "}, {"post_process": "@@ "}),
        ({"min_lr": 1e-9}, {"stop_min_lr": 1e-9, "min_lr": None}),
        ({"lr": 0.1}, {"lr": [0.1]}),
        ({"lr": [0.1]}, {"lr": [0.1]}),
        ({"data": ["a", "b"]}, {"data": "a"}),
        ({"log_keys": []}, {"log_keys": None}),
        ({"print_alignment": True}, {"print_alignment": "hard"}),
        ({"print_alignment": False}, {"print_alignment": None}),
    ],
)
def test_flags(old, new):
    args = vars(upgraded(args=Namespace(arch="x", **old))["args"])
    assert {key: args.get(key) for key in new} == new


def test_config():
    cfg = {"generation": {"print_alignment": True}, "task": {"eval_wer_config": {"print_alignment": False}}}
    state = upgraded(args=None, cfg=cfg)
    assert state["cfg"]["generation"]["print_alignment"] == "hard"
    assert state["cfg"]["task"]["eval_wer_config"]["print_alignment"] is None


def test_a_file_of_2019(tmp_path):
    args = Namespace(arch="roberta_base", task="masked_lm", data="D", max_positions=512, lr=[1e-4], dropout=0.2)
    weights = {"decoder.sentence_encoder.embed_tokens.weight": torch.zeros(8, 4)}
    path = str(tmp_path / "model.pt")
    torch_persistent_save({"args": args, "model": weights}, path)  # published weights: no optimizer, no position
    state = load_checkpoint_to_cpu(path, {"dropout": 0.3})
    assert state["args"].dropout == 0.3 and state["cfg"].model.dropout == 0.3
    assert state["cfg"].task._name == "masked_lm" and state["cfg"].optimization.lr == [1e-4]
    assert "optimizer_history" not in state and state["extra_state"]["train_iterator"]["epoch"] == 1


def test_flags_of_a_plugin_do_not_stand_in_the_way_of_weights(tmp_path):
    path = str(tmp_path / "model.pt")
    torch_persistent_save({"args": Namespace(arch="of_a_plugin", task="of_a_plugin"), "model": {}}, path)
    assert load_checkpoint_to_cpu(path)["cfg"] is None
