"""Quantized runs from the command line: what they print and keep, checkpoints both ways, resuming."""

import json
from argparse import Namespace
from itertools import pairwise

import pytest
import torch

from fairseq.checkpoint_utils import load_model_ensemble
from fairseq.logging.history import read_history
from fairseq.quantization import QMatmul, quantize_model
from fairseq.training.quantized import PLAN_FILE, QuantizedTraining
from tests.training.quantized_runs import CPT, UPDATES, bits_of, expected_bits

# ---- a whole run


def test_a_run(runs):
    result = runs.trained("run", *CPT)
    assert bits_of(runs, "run") == expected_bits()
    plan = json.loads((runs.folder / "run" / PLAN_FILE).read_text())
    rows = {row["quantizer"]: row for row in plan["plan"]}
    layer = "encoder.sentence_encoder.layers.0"
    assert rows[f"{layer}.self_attn.query"]["bits"] == rows[f"{layer}.fc1.weight"]["bits"] == [4, 8]
    assert rows[f"{layer}.fc2.grad_output"]["bits"] == 8
    assert rows["classification_heads.sentence_classification_head.dense.input"]["bits"] is None
    assert plan["config"]["preset"] == "cpt_4_8" and plan["config"]["schedule"]["num_cycles"] == 3
    assert plan["version"] == runs.checkpoint("run")["quantization"]["version"] == 2
    table, start, summary = (result.out.find(text) for text in ("quantizer  ", "num_updates=1,", "BitOPs; quantized"))
    assert 0 < table < start < summary
    ratio = [(bits * bits + 16 * bits) / (8 * 8 * 3) for bits in expected_bits()]
    saving = 100 * (1 - sum(ratio) / len(ratio))
    # batches differ in length, so the share is not exactly the schedule's
    printed = float(result.out.split("quantized products ")[1].split(" %")[0])
    assert abs(printed - saving) < 4
    assert "num_bits=4" in result.out and "num_bits=8" in result.out


def test_each_change_of_bits_is_recorded_whatever_the_log_interval(runs):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    runs.trained("run", *CPT, "--log-interval", "100", "--tensorboard-logdir", runs.folder / "tb")
    expected = expected_bits()
    changes = [(1, expected[0])]
    changes += [(i + 1, expected[i]) for i in range(1, UPDATES) if expected[i] != expected[i - 1]]
    records = [record for record in read_history(runs.folder / "run") if record["tag"] == "bits"]
    assert [(record["num_updates"], record["num_bits"]) for record in records] == changes
    events = EventAccumulator(str(runs.folder / "tb" / "bits"))
    events.Reload()
    shown = [(event.step, event.value) for event in events.Scalars("num_bits")]
    # each step as two points, so that lines between them are the bits of every update
    assert shown == [changes[0], *(p for a, b in pairwise(changes) for p in ((b[0] - 1, a[1]), b))]


def test_evaluation_runs_at_eval_bits_whatever_the_last_update_had(runs):
    """Stopped at an update of 4 bits, the saved model is still evaluated at 8."""
    runs.trained("run", *CPT, "--save-interval-updates", "6")
    assert expected_bits()[5] == 4
    last = runs.folder / "run" / "checkpoint_1_6.pt"

    def loss(*flags):
        from fairseq_cli.validate import cli_main

        words = [runs.data, "--task", "sentence_prediction", "--path", last, "--batch-size", "4", "--cpu", *flags]
        result = runs.call(cli_main, [*words, "--log-format", "json"])
        assert result.code == 0, result.err + result.out
        return result.out

    inside = next(r for r in read_history(runs.folder / "run") if r["tag"] == "valid" and r["num_updates"] == 6)
    assert f'"valid_loss": "{inside["loss"]:.3f}'.rstrip("0") in loss()
    assert "evaluation at 8 bits" in loss()
    assert "evaluation at 2 bits" in loss("--model-overrides", "{'quantization': {'eval_bits': 2}}")
    features = [
        load_model_ensemble([str(last)], {"quantization": {"eval_bits": bits}})[0][0].eval()(
            torch.tensor([[0, 5, 6, 2]]), features_only=True
        )[0]
        for bits in (2, 8)
    ]
    assert not torch.allclose(*features, rtol=0.01)  # too little to show in the loss of so small a model
    assert "evaluation at" not in loss("--model-overrides", "{'quantization': {'preset': 'none'}}")


def test_none_changes_nothing(runs):
    runs.trained("without")
    runs.trained("none", "--quantization", "none")
    runs.assert_same_run("without", "none")
    assert "quantization" not in runs.checkpoint("none") and not (runs.folder / "none" / PLAN_FILE).exists()


def test_frozen_backbone(runs):
    runs.trained("run", *CPT, "--trainable", "classification_heads.*")
    assert bits_of(runs, "run") == expected_bits()


# ---- checkpoints


def test_float_and_quantized_checkpoints_into_each_other(runs):
    runs.trained("float", "--max-update", "3")
    runs.trained("quantized", *CPT, "--max-update", "3")
    float_state, quantized_state = (runs.checkpoint(name)["model"] for name in ("float", "quantized"))
    assert float_state.keys() == quantized_state.keys()
    for source, flags in (("float", CPT), ("quantized", ())):
        path = runs.folder / source / "checkpoint_last.pt"
        runs.trained(f"from_{source}", *flags, "--finetune-from-model", path, "--lr", "0", "--max-update", "1")
        runs.trained(f"on_{source}", *flags, "--restore-file", path, "--max-update", "4")
        assert runs.checkpoint(f"on_{source}")["optimizer_history"][-1]["num_updates"] == 4


