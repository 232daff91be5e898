"""The bits of quantized runs' updates: what they depend on, and that they reach every product."""

import math
import subprocess
import sys

import pytest
import torch

from fairseq.errors import ConfigError
from fairseq.quantization import QLinear
from fairseq.quantization.analysis.gemm_trace import trace_gemms
from fairseq.training.quantized import planned_updates
from tests.training.quantized_runs import CPT, UPDATES, bits_of, expected_bits


@pytest.fixture
def trainer_of(data, monkeypatch):
    """A trainer and its first batch, from flags."""
    from fairseq import options, tasks
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf
    from fairseq.trainer import Trainer
    from fairseq.training.quantize import quantize
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
        (("--quantization", "int8", "--num-bits", "40"), "follows it, and its format symmetric has 2 to 16 bits"),
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
    """So that two processes round as one that accumulates: see fairseq/quantization/rounding/noise.py."""
    from fairseq.training import quantized

    trainer, _ = trainer_of(*CPT)
    for name, value in (("get_world_size", 4), ("get_rank", 3)):
        monkeypatch.setattr(quantized.distributed_utils, name, lambda value=value: value)
    trainer.quantized_training.begin_micro_batch(num_updates=7, index=2, is_dummy=False)
    key = trainer.get_model().quantization.context.noise_key(0)
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
    assert trainer.quantized_training.total_updates == UPDATES
    with pytest.raises(ConfigError, match="above the upper bound"):
        trainer_of("--quantization", "int8", "--num-bits", "3", "--precision-schedule", "CR", "--min-bits", "4")
