"""Conv1D of `transformers`, whose weight is (in, out), against nn.Linear with the transposed weight."""

import torch
from torch import Tensor, nn

from fairseq.quantization import quantize_model, remove_quantization
from fairseq.quantization.layers.transposed_linear import QConv1D


class Conv1D(nn.Module):
    """A class of that name and shape, for environments without the library."""

    def __init__(self, nf: int, nx: int):
        super().__init__()
        self.nf, self.nx = nf, nx
        self.weight, self.bias = nn.Parameter(torch.randn(nx, nf)), nn.Parameter(torch.randn(nf))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.bias, x.view(-1, x.shape[-1]), self.weight).view(*x.shape[:-1], self.nf)


Conv1D.__module__ = "transformers.pytorch_utils"


def test_as_a_linear_layer() -> None:
    layer, linear = Conv1D(5, 70), nn.Linear(70, 5)
    linear.weight.data, linear.bias.data = layer.weight.detach().t().clone(), layer.bias.detach().clone()
    rules = [{"match": "*", "rounding": "nearest"}, {"match": "0.output", "bits": 4}]
    for changes in ({"preset": "int4"}, {"preset": "mxfp4"}):
        ours, theirs = (quantize_model(nn.Sequential(each), rules=rules, **changes) for each in (layer, linear))
        assert isinstance(ours[0], QConv1D) and ours[0].weight is layer.weight
        rows = [[(row.quantizer, row.settings()) for row in m.quantization.plan.rows] for m in (ours, theirs)]
        assert rows[0] == rows[1]
        x, y = (torch.randn(3, 2, 70, generator=torch.Generator().manual_seed(1)).requires_grad_() for _ in range(2))
        for _ in range(2):
            a, b = ours(x), theirs(y)
            assert torch.equal(a, b)
        a.square().sum().backward(), b.square().sum().backward()
        assert torch.allclose(x.grad, y.grad, atol=1e-5)
        assert torch.allclose(ours[0].weight.grad.t(), theirs[0].weight.grad, atol=1e-5)
        ours.zero_grad(), theirs.zero_grad()
        restored = remove_quantization(ours)[0]
        assert type(restored) is Conv1D and restored.weight is layer.weight
        layer, linear = restored, remove_quantization(theirs)[0]


def test_integers_are_simulated() -> None:
    model = quantize_model(nn.Sequential(Conv1D(4, 4)), "int8", compute="integer")
    assert model.quantization.plan["0.weight"].cells()["compute"] == "simulate, no integer kernel"
    assert model(torch.randn(2, 4)).shape == (2, 4)
