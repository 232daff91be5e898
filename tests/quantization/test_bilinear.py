"""nn.Bilinear behind quantizers, against torch's layer on tensors that are rounded beforehand."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fairseq.errors import ConfigError
from fairseq.quantization import fake_quantize, quantize_model, remove_quantization
from fairseq.quantization.layers.bilinear import QBilinear

SYMMETRIC = {"match": "*", "format": "symmetric", "range": "minmax", "granularity": "tensor", "rounding": "nearest"}


class Pair(nn.Module):
    def __init__(self, **kwargs: Any):
        super().__init__()
        torch.manual_seed(1)
        self.pair = nn.Bilinear(4, 6, 5, **kwargs)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.pair(a, b)  # type: ignore[no-any-return]


def inputs() -> tuple[Tensor, Tensor]:
    torch.manual_seed(2)
    return torch.randn(2, 3, 4, requires_grad=True), torch.randn(2, 3, 6, requires_grad=True)


def rounded(x: Tensor, num_bits: int = 8) -> Tensor:
    return fake_quantize(x.detach(), "symmetric", num_bits=num_bits).requires_grad_()


def test_values_and_gradients() -> None:
    bits = {"left": 6, "right": 5, "weight": 4}
    rules = [SYMMETRIC, *({"match": f"pair.{key}", "bits": number} for key, number in bits.items())]
    model, (a, b) = quantize_model(Pair(), "int8", rules=rules), inputs()
    y, grad = model(a, b), torch.randn(2, 3, 5)
    factors = rounded(a, 6), rounded(b, 5), rounded(model.pair.weight, 4)
    expected = F.bilinear(*factors, model.pair.bias)
    assert torch.equal(y, expected)
    y.backward(grad)
    (*wanted, of_bias) = torch.autograd.grad(expected, [*factors, model.pair.bias], rounded(grad).detach())
    for found, gradient in zip((a, b, model.pair.weight), wanted, strict=True):
        assert torch.allclose(found.grad, gradient, atol=1e-5)
    assert torch.allclose(model.pair.bias.grad, of_bias, atol=1e-5)


def test_blocks_lie_along_each_contraction() -> None:
    model, (a, b) = quantize_model(Pair(), "mxfp8"), inputs()
    a_block, b_block, weight = a.detach(), b.detach(), model.pair.weight.detach()
    y, grad = model(a, b), torch.randn(2, 3, 5)
    y.backward(grad)

    def mx(x: Tensor, dim: int = -1) -> Tensor:
        return fake_quantize(x, "mxfp8_e4m3", dim=dim)

    x, z, g, w = (
        mx(a_block),
        mx(b_block),
        mx(grad),
        weight.permute(1, 0, 2),
    )
    of_left = mx(w.flatten(1)).view(w.shape).permute(1, 0, 2)
    w = weight.permute(2, 0, 1)
    of_right = mx(w.flatten(1)).view(w.shape).permute(1, 2, 0)
    assert torch.equal(y, F.bilinear(x, z, mx(weight.flatten(1)).view(weight.shape), model.pair.bias))
    assert torch.allclose(a.grad, torch.einsum("bto,oij,btj->bti", g, of_left, z), atol=1e-5)
    assert torch.allclose(b.grad, torch.einsum("bto,oij,bti->btj", g, of_right, x), atol=1e-5)
    g, x, z = (mx(part.reshape(6, -1), dim=0) for part in (grad, a_block, b_block))
    assert torch.allclose(model.pair.weight.grad, torch.einsum("mo,mi,mj->oij", g, x, z), atol=1e-5)


def test_one_input_alone() -> None:
    off = {"match": "*", "quantize": False}
    for key in ("left", "right", "weight"):
        model = quantize_model(Pair(), "int8", rules=[off, SYMMETRIC, {"match": f"pair.{key}", "bits": 2}])
        a, b = inputs()
        factors = {"left": a, "right": b, "weight": model.pair.weight}
        factors[key] = rounded(factors[key], 2)
        assert torch.equal(model(a, b), F.bilinear(*factors.values(), model.pair.bias)), key


def test_plan_and_removal() -> None:
    model = quantize_model(Pair(bias=False), "int8", compute="integer")
    rows = model.quantization.plan.rows
    assert [row.quantizer for row in rows] == ["pair.weight", "pair.left", "pair.right", "pair.grad_output"]
    assert {row.cells()["compute"] for row in rows} == {"simulate, no integer kernel"}
    assert type(model.pair) is QBilinear
    plain, (a, b) = Pair(bias=False), inputs()
    with model.quantization.context.full_precision():
        assert torch.equal(model(a, b), plain(a, b))
    model = remove_quantization(model)
    assert type(model.pair) is nn.Bilinear and not hasattr(model.pair, "quantizers")
    assert torch.equal(model(a, b), plain(a, b))


def test_a_forward_of_its_own_is_refused() -> None:
    class Own(nn.Bilinear):
        def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
            return super().forward(input1, 2 * input2)

    with pytest.raises(ConfigError, match=r"'0': Own has a forward of its own; use nn\.Bilinear"):
        quantize_model(nn.Sequential(Own(2, 2, 2)), "int8")
