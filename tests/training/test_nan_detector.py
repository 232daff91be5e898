import torch
from torch import nn

from fairseq.nan_detector import NanDetector


class Poison(nn.Module):
    """Multiplies by NaN, in the forward or in the backward pass only."""

    def __init__(self, backward_only: bool):
        super().__init__()
        self.backward_only = backward_only

    def forward(self, x):
        if self.backward_only:
            x = x.clone()
            if x.requires_grad:
                x.register_hook(lambda grad: grad * float("nan"))
            return x + 0
        return x * float("nan")


def first_problem(model, x):
    with NanDetector(model) as detector:
        model(x).sum().backward()
    return detector.first


def test_names_the_first_module_of_the_forward_pass():
    model = nn.Sequential(nn.Linear(3, 3), Poison(backward_only=False), nn.Linear(3, 3))
    assert first_problem(model, torch.ones(2, 3)) == "1 (forward output)"


def test_names_the_module_below_which_the_backward_pass_breaks():
    model = nn.Sequential(nn.Linear(3, 3), Poison(backward_only=True), nn.Linear(3, 3))
    assert first_problem(model, torch.ones(2, 3)) == "0 (gradient of its output)"


def test_names_a_broken_parameter_first():
    model = nn.Sequential(nn.Linear(3, 3))
    with torch.no_grad():
        model[0].bias[1] = float("inf")
    assert first_problem(model, torch.ones(2, 3)) == "parameter 0.bias"


def test_finite_training_is_not_accused_and_hooks_go():
    model = nn.Sequential(nn.Linear(3, 3), nn.GELU())
    assert first_problem(model, torch.ones(2, 3)) is None
    assert not model[0]._forward_hooks
