"""Gradients of gradients: an error where a quantized product or a fused kernel is in the way, never a wrong number."""

import pytest
import torch
from torch import nn

from fairseq.errors import TrainingError
from fairseq.native.norm import add_and_normalize
from fairseq.quantization import MatMul, quantize_model
from tests import needs


class Products(nn.Module):
    """A linear layer, a product of activations, and one more linear layer, whose incoming gradient is constant."""

    def __init__(self):
        super().__init__()
        self.first, self.matmul, self.last = nn.Linear(16, 16), MatMul(), nn.Linear(16, 1)

    def forward(self, x):
        x = torch.tanh(self.first(x))
        return self.last(self.matmul(x, x.transpose(-1, -2) @ x))


def penalty(model, num_bits):
    """The gradient penalty of WGAN-GP: a function of dL/dx."""
    x = torch.randn(2, 8, 16, generator=torch.Generator().manual_seed(0), requires_grad=True)
    y = model(x) if num_bits is None else model(x, num_bits=num_bits)
    (gradient,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    return (gradient.norm(dim=-1) - 1).square().mean()


@pytest.mark.parametrize("only", ["first", "matmul", "last"])
@pytest.mark.parametrize("grad_bits", [0, 8])
@pytest.mark.parametrize("compute", ["simulate", "integer"])
def test_a_gradient_penalty_is_refused_at_each_product(only, grad_bits, compute):
    paths = {"matmul": ["left", "right", "matmul.grad_output"]}.get(only, [f"{only}.*"])
    rules = [{"match": "*", "quantize": False}, *({"match": path, "quantize": True} for path in paths)]
    rules += [{"match": f"{only}.grad_output", "grad_bits": grad_bits}]
    model = quantize_model(Products(), "int8", compute=compute, rules=rules)
    with pytest.raises(TrainingError, match="quantized product has no gradient of its gradient"):
        penalty(model, None)
    with pytest.raises(TrainingError, match="no gradient of its gradient"):  # else 0
        torch.autograd.functional.hessian(lambda x: model(x).square().sum(), torch.randn(1, 2, 16))
    gradients = torch.autograd.grad(model(torch.randn(2, 8, 16)).sum(), list(model.parameters()))
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)


def test_in_full_precision_it_is_that_of_a_float_model():
    torch.manual_seed(0)
    model = Products()
    penalty(model, None).backward()
    expected = {name: parameter.grad for name, parameter in model.named_parameters()}
    model.zero_grad()
    penalty(quantize_model(model, "int8"), 0).backward()
    assert expected["last.weight"].abs().sum() > 0
    for name, parameter in model.named_parameters():
        assert parameter.grad is expected[name] or torch.equal(parameter.grad, expected[name]), name


@needs.compiler
def test_a_fused_norm_refuses_where_the_incoming_gradient_is_constant():
    x, weight = torch.randn(4, 16, requires_grad=True), torch.rand(16, requires_grad=True)
    y = add_and_normalize(x, x, weight, weight, 1e-5, None)
    with pytest.raises(TrainingError, match="residual and layer norm"):
        torch.autograd.grad(y.sum(), x, create_graph=True)
