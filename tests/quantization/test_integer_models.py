"""Models in integers: products of two activations, and training."""

import copy

import pytest
import torch
from torch import Tensor, nn

from fairseq.quantization import quantize_model

pytestmark = pytest.mark.usefixtures("each_kernel")


@pytest.mark.parametrize("preset", ["int8", "int4", "cpt_3_8"])
def test_transformer_equals_simulate(preset: str, transformer: nn.Module, tokens: Tensor) -> None:
    found = {}
    for compute in ("simulate", "integer"):
        model = quantize_model(copy.deepcopy(transformer), preset, compute=compute)
        model.quantization.begin_micro_batch(0)
        logits = model(tokens)
        logits.square().sum().backward()
        grads = {name: parameter.grad for name, parameter in model.named_parameters()}
        found[compute] = (logits.detach(), grads)
    (a, a_grads), (b, b_grads) = found.values()
    assert torch.allclose(a, b, rtol=1e-4, atol=1e-5)
    for name in a_grads:
        if name.endswith("k_proj.bias"):
            continue  # its gradient is 0, but for rounding: softmax does not see it
        error = (a_grads[name] - b_grads[name]).norm() / a_grads[name].norm().clamp(min=1e-6)
        assert error < 0.1, (name, float(error))


def test_matmul_keeps_codes() -> None:
    from fairseq.quantization import MatMul

    class Product(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.product = MatMul("query", "key")

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return self.product(a, b)

    a, b = torch.randn(2, 3, 16, 8, requires_grad=True), torch.randn(2, 3, 5, 8, requires_grad=True)
    sizes, found = {}, {}
    for compute in ("simulate", "integer"):
        model = quantize_model(Product(), "int8", compute=compute)
        model.quantization.begin_micro_batch(0)
        kept: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x, kept=kept: kept.append(x.numel() * x.element_size()) or x, lambda x: x
        ):
            y = model(a, b.mT)
        a.grad = b.grad = None
        y.square().sum().backward()
        sizes[compute], found[compute] = sum(kept), (y, a.grad, b.grad)
    assert sizes["integer"] * 4 == sizes["simulate"]
    for one, other in zip(*found.values(), strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-5 * float(one.detach().abs().max()))


def test_training_goes_the_way_of_simulate(transformer: nn.Module) -> None:
    losses = {}
    for compute in ("simulate", "integer"):
        model = quantize_model(copy.deepcopy(transformer), "int8", compute=compute)
        optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
        generator = torch.Generator().manual_seed(7)
        losses[compute] = []
        for update in range(40):
            tokens = torch.randint(0, 50, (7, 12), generator=generator)
            model.quantization.begin_micro_batch(update)
            loss = nn.functional.cross_entropy(model(tokens), tokens[0] // 17)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            model.quantization.end_update(model)
            losses[compute].append(loss.item())
    simulated, integers = (torch.tensor(found) for found in losses.values())
    assert integers[-10:].mean() < 0.7 * integers[:5].mean()
    assert (simulated - integers).abs().mean() < 0.03
