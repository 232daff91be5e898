"""A precision schedule in a loop of one's own: bits by update, exact resume, and words where nothing drives it."""

import copy
import io
import logging
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fairseq.errors import CheckpointError, ConfigError, TrainingError
from fairseq.quantization import PrecisionScheduler, quantize_model, remove_quantization
from fairseq.quantization.schedules import build_schedule

TOTAL = 12


def build(config: str = "cpt_4_8", **changes: Any) -> nn.Module:
    torch.manual_seed(3)
    changes.setdefault("schedule", {"num_cycles": 3})
    return quantize_model(nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.Linear(16, 1)), config, **changes)


class Callback:
    def __init__(self) -> None:
        self.bits: list[int] = []
        self.keys: list[tuple[int, int]] = []

    def quantized(self, quantizer: Any, x: Tensor, result: Tensor, num_bits: int, reused: bool) -> None:
        if quantizer.path == "0.input":
            self.bits.append(num_bits)
            self.keys.append((quantizer.context.update, quantizer.context.micro_batch))

    def product(self, *_: Any) -> None: ...


def batch(update: int) -> Tensor:
    return torch.randn(5, 6, generator=torch.Generator().manual_seed(update))


def train(model: nn.Module, scheduler: PrecisionScheduler, optimizer: Any, stop: int) -> list[float]:
    losses = []
    while scheduler.num_updates < stop:
        loss = (model(batch(scheduler.num_updates)) - 1).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step(loss=loss)
        losses.append(loss.item())
    return losses


def expected(total: int = TOTAL) -> list[int]:
    schedule = build_schedule("CR", low=4, high=8, num_cycles=3)
    return [schedule.bits(update, total) for update in range(total)]


def test_it_says_where_it_is() -> None:
    scheduler = PrecisionScheduler(build(), TOTAL)
    scheduler.step()
    assert repr(scheduler) == "PrecisionScheduler(CR, 4 to 8 bits: update 1 of 12)"


def test_step_beside_the_optimizers() -> None:
    model, callback = build(), Callback()
    scheduler = PrecisionScheduler(model, total_updates=TOTAL)
    with model.quantization.context.with_callback(callback):
        train(model, scheduler, torch.optim.SGD(model.parameters(), lr=0.1), TOTAL)
    assert callback.bits == expected() and len(set(expected())) > 3
    callback.bits.clear()
    with model.quantization.context.with_callback(callback), torch.no_grad():
        model.eval()(batch(0))  # at the declared evaluation bits
        model.train()(batch(0), num_bits=3)  # a call that names bits has them
    assert callback.bits == [8, 3]


def test_loop_over_bits() -> None:
    model, callback = build(), Callback()
    scheduler = PrecisionScheduler(model, total_updates=TOTAL)
    with model.quantization.context.with_callback(callback):
        for update, bits in enumerate(scheduler):
            model(batch(update)).sum().backward()
            assert bits == callback.bits[-1]
            if update % 2:
                scheduler.step()  # done by hand: not done again
    assert callback.bits == expected() and scheduler.num_updates == TOTAL


def test_calls_between_two_steps_are_micro_batches() -> None:
    model, callback = build(), Callback()
    scheduler = PrecisionScheduler(model, total_updates=TOTAL)
    with model.quantization.context.with_callback(callback):
        for _ in range(2):
            for micro in range(3):
                model(batch(micro)).sum().backward()
            scheduler.step()
    assert callback.keys == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"schedule": {"name": "plateau", "options": {"window": 1, "patience": 1}}},
        {"schedule": {"name": "diversity", "options": {"interval": 1, "resolution": 2, "patience": 1, "beta": 0.0}}},
        {"rules": [{"match": "*.weight", "format": "symmetric", "learned": "scale"}]},
    ],
)
@pytest.mark.parametrize("stop", [1, 5])
def test_resuming_is_exact(changes: dict[str, Any], stop: int) -> None:
    model = build(**changes)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    scheduler = PrecisionScheduler(model, total_updates=TOTAL)
    losses = train(model, scheduler, optimizer, stop)
    file = io.BytesIO()
    saved = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "precision": scheduler.state_dict()}
    torch.save(saved, file)
    losses += train(model, scheduler, optimizer, TOTAL)

    file.seek(0)
    state = torch.load(file, weights_only=True)
    again = build(**changes)
    optimizer = torch.optim.Adam(again.parameters(), lr=0.05)
    scheduler = PrecisionScheduler(again, total_updates=TOTAL)
    again.load_state_dict(dict(state["model"]))  # without its metadata, as many programs hand it on
    optimizer.load_state_dict(state["optimizer"])
    scheduler.load_state_dict(state["precision"])
    assert train(again, scheduler, optimizer, TOTAL) == losses[stop:]
    with torch.no_grad():
        assert torch.equal(again.eval()(batch(0)), model.eval()(batch(0)))


