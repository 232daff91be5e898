"""Activations, softmax and norms: rounded at their ends where a rule names them, and left alone elsewhere."""

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

from fairseq.errors import DataError
from fairseq.quantization import quantize_model, remove_quantization
from fairseq.quantization.plan.targets.elementwise import ACTIVATIONS, NORMS

MODULES = {
    "GroupNorm": lambda: nn.GroupNorm(2, 4),
    "LayerNorm": lambda: nn.LayerNorm(6),
    "LocalResponseNorm": lambda: nn.LocalResponseNorm(2),
    "RMSNorm": lambda: nn.RMSNorm(6),
    "Threshold": lambda: nn.Threshold(0.1, 0.0),
    "_NormBase": lambda: nn.BatchNorm1d(4),
    **{kind.__name__: lambda kind=kind: kind(dim=-1) for kind in (nn.Softmax, nn.Softmin, nn.LogSoftmax)},
}
NAMED = [{"match": "act.*", "bits": 3, "format": "symmetric", "range": "minmax"}]


class Net(nn.Module):
    def __init__(self, act: nn.Module):
        super().__init__()
        self.fc, self.act = nn.Linear(6, 6), act

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.fc(x))


def levels(x: Tensor) -> int:
    return torch.unique(x.detach()).numel()


@pytest.mark.parametrize("kind", [*ACTIVATIONS, *NORMS], ids=lambda kind: kind.__name__)
def test_both_ends_are_rounded(kind: type[nn.Module]) -> None:
    act = MODULES.get(kind.__name__, kind)()
    model, x = Net(copy.deepcopy(act)), torch.randn(5, 4, 6) if kind is not nn.Softmax2d else torch.randn(3, 4, 2, 6)
    keys, seen = set(model.state_dict()), []
    model = quantize_model(model, "int8", rules=NAMED)
    assert set(model.state_dict()) == keys and type(model.act) is type(act)
    assert [row.quantizer for row in model.quantization.plan.active if row.role == "activation"] == [
        "fc.input", "act.input", "act.output"
    ]  # fmt: skip
    model.act.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    y = model(x.requires_grad_())
    y.square().sum().backward()
    assert levels(y) <= 7 and levels(seen[0]) <= 7
    assert x.grad.isfinite().all() and x.grad.shape == x.shape
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    remove_quantization(model)
    assert not hasattr(model.act, "quantizers") and not model.act._forward_hooks


def test_the_gradient_goes_straight_through() -> None:
    act = quantize_model(nn.Sequential(nn.Identity(), nn.ReLU()), "int4", rules=[{"match": "1.*", "quantize": True}])
    x = torch.tensor([-1.0, 0.21, 0.4, 1.0], requires_grad=True)
    act(x).backward(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert x.grad.tolist() == [0, 2, 3, 4]


def test_wide_rules_leave_them_alone() -> None:
    for rule in ({"match": "*", "bits": 4}, {"match": "*.input", "bits": 4}, {"match": "*", "quantize": True}):
        model = quantize_model(Net(nn.GELU()), "int8", rules=[rule])
        assert not hasattr(model.act, "quantizers") and not any(
            "act" in row.quantizer for row in model.quantization.plan.rows
        )


def test_an_activation_in_place_writes_to_nobody_elses_values() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.fc2, self.act = nn.Linear(6, 6), nn.Linear(6, 6), nn.ReLU(inplace=True)

        def forward(self, x: Tensor) -> Tensor:
            y = self.act(x)
            return self.fc1(x) + self.fc2(x) + y

    rules = [{"match": "act.input", "bits": 8}]
    model, x = quantize_model(Two(), "int8", rules=rules), torch.randn(4, 6)
    other = quantize_model(copy.deepcopy(model), "int8", rules=rules)
    other.act.inplace = False
    assert torch.equal(model(x.clone()), other(x.clone()))


@pytest.mark.parametrize("names", ["act.*", "norm.output", "fc.output"])
@pytest.mark.parametrize("settings", [{}, {"ste": "clipped"}, {"learned": "scale"}])
def test_what_follows_may_write_to_a_rounded_result(names: str, settings: dict[str, str]) -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.norm, self.act = nn.Linear(6, 6), nn.BatchNorm1d(6), nn.ReLU6(inplace=True)

        def forward(self, x: Tensor) -> Tensor:
            y = self.fc(x)
            return self.act(y if names == "fc.output" else self.norm(y))

    rule = {"match": names, "bits": 8, "format": "symmetric", **settings}
    results = []
    for in_place in (True, False):
        torch.manual_seed(1)
        model, x = quantize_model(InPlace(), "int8", rules=[rule]), torch.randn(4, 6)
        model.act.inplace = in_place
        y = model(x)
        y.square().sum().backward()
        results.append((y, model.fc.weight.grad))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_children_of_a_norm_stay_visible() -> None:
    class Adaptive(nn.LayerNorm):
        def __init__(self) -> None:
            super().__init__(6)
            self.gain = nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * self.gain(x)

    model = quantize_model(nn.Sequential(Adaptive()), "int8", rules=[{"match": "0.output", "bits": 3}])
    assert type(model[0].gain).__name__ == "QLinear" and levels(model(torch.randn(4, 6))) <= 8


def test_copies_files_types_and_keywords() -> None:
    model = quantize_model(Net(nn.LayerNorm(6)), "int8", rules=[{"match": "act.*", "bits": 8}])
    model(torch.randn(4, 6)).sum().backward()
    model.quantization.end_update(model)
    model.eval()
    x = torch.randn(4, 6)
    y = model(x)
    twin = pickle.loads(pickle.dumps(model))
    loaded = quantize_model(Net(nn.LayerNorm(6)), "int8", rules=[{"match": "act.*", "bits": 8}]).eval()
    loaded.load_state_dict(model.state_dict(), strict=True)
    for other in (copy.deepcopy(model), twin, loaded):
        assert torch.equal(other(x), y)
        assert other.act.quantizers is not model.act.quantizers
    assert model.bfloat16()(x.bfloat16()).dtype == torch.bfloat16
    softmax = quantize_model(nn.Sequential(nn.Softmax(-1)), "int8", rules=[{"match": "0.*", "bits": 2}])
    assert levels(softmax[0](input=torch.randn(3, 5))) <= 4
    with pytest.raises(DataError, match=r"0\.input: a tensor of torch\.int64"):
        softmax(torch.arange(3))
