"""Half precision on a CPU: fp16 says once that it cannot, bf16 trains; loss scaling as it goes on a GPU."""

import re

import pytest
import torch

from fairseq.logging.history import read_history
from fairseq.optim.loss_scale import LossScale
from fairseq.quantization.observers.running import RunningObserver
from fairseq.training.precision import Precision


def test_fp16_without_a_gpu_is_fp32(runs):
    result = runs.trained("fp16", "--fp16")
    assert result.out.count("common.fp16 needs a GPU") == 1
    runs.trained("fp32")
    runs.assert_same_run("fp16", "fp32")


def test_bf16(runs):
    result = runs.trained("bf16", "--bf16", "--max-epoch", "1")
    runs.trained("fp32", "--max-epoch", "1")
    bf16, fp32 = runs.losses("bf16"), runs.losses("fp32")
    assert "WARNING" not in result.out
    assert bf16 != fp32 and abs(bf16[1] - fp32[1]) < 0.02 * fp32[1]
    assert {
        value.dtype.is_floating_point and value.dtype.itemsize for value in runs.checkpoint("bf16")["model"].values()
    } <= {4, False}


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """fp16 autocast as on a GPU, carried out on the CPU."""

    def half(cls, common, device):
        return cls(device, torch.float16)

    monkeypatch.setattr(Precision, "from_config", classmethod(half))


def inner(runs, name, key="loss_scale"):
    return [record[key] for record in read_history(runs.folder / name) if record["tag"] == "train_inner"]


def test_the_scaled_loss_gives_unscaled_gradients(runs, as_on_a_gpu):
    runs.trained("small", "--fp16", "--fp16-init-scale", "1", "--max-epoch", "1")
    out = runs.trained("large", "--fp16", "--fp16-init-scale", "64", "--fp16-scale-window", "3", "--max-epoch", "1").out
    assert inner(runs, "large")[:6] == [64, 64, 128, 128, 128, 256]  # after the update that is reported
    assert inner(runs, "large", "gnorm") == pytest.approx(inner(runs, "small", "gnorm"), rel=0.02)
    assert ", loss_scale=64," in out and "| loss_scale 256" in out and "overflow" not in out


def test_overflow_skips_the_update_and_halves_the_scale(runs, as_on_a_gpu):
    flags = ("--fp16", "--fp16-init-scale", str(2**20), "--max-update")
    out = runs.trained("run", *flags, "4").out
    halved = out.count("gradient overflow detected, ignoring gradient, setting loss scale to: ")
    assert halved > 1 and inner(runs, "run")[-1] == 2**20 / 2**halved
    assert sorted(runs.losses("run")) == [1, 2, 3, 4]
    out = runs.trained("run", *flags, "6").out
    again = out.count("gradient overflow detected")
    assert inner(runs, "run")[-1] == 2**20 / 2 ** (halved + again)  # the scale is part of the checkpoint


def test_ranges_do_not_look_at_skipped_updates(runs, as_on_a_gpu, monkeypatch):
    """They were averaged into the next update's, and an inf of theirs made that one's count for nothing."""
    counts, commit = [], RunningObserver.commit

    def counted(observer):
        counts.append(observer.pending_count)
        commit(observer)

    monkeypatch.setattr(RunningObserver, "commit", counted)
    flags = ("--quantization", "int8", "--fp16", "--fp16-init-scale", str(2**20), "--max-update", "2")
    out = runs.trained("run", *flags).out
    assert "gradient overflow detected" in out and set(counts) <= {0, 1} and 1 in counts


def test_amp_tries_a_batch_again(runs, as_on_a_gpu):
    def overflows(retries):
        flags = ("--amp", "--amp-init-scale", str(2**20), "--max-update", "4", "--amp-batch-retries", str(retries))
        out = runs.trained(f"retries{retries}", *flags).out
        found = re.findall("gradient overflow detected, (ignoring|trying)", out)
        assert len(found) > 2
        return "".join(what[0] for what in found)

    assert set(overflows(0)) == {"i"}
    assert overflows(2).startswith("tti")
    assert set(overflows(30)) == {"t"}
    runs.trained("small", "--amp", "--amp-init-scale", str(2**10), "--max-update", "4")
    assert runs.losses("retries30") == pytest.approx(runs.losses("small"), rel=1e-3)  # no batch was lost
    assert runs.losses("retries0") != pytest.approx(runs.losses("small"), rel=1e-3)


def test_a_scale_that_falls_to_the_minimum_ends_training(runs, as_on_a_gpu):
    result = runs.train("run", "--fp16", "--fp16-init-scale", str(2**24), "--min-loss-scale", str(2**23))
    assert result.code != 0 and "the fp16 loss scale has fallen to" in result.err


def test_the_scale_has_a_floor_and_a_tolerance():
    floor = LossScale(initial=2.0, threshold=1.0)
    for _ in range(3):
        floor.after(overflow=True)
    assert floor.value == 1.0
    patient = LossScale(initial=8.0, tolerance=0.5)
    patient.after(overflow=False)
    patient.after(overflow=False)
    patient.after(overflow=True)
    assert patient.value == 8.0  # one of three updates
    patient.after(overflow=True)
    assert patient.value == 4.0  # two of four


@pytest.mark.parametrize(
    "settings, overflows, changes",
    [
        (
            {"initial": 128, "window": 20, "tolerance": 0.5},
            "................x..........x.xx...........................x...............x.....",
            {0: 128, 50: 256, 58: 128},
        ),
        (
            {"initial": 4, "window": 7, "tolerance": 0.3, "threshold": 16.0},
            "..x.xx...x...xx......x.x....x....x.x.x....x.xxx....x..x...........xx......xx....",
            {0: 4, 2: 16, 61: 32, 66: 16},
        ),
    ],
)
def test_the_scale_goes_as_fairseqs(settings, overflows, changes):
    """`changes`, by number of the update, are what fairseq 0.12's scaler gave for the same overflows (x)."""
    scale = LossScale(minimum=1.0, **settings)
    value = 0
    for index, overflow in enumerate(overflows):
        scale.after(overflow == "x")
        value = changes.get(index, value)
        assert scale.value == value, index
