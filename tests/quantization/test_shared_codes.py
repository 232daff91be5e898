"""In evaluation, projections of one tensor share its codes where their running ranges are equal."""

from typing import Any

import pytest
import torch

from fairseq.modules.multihead_attention import MultiheadAttention
from fairseq.quantization import quantize_model
from fairseq.quantization.products import integer_encode


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes of the inputs whose codes were made."""
    shapes: list[tuple[int, ...]] = []
    make = integer_encode._codes_of

    def counted(quantizer: Any, x: torch.Tensor, *rest: Any) -> Any:
        shapes.append(tuple(x.shape))
        return make(quantizer, x, *rest)

    monkeypatch.setattr(integer_encode, "_codes_of", counted)
    return shapes


def attention() -> Any:
    torch.manual_seed(2)
    model = quantize_model(MultiheadAttention(16, 2, self_attention=True), "int8", compute="integer")
    model.quantization.begin_micro_batch(0)
    with torch.no_grad():
        x = torch.randn(5, 3, 16)
        model(x, x, x, need_weights=False)
    return model.eval()


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_one_set_for_three_projections(mode: Any, made: list[tuple[int, ...]]) -> None:
    model = attention()
    made.clear()
    with mode():
        x = torch.randn(5, 3, 16)
        expected = model(x, x, x, need_weights=False)[0]
    assert made.count((5, 3, 16)) == 2  # and out_proj's
    made.clear()
    handle = model.k_proj.register_forward_pre_hook(lambda *_: None)  # it might write to its input
    with torch.inference_mode():
        assert model(x.clone(), x, x, need_weights=False)[0].equal(expected)
    handle.remove()
    assert made.count((5, 3, 16)) == 4


def test_not_with_other_ranges(made: list[tuple[int, ...]]) -> None:
    model = attention()
    model.v_proj.quantizers.quantizer("input").observer.running_width.mul_(2)
    made.clear()
    with torch.no_grad():
        x = torch.randn(5, 3, 16)
        model(x, x, x, need_weights=False)
    assert made.count((5, 3, 16)) == 3


@pytest.mark.parametrize("compute", ["integer", "simulate"])
def test_not_after_a_write(compute: str) -> None:
    rules = [{"match": "*.input", "range": "minmax"}]  # a running range is each quantizer's own
    model = quantize_model(torch.nn.Sequential(torch.nn.Linear(16, 16)), "int8", compute=compute, rules=rules)
    x = torch.randn(5, 16)
    model(x)
    model.eval()
    with torch.no_grad(), model.quantization.context.call(None):
        first = model[0](x, num_bits=8)
        assert not model[0](x.mul_(-1), num_bits=8).equal(first)
