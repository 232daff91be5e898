import pytest
import torch
from torch import nn

from fairseq.errors import ConfigError
from fairseq.training.trainable import select_trainable


class TwoPart(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        self.head = nn.Linear(4, 2)
        self.tied = nn.Linear(4, 2, bias=False)
        self.tied.weight = self.head.weight

    def forward(self, x):
        return self.head(self.body(x))


def test_only_matched_parameters_get_gradients():
    model = TwoPart()
    chosen = select_trainable(model, ["head.*"])
    model(torch.ones(1, 4)).sum().backward()
    assert (chosen.trained, chosen.total, chosen.names) == (10, 50, ["head.weight", "head.bias"])
    assert {name for name, p in model.named_parameters() if p.grad is not None} == {"head.weight", "head.bias"}


def test_no_backward_work_below_the_first_trainable_layer():
    model = TwoPart()
    select_trainable(model, ["head.*"])
    inside = model.body(torch.ones(1, 4))
    assert inside.grad_fn is None


def test_a_tied_parameter_can_be_selected_by_either_name():
    model = TwoPart()
    select_trainable(model, ["tied.*"])
    assert model.head.weight.requires_grad and not model.head.bias.requires_grad


def test_an_empty_list_leaves_everything_as_it_is():
    model = TwoPart()
    model.head.bias.requires_grad_(False)
    assert select_trainable(model, []).trained == 48


def test_a_glob_without_a_match_names_the_nearest_parameter():
    with pytest.raises(ConfigError, match=r"'haed\.weight' matches no parameter; the nearest name is 'head\.weight'"):
        select_trainable(TwoPart(), ["haed.weight"])
