"""Other modules and functions in the place of nodes: weights stay the same objects, and nothing is lost unsaid."""

import copy

import pytest
import torch
from torch import nn

from fairseq.errors import ConfigError
from fairseq.graph import replace, run_pass, trace
from tests.graph.models import MODELS, random


class Doubled(nn.Linear):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(input)


class Functions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.fc(x)) + x


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU()).double().eval()


X = {"input": random(3, 4).double()}


def test_weights_bias_dtype_and_mode_stay() -> None:
    model = net()
    weight, state = model[0].weight, copy.deepcopy(model.state_dict())
    expected = model[4](model[3](model[2](model[1](2 * model[0](**X)))))
    graph, result = replace(trace(model, X), "_0", Doubled(4, 4))
    assert result.changed == ["0"] and model[0].weight is weight and not model[0].training
    assert list(model.state_dict()) == list(state)
    assert all(
        torch.equal(value, state[key]) and value.dtype == state[key].dtype for key, value in model.state_dict().items()
    )
    assert torch.equal(graph(**X), expected) and torch.equal(model(**X), expected)
    model[1].running_mean.add_(1)
    mean = model[1].running_mean
    replace(graph, "_1", lambda old: nn.BatchNorm1d(4, eps=old.eps * 2))
    assert model[1].running_mean is mean and model[1].eps == 2e-5


def test_all_of_a_type_by_a_pass() -> None:
    models, options = (net(), net()), {"pattern": "relu", "with": "ELU", "options": {"alpha": 0.5}}
    given = copy.deepcopy(options)
    results = [run_pass(trace(model, X), "replace", options)[1] for model in models]
    assert results[0] == results[1] and results[0].changed == ["2", "4"] and options == given
    assert models[0][2].alpha == 0.5 and models[0][2] is not models[0][4]


def test_a_function_by_another() -> None:
    model, x = Functions(), random(3, 4)
    graph, result = replace(trace(model, {"x": x}), "relu", torch.tanh)
    assert torch.equal(graph.model(x), torch.tanh(model.fc(x)) + x) and graph.model.fc is model.fc
    assert {row.name for row in result.rows if row.changed} == {"relu", "tanh"}


@pytest.mark.parametrize(
    ("node", "new", "line"),
    [
        ("_0", nn.Linear(4, 4, bias=False), "replace '0', a Linear: bias would be lost"),
        ("_0", nn.Linear(4, 5), "weight, bias would be lost"),
        ("_0", nn.Linear, "replace '0', a Linear: "),
        ("_1", nn.Identity, "running_mean, running_var, num_batches_tracked would be lost"),
        (["_0", "_3"], nn.Linear(4, 4), "2 modules by one would share its weights"),
        ("_4", lambda old: nn.Flatten(0), "the graph would give"),
        ("_7", nn.ReLU(), "unknown node '_7'"),
    ],
)
def test_errors_change_nothing(node, new, line: str) -> None:
    model = net()
    modules = list(model.children())
    with pytest.raises(ConfigError) as error:
        replace(trace(model, X), node, new)
    assert line in str(error.value) and "\n" not in str(error.value)
    assert list(model.children()) == modules


def test_what_may_be_lost_is_lost_when_asked() -> None:
    graph, _ = replace(trace(net(), X), "_1", nn.Identity, lose=True)
    assert "1.weight" not in graph.model.state_dict()
    with pytest.raises(ConfigError, match=r"unknown class of torch\.nn 'Glu' in replace: with"):
        run_pass(graph, "replace", {"pattern": "relu", "with": "Glu"})
    with pytest.raises(ConfigError, match="calls a function; give a function, no module"):
        replace(trace(Functions(), {"x": random(3, 4)}), "relu", nn.ReLU())


def test_every_activation_of_mobile_blocks() -> None:
    make, inputs = MODELS["conv_net"]
    graph, result = run_pass(trace(make().eval(), inputs(2, 9)), "replace", {"pattern": "relu6", "with": "Hardswish"})
    assert graph.layer_types()["Hardswish"] == len(result.changed) == 4
