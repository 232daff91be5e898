"""Quantized runs from the command line: bits of every update, checkpoints both ways, resuming, processes, costs."""

import json
import math
import subprocess
import sys
from itertools import pairwise

import pytest
import torch

from fairseq.checkpoint_utils import load_model_ensemble
from fairseq.errors import ConfigError
from fairseq.logging.history import read_history
from fairseq.quantization import QLinear, QMatmul
from fairseq.quantization.schedules import build_schedule
from fairseq.quantization.trace import trace_gemms
from fairseq.training.quantized import PLAN_FILE, planned_updates

CPT = ("--quantization", "cpt_4_8", "--precision-cycles", "3", "--no-progress-bar")
UPDATES = 14  # 26 examples in batches of 4, twice


def expected_bits(total: int = UPDATES, low: int = 4, high: int = 8, cycles: int = 3) -> list[int]:
    schedule = build_schedule("CR", low=low, high=high, num_cycles=cycles)
    return [schedule.bits(update, total) for update in range(total)]


def bits_of(runs, name: str) -> list[int]:
    inner = [record for record in read_history(runs.folder / name) if record["tag"] == "train_inner"]
    return [record["num_bits"] for record in inner]


@pytest.fixture
def trainer_of(data, monkeypatch):
    """A trainer and its first batch, from flags."""
    from fairseq import options, tasks
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf
    from fairseq.models.quantized import quantize
    from fairseq.trainer import Trainer
    from tests.training.conftest import FLAGS

    def build(*flags, criterion=None):
        words = [str(data), *FLAGS, "--no-save", *flags]
        cfg = convert_namespace_to_omegaconf(options.parse_args_and_arch(options.get_training_parser(), words))
        task = tasks.setup_task(cfg.task)
        model = quantize(task.build_model(cfg.model), cfg.quantization)
        task.load_dataset("train")
        trainer = Trainer(
            cfg,
            task,
            model,
            (criterion or task.build_criterion)(cfg.criterion, task)
            if criterion
            else task.build_criterion(cfg.criterion),
        )
        itr = trainer.get_train_iterator(epoch=1, load_dataset=False)
        return trainer, list(itr.next_epoch_itr(shuffle=False))

    return build


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


# ---- what bits depend on


def test_accumulation_counts_updates(runs):
    runs.trained("run", *CPT, "--update-freq", "2")
    assert bits_of(runs, "run") == expected_bits(8)


@pytest.mark.parametrize(
    "limits, batches, total",
    [
        ({"max_epoch": 2}, 7, 14),
        ({"max_epoch": 3, "update_freq": [2]}, 7, 12),
        ({"max_epoch": 3, "update_freq": [2, 4]}, 7, 8),
        ({"max_epoch": 3, "update_freq": [2], "skip_remainder_batch": True}, 7, 9),
        ({"max_epoch": 2, "max_update": 5}, 7, 5),
        ({"max_update": 50}, 7, 50),
        ({}, 7, None),
    ],
)
def test_planned_updates(limits, batches, total):
    from fairseq.dataclass.configs import OptimizationConfig

    assert planned_updates(OptimizationConfig(**limits), batches) == total


def test_two_processes_agree_with_one(runs):
    """The same batches, as two of one process or one each of two: the same bits, costs and (rounded) losses."""
    runs.trained("one", *CPT, "--update-freq", "2", "--max-epoch", "1", "--dropout", "0", "--attention-dropout", "0")
    flags = (
        "--max-epoch",
        "1",
        "--dropout",
        "0",
        "--attention-dropout",
        "0",
        "--distributed-world-size",
        "2",
        "--find-unused-parameters",
        "--broadcast-buffers",
    )
    words = [sys.executable, "-m", "fairseq_cli.train", *runs.argv("two", *CPT, *flags)]
    done = subprocess.run(words, capture_output=True, text=True)  # a process group would stay in this process
    assert done.returncode == 0, done.stderr[-2000:]
    assert bits_of(runs, "one") == bits_of(runs, "two") == expected_bits(4)
    one, two = runs.losses("one"), runs.losses("two")
    assert all(math.isclose(one[update], two[update], rel_tol=1e-3) for update in one)
    one, two = (runs.checkpoint(name)["quantization"] for name in ("one", "two"))
    assert one["state"].keys() == two["state"].keys()
    for key, value in one["state"].items():
        assert torch.allclose(value, two["state"][key], rtol=0.02, atol=2e-3), key


def test_plateau_and_diversity_see_what_they_need(runs):
    plateau = "{'window': 2, 'patience': 1, 'threshold': 0.5}"
    runs.trained(
        "plateau",
        "--quantization",
        "cpt_4_8",
        "--precision-schedule",
        "plateau",
        "--precision-schedule-options",
        plateau,
    )
    bits = bits_of(runs, "plateau")
    assert bits[0] == 4 and bits == sorted(bits) and bits[8] > 4 and bits[-1] == 8
    diversity = "{'interval': 1, 'resolution': 2, 'patience': 1, 'beta': 0.0, 'ladder': [4, 5, 6, 8]}"
    runs.trained(
        "diversity",
        "--quantization",
        "cpt_4_8",
        "--precision-schedule",
        "diversity",
        "--precision-schedule-options",
        diversity,
    )
    bits = bits_of(runs, "diversity")
    assert bits[0] == 4 and bits == sorted(bits) and bits[-2] > 4