def test_a_copy_has_a_scheduler_of_its_own() -> None:
    model, callback = build(), Callback()
    scheduler = PrecisionScheduler(model, total_updates=TOTAL)
    other = copy.deepcopy(model)
    train(model, scheduler, torch.optim.SGD(model.parameters(), lr=0.1), 3)
    with other.quantization.context.with_callback(callback):
        other(batch(0))
    assert callback.bits == [4] and callback.keys == [(0, 0)]


def test_detached_models_train_as_before() -> None:
    model, callback = build(), Callback()
    PrecisionScheduler(model, total_updates=TOTAL).detach()
    with model.quantization.context.with_callback(callback):
        model(batch(0)), model(batch(0))
    assert callback.bits == [8, 8] and callback.keys == [(1, 0), (2, 0)]


def test_removing_the_quantization_removes_the_scheduler() -> None:
    model = build()
    PrecisionScheduler(model, total_updates=TOTAL)
    assert not remove_quantization(model)._forward_pre_hooks
    model(batch(0)).sum().backward()


def test_models_in_a_data_parallel_wrapper() -> None:
    class Wrapper(nn.Module):
        def __init__(self, module: nn.Module):
            super().__init__()
            self.module = module

        def forward(self, x: Tensor) -> Tensor:
            return self.module(x)  # type: ignore[no-any-return]

    model, callback = Wrapper(build()), Callback()
    scheduler = PrecisionScheduler(model, total_updates=TOTAL)
    with model.module.quantization.context.with_callback(callback):  # type: ignore[union-attr]
        for update, _ in enumerate(scheduler):
            model(batch(update)).sum().backward()
    assert callback.bits == expected()


def test_what_is_wrong_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ConfigError, match="not quantized"):
        PrecisionScheduler(nn.Linear(2, 2), total_updates=3)
    for total in (0, -1, 2.5, None, True):
        with pytest.raises(ConfigError, match="total_updates must be a whole number"):
            PrecisionScheduler(build(), total_updates=total)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="set its option interval"):
        PrecisionScheduler(build(schedule={"name": "diversity"}), total_updates=3)
    scheduler = PrecisionScheduler(build(schedule={"name": "plateau"}), total_updates=3)
    with pytest.raises(TrainingError, match=r"step\(loss=loss\)"):
        scheduler.step()
    good = scheduler.state_dict()
    for wrong in (
        {"last_epoch": 3},
        {**good, "num_updates": -1},
        {**good, "schedule": None},
        {**good, "quantizers": 3},
    ):
        with pytest.raises(CheckpointError, match="no state of one"):
            scheduler.load_state_dict(wrong)
    assert not caplog.records
    other = PrecisionScheduler(build(), total_updates=6)
    scheduler.load_state_dict(other.state_dict())
    messages = [record.getMessage() for record in caplog.records]
    assert "trained with CR, now it is plateau" in messages[0] and "now has 3 updates" in messages[1]
    caplog.clear()
    for _ in scheduler:
        scheduler.step(loss=1.0)
    assert not caplog.records
    scheduler.step(loss=1.0)
    assert "more updates than total_updates=3" in caplog.text
    caplog.clear()
    PrecisionScheduler(build(schedule={"num_cycles": 32}), total_updates=6)
    assert "room for 3 of 32 cycles" in caplog.text


@pytest.mark.parametrize("driven", ["argument", "scheduler", "constant", "evaluation"])
def test_a_schedule_that_something_drives_is_not_warned_about(driven: str, caplog: pytest.LogCaptureFixture) -> None:
    model = build("int8", schedule={}) if driven == "constant" else build()
    if driven == "scheduler":
        PrecisionScheduler(model, total_updates=TOTAL)
    if driven == "evaluation":
        model.quantization.calibrate(model, [batch(0)], lambda m, x: m(x))
        model.eval()
    for update in range(2):
        model(batch(update), **({"num_bits": 5} if driven == "argument" else {}))
    assert not caplog.records


def test_a_schedule_that_nothing_drives_is_warned_about_once(caplog: pytest.LogCaptureFixture) -> None:
    model = build()
    with caplog.at_level(logging.WARNING):
        for update in range(3):
            model(batch(update)).sum().backward()
    (record,) = caplog.records
    message = record.getMessage()
    assert "CR" in message and "8 bits" in message and "PrecisionScheduler(model, total_updates=" in message
