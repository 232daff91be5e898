"""State dicts: strict in both directions, and quantizer state that travels with them or beside them."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from fairseq.errors import CheckpointError, TrainingError
from fairseq.quantization import load_quantizer_state, quantize_model, quantizer_state, remove_quantization

LEARNED = [{"match": "re:.*(weight|input)", "format": "symmetric", "learned": "scale"}]


@pytest.fixture(params=["cpt_3_8", "int8", "ffn4_mha16"])
def preset(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def trained(model: nn.Module, tokens: torch.Tensor) -> nn.Module:
    for _ in range(3):
        model(tokens).sum().backward()
    return model


def test_strict_both_ways(transformer: nn.Module, tokens: torch.Tensor, preset: str) -> None:
    quantized = trained(quantize_model(copy.deepcopy(transformer), preset), tokens)
    assert list(quantized.state_dict()) == list(transformer.state_dict())
    for target, source in ((transformer, quantized), (quantized, transformer)):
        result = target.load_state_dict(source.state_dict(), strict=True)
        assert not result.missing_keys and not result.unexpected_keys


@pytest.mark.parametrize("rules", [[], LEARNED], ids=["running", "learned"])
def test_state_travels_in_the_metadata(
    transformer: nn.Module, tokens: torch.Tensor, rules: list[dict[str, str]], tmp_path: Path
) -> None:
    first = trained(quantize_model(copy.deepcopy(transformer), "int8", rules=rules), tokens).eval()
    torch.save(first.state_dict(), tmp_path / "model.pt")
    second = quantize_model(copy.deepcopy(transformer), "int8", rules=rules).eval()
    with pytest.raises(TrainingError, match="has seen no data"):
        second(tokens)
    second.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True), strict=True)
    assert torch.equal(first(tokens), second(tokens))


@pytest.mark.parametrize("rules", [[], LEARNED], ids=["running", "learned"])
def test_state_travels_beside_the_weights(
    transformer: nn.Module, tokens: torch.Tensor, rules: list[dict[str, str]]
) -> None:
    first = trained(quantize_model(copy.deepcopy(transformer), "int8", rules=rules), tokens).eval()
    weights, state = {**first.state_dict()}, quantizer_state(first)  # a plain dict: no metadata
    assert state and all(".quantizers." in key for key in state) and not set(state) & set(weights)
    second = quantize_model(copy.deepcopy(transformer), "int8", rules=rules).eval()
    second.load_state_dict(weights, strict=True)
    load_quantizer_state(second, state)
    assert torch.equal(first(tokens), second(tokens))
    third = quantize_model(copy.deepcopy(transformer), "int8", rules=rules).eval()
    third.load_state_dict({**weights, **state}, strict=True)  # merged
    assert torch.equal(first(tokens), third(tokens))
    # through the handle, as a checkpoint keeps it
    fourth = quantize_model(copy.deepcopy(transformer), "int8", rules=rules).eval()
    fourth.load_state_dict(weights)
    fourth.quantization.load_state_dict(fourth, first.quantization.state_dict(first))
    assert torch.equal(first(tokens), fourth(tokens))


def test_float_checkpoint_resets_ranges(transformer: nn.Module, tokens: torch.Tensor) -> None:
    model = trained(quantize_model(copy.deepcopy(transformer), "int8"), tokens).eval()
    model(tokens)
    model.load_state_dict(transformer.state_dict())
    with pytest.raises(TrainingError, match="has seen no data"):
        model(tokens)


def test_state_of_another_plan_is_refused(transformer: nn.Module, tokens: torch.Tensor) -> None:
    model = trained(quantize_model(copy.deepcopy(transformer), "int8"), tokens)
    other = quantize_model(copy.deepcopy(transformer), "int8", rules=[{"match": "layers.0.*", "quantize": False}])
    with pytest.raises(CheckpointError, match="has no quantizer in the model"):
        load_quantizer_state(other, quantizer_state(model))
    with pytest.raises(CheckpointError, match="needs"):
        load_quantizer_state(model, quantizer_state(other))
    with pytest.raises(CheckpointError, match="shape"):
        state = quantizer_state(model)
        load_quantizer_state(model, {key: value.new_zeros(5) for key, value in state.items()})


def test_none_changes_nothing(transformer: nn.Module, tokens: torch.Tensor) -> None:
    twin = copy.deepcopy(transformer)
    assert quantize_model(twin, "none") is twin and not hasattr(twin, "quantization")
    assert [type(m) for m in twin.modules()] == [type(m) for m in transformer.modules()]
    for model in (transformer, twin):
        model(tokens).square().sum().backward()
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(transformer.parameters(), twin.parameters(), strict=True))


def test_removal_restores_the_float_model(transformer: nn.Module, tokens: torch.Tensor) -> None:
    expected = transformer(tokens)
    model = quantize_model(transformer, "int4")
    assert not torch.equal(model(tokens), expected)
    model = remove_quantization(model)
    assert torch.equal(model(tokens), expected) and not hasattr(model, "quantization")
    again = quantize_model(quantize_model(model, "int4"), "int8")  # another plan replaces the first
    assert again.quantization.plan["layers.0.fc1.weight"].high == 8
    again(tokens)  # the hooks that watch the first call are gone after it
    assert not again._forward_hooks and len(again._forward_pre_hooks) == 1
    assert "forward" not in vars(remove_quantization(again)) and not again._forward_pre_hooks


def test_running_ranges_average_over_an_update(transformer: nn.Module) -> None:
    model = quantize_model(nn.Sequential(nn.Linear(4, 2)), "int8")
    observer = model[0].quantizers.quantizer("input").observer
    batches = [torch.tensor([[-1.0, 0, 0, 3]]), torch.tensor([[-3.0, 0, 0, 5]])]
    for number, batch in enumerate(batches):
        model.quantization.begin_micro_batch(0, number)
        model(batch)
    model.quantization.end_update(model)
    low, width = observer.corrected()
    assert float(low) == -2 and float(width) == 6
    model.quantization.begin_micro_batch(1)
    model(torch.full((1, 4), float("nan")))  # a diverged batch leaves no mark
    model.quantization.end_update(model)
    assert float(observer.corrected()[0]) == -2


@pytest.mark.parametrize("preset", ["cpt_3_8", "int8"])
def test_calibration_gives_the_mean_range_whatever_was_before(preset: str) -> None:
    """Also under `cpt`, whose running range would hold a fifth of it after two batches."""
    model = quantize_model(nn.Sequential(nn.Linear(4, 2)), preset)
    model(torch.full((1, 4), 100.0))
    batches = [torch.tensor([[-1.0, 0, 0, 3]]), torch.tensor([[-3.0, 0, 0, 5]])]
    observer = model[0].quantizers.quantizer("input").observer
    for _ in range(2):  # a second calibration starts anew
        model.eval().quantization.calibrate(model, batches, lambda m, batch: m(batch))
        low, width = observer.corrected()
        assert float(low) == -2 and float(width) == 6
    assert model.quantization.short_ranges(model) is None
    model.train()(batches[0])  # training goes on as ever
    model.quantization.end_update(model)
    assert float(observer.corrected()[0]) == pytest.approx(0.9 * -2 + 0.1 * -1)


def test_ranges_that_have_not_settled_are_told() -> None:
    model = quantize_model(nn.Sequential(nn.Linear(4, 2)), "cpt_3_8")
    assert model.quantization.short_ranges(model) is None  # nothing seen is an error of its own
    for update in range(22):
        warning = model.quantization.short_ranges(model) if update else "0 %"
        assert warning and f"{100 * (1 - 0.9**update):.0f} %" in warning
        model(torch.randn(3, 4))
        model.quantization.end_update(model)
    assert model.quantization.short_ranges(model) is None
    advised = {"match": r"re:.*\.(input|query|key|value|probs)", "range": "ema"}
    assert r"re:.*\.(input|query|key|value|probs)', range: ema" in warning
    model = quantize_model(model, "cpt_3_8", rules=[advised])
    model(torch.randn(3, 4))
    model.quantization.end_update(model)
    assert model.quantization.short_ranges(model) is None


def test_calibration_fills_ranges_without_training(transformer: nn.Module, tokens: torch.Tensor) -> None:
    model = quantize_model(
        transformer, "int8", rules=[{"match": "*.fc1.input", "format": "symmetric", "learned": "scale"}]
    ).eval()
    before = {name: parameter.clone() for name, parameter in model.state_dict().items()}
    model.quantization.calibrate(model, [tokens, tokens.flip(0)], lambda m, batch: m(batch))
    assert model(tokens).isfinite().all() and not model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_state_that_does_not_fit_changes_nothing() -> None:
    model = quantize_model(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), "int8")
    model(torch.randn(2, 4))
    before = {name: tensor.clone() for name, tensor in quantizer_state(model).items()}
    changed = {name: tensor + 1 for name, tensor in before.items()}
    last = next(reversed(changed))
    for wrong in ({**changed, "other.scale": torch.ones(1)}, {**changed, last: torch.ones(3)}):
        with pytest.raises(CheckpointError, match="quantizer state"):
            load_quantizer_state(model, wrong)
        for name, tensor in quantizer_state(model).items():
            assert torch.equal(tensor, before[name]), name