def test_hub_interface_evaluates_as_trained(runs):
    from fairseq.models.roberta import RobertaModel

    runs.trained("run", *CPT)
    hub = RobertaModel.from_pretrained(str(runs.folder / "run"), "checkpoint_last.pt", str(runs.data), bpe=None)
    hub.eval()
    assert isinstance(hub.model.encoder.sentence_encoder.layers[0].self_attn.qk_matmul, QMatmul)
    tokens = hub.task.source_dictionary.encode_line("w1 w2 w3", add_if_not_exist=False).long()
    head = "sentence_classification_head"
    logits = hub.predict(head, tokens, return_logits=True)
    features = hub.model(tokens[None], features_only=True, num_bits=8)[0]
    assert torch.equal(logits, hub.model.classification_heads[head](features))
    assert not torch.equal(features, hub.model(tokens[None], features_only=True, num_bits=4)[0])


def test_resumed_in_mid_cycle(runs):
    """From a checkpoint in the middle of a cycle: the same bits, losses, ranges and costs."""
    flags = (*CPT, "--save-interval-updates", "3")
    runs.trained("whole", *flags)
    runs.trained("parts", *flags)
    folder = runs.folder / "parts"
    (folder / "checkpoint_1_3.pt").rename(folder / "checkpoint_last.pt")
    runs.trained("parts", *flags)
    runs.assert_same_run("whole", "parts")
    assert bits_of(runs, "parts") == expected_bits()
    whole, parts = (runs.checkpoint(name)["quantization"] for name in ("whole", "parts"))
    assert whole["cost"] == parts["cost"] and whole["total_updates"] == parts["total_updates"] == UPDATES
    assert whole["state"].keys() == parts["state"].keys() and len(whole["state"]) > 0
    assert all(torch.equal(value, parts["state"][key]) for key, value in whole["state"].items())


def test_a_resume_at_the_same_bits_is_no_change_of_bits(runs):
    for updates in (3, 5, 9):
        runs.trained("run", "--quantization", "int8", "--max-update", updates)
    records = [record for record in read_history(runs.folder / "run") if record["tag"] == "bits"]
    assert [(record["num_updates"], record["num_bits"]) for record in records] == [(1, 8)]


@pytest.mark.parametrize(
    ("schedule", "options"),
    [
        ("plateau", "{'window': 2, 'patience': 2, 'threshold': 0.5}"),
        ("diversity", "{'interval': 1, 'resolution': 2, 'patience': 3, 'beta': 0.0, 'ladder': [4, 5, 6, 8]}"),
    ],
)
def test_schedules_that_look_at_training_resume_with_what_they_have_seen(runs, schedule, options):
    flags = ["--quantization", "cpt_4_8", "--precision-schedule", schedule, "--precision-schedule-options", options]
    runs.trained("run", *flags, "--save-interval-updates", "5")
    whole = bits_of(runs, "run")
    (runs.folder / "run" / "checkpoint_1_5.pt").replace(runs.folder / "run" / "checkpoint_last.pt")
    runs.trained("run", *flags)
    assert bits_of(runs, "run") == whole and len({*whole[:5]}) < len({*whole[:-1]})  # bits rise after the checkpoint


def test_a_checkpoint_of_other_quantizers_is_refused_on_resume(runs):
    runs.trained("run", *CPT, "--max-update", "2")
    result = runs.train(
        "run",
        "--quantization",
        "int8",
        "--max-update",
        "4",
        "--quantization-rules",
        "[{match: '*.fc1.weight', learned: scale}]",
    )
    assert result.code == 1 and "convert the model with" in result.err and result.err.count("\n") == 1


def test_the_bits_that_are_announced_are_those_of_the_schedule_whatever_its_name(caplog, tmp_path):
    from fairseq.quantization.schedules import build_schedule

    optimization = Namespace(max_update=4, max_epoch=0, update_freq=[1], skip_remainder_batch=False)
    training = QuantizedTraining(
        quantize_model(torch.nn.Sequential(torch.nn.Linear(4, 4)), "int8"), optimization, torch.device("cpu")
    )
    for name, low, said in (("constant", 8, "bits 8 by"), ("constant", 4, "bits 8 by"), ("CR", 4, "bits 4 to 8 by")):
        training.schedule = build_schedule(name, low=low, high=8)
        training.schedule.name = "one of my own"
        with caplog.at_level("INFO"):
            training.announce(None)
        assert f"{said} schedule one of my own" in caplog.text
        caplog.clear()


def test_the_plan_file_gets_what_the_first_call_finds(tmp_path, caplog):
    class Scores(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.query = torch.nn.Linear(4, 4)

        def forward(self, x):
            return self.query(x) @ x.mT

    model = quantize_model(Scores(), "cpt_4_8", schedule={"num_cycles": 1})
    optimization = Namespace(max_update=4, max_epoch=0, update_freq=[1], skip_remainder_batch=False)
    training = QuantizedTraining(model, optimization, torch.device("cpu"))
    training.lay_out(batches_per_epoch=4)
    training.announce(str(tmp_path))
    training.write_plan(str(tmp_path))
    written = tmp_path / PLAN_FILE
    assert [row["quantizer"] for row in json.loads(written.read_text())["plan"]][3:] == []
    with training.update(0):
        training.begin_micro_batch(0, 0, is_dummy=False)
        model(torch.randn(2, 4)).sum().backward()
    training.end_update(0, {})
    (row,) = json.loads(written.read_text())["plan"][3:]
    assert row == {"quantizer": "matmul", "role": "product", "bits": None, "kind": "function matmul"}
    assert [line for line in caplog.text.splitlines() if "WARNING" in line and "matmul in the model" in line]
    written.unlink()
    with training.update(1):
        model(torch.randn(2, 4)).sum().backward()
    training.end_update(1, {})
    assert not written.exists()  # it is written when the plan has grown, not at every update