@pytest.mark.parametrize(
    "flags, message",
    [
        (("--quantization", "int9"), "unknown preset 'int9' in quantization; did you mean 'int8'?"),
        (("--quantization", "int8", "--num-bits", "40"), "quantization.num_bits: 2 to 16 bits, got 40"),
        (("--quantization", "cpt_4_8", "--precision-schedule", "RC"), "unknown precision schedule 'RC'; did you mean"),
        (
            ("--quantization", "int8", "--quantization-rules", "[{match: '*.fc3.*', bits: 4}]"),
            "matches no quantizer; nearest is",
        ),
        (
            (*CPT, "--max-epoch", "0", "--stop-time-hours", "1"),
            "precision schedule CR needs to know where the run ends",
        ),
    ],
)
def test_mistakes_end_in_one_line(runs, flags, message):
    result = runs.train("run", *flags)
    assert result.code == 2 and message in result.err and result.err.count("\n") == 1


# ---- inside an update


def test_nothing_is_bypassed(trainer_of):
    """Every GEMM of an update of the trainer, forward and backward, at the bits of the plan or listed as float."""
    trainer, batches = trainer_of(*CPT)
    model = trainer.get_model()
    assert model.quantization.threaded
    with trace_gemms(model) as trace:
        trainer.train_step(batches[:1])
    trace.check(model.quantization.plan)
    head = "classification_heads.sentence_classification_head"
    assert set(trace.full_precision()) == {f"{head}.dense", f"{head}.out_proj"}
    assert len([gemm for gemm in trace.gemms if gemm.is_quantized]) == 8 * 3
    forward = {gemm.path: gemm.bits for gemm in trace.gemms if gemm.is_quantized and gemm.kind == "forward"}
    assert len(forward) == 8 and set(forward.values()) == {(4, 4)}


class SeesBits(QLinear):
    """Notes what its callers hand on."""

    seen: list = []

    def forward(self, input, num_bits=None):
        self.seen.append(num_bits)
        return super().forward(input, num_bits)


def test_bits_are_handed_down_as_an_argument(trainer_of):
    trainer, batches = trainer_of(*CPT)
    for module in trainer.get_model().modules():
        if type(module) is QLinear:
            module.__class__ = SeesBits
    SeesBits.seen = []
    trainer.train_step(batches[:1])
    assert set(SeesBits.seen) == {4} and len(SeesBits.seen) == 6 + 2
    SeesBits.seen = []
    trainer.valid_step(batches[0])
    assert set(SeesBits.seen) == {8}


def test_a_criterion_that_knows_no_bits(trainer_of):
    """As a plugin's: the model runs at the update's bits all the same, and at eval_bits afterwards."""
    from fairseq.criterions.sentence_prediction import SentencePredictionCriterion

    class Plugin(SentencePredictionCriterion):
        def forward(self, model, sample, reduce=True):
            return super().forward(model, sample, reduce)

    trainer, batches = trainer_of(*CPT, criterion=Plugin)
    with trace_gemms(trainer.get_model()) as trace:
        trainer.train_step(batches[:1])
    trace.check(trainer.get_model().quantization.plan)
    assert {g.bits for g in trace.gemms if g.is_quantized and g.kind == "forward"} == {(4, 4)}
    with trace_gemms(trainer.get_model()) as trace:
        trainer.valid_step(batches[0])
    assert {g.bits for g in trace.gemms if g.is_quantized} == {(8, 8)}


def test_micro_batches_are_numbered_over_all_processes(trainer_of, monkeypatch):
    """So that two processes round as one that accumulates: see fairseq/quantization/noise.py."""
    from fairseq.training import quantized

    trainer, _ = trainer_of(*CPT)
    for name, value in (("get_world_size", 4), ("get_rank", 3)):
        monkeypatch.setattr(quantized.distributed_utils, name, lambda value=value: value)
    trainer.quantization.begin_micro_batch(num_updates=7, index=2, is_dummy=False)
    key = trainer.get_model().quantization.step.noise_key(0)
    assert (key.update, key.micro_batch) == (7, 2 * 4 + 3)


def test_batches_that_stand_in_do_not_move_ranges(trainer_of):
    trainer, batches = trainer_of(*CPT)
    alone, _ = trainer_of(*CPT)
    alone.get_model().load_state_dict(trainer.get_model().state_dict())
    trainer.reset_dummy_batch(batches[1])
    trainer.train_step([batches[0], None])
    alone.train_step([batches[0]])
    ours, theirs = (t.get_model().quantization.state_dict(t.get_model())["state"] for t in (trainer, alone))
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_a_run_without_its_iterator_says_what_is_missing(trainer_of):
    trainer, _ = trainer_of("--quantization", "int8")
    assert trainer.quantization.total_updates == UPDATES
    with pytest.raises(ConfigError, match="above the upper bound"):
        trainer_of("--quantization", "int8", "--num-bits", "3", "--precision-schedule", "CR", "--min-bits", "4")
