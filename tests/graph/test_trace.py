"""Graphs compute what their models do, bit for bit, at sizes that tracing has not seen; and leave the models alone."""

import enum

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fairseq.errors import ConfigError
from fairseq.graph import equality, trace
from fairseq.graph.equality import difference
from fairseq.graph.flops import count
from fairseq.native.compiled import is_tracing
from fairseq.quantization import quantize_model
from tests.graph.models import MODELS, Odds, Recurrent, jsc_tiny
from tests.graph.products import exported_products, products


def run(function, inputs, grad: bool = False):
    torch.manual_seed(3)
    with torch.set_grad_enabled(grad):
        return function(**inputs)


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("name", MODELS)
def test_graph_equals_model_at_other_sizes(name: str, training: bool) -> None:
    make, inputs = MODELS[name]
    model = make().train(training)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    graph = trace(model, inputs(2, 9))
    assert list(graph.module.state_dict()) == list(before)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(type(value) is nn.Parameter for value in model.parameters())  # none is left fake
    for sizes in ((2, 9), (5, 4), (3, 12)):
        with torch.no_grad():
            model.load_state_dict(before)
            expected = run(model, inputs(*sizes))
            model.load_state_dict(before)
            assert difference(expected, run(graph, inputs(*sizes))) is None, sizes


def test_fused_kernels_step_aside_for_the_comparison() -> None:
    """They do the work of several nodes at once, and round otherwise in the last digits."""
    assert equality._run(is_tracing, {}) is True and not is_tracing()


def test_graph_trains_the_model_itself() -> None:
    models = []
    for traced in (False, True):
        torch.manual_seed(0)
        model = Recurrent().train()
        forward = trace(model, MODELS["recurrent"][1](2, 9)) if traced else model
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for step in range(3):
            run(forward, MODELS["recurrent"][1](4, 5 + step), grad=True).square().sum().backward()
            optimizer.step()
        models.append(model.state_dict())
    assert all(torch.equal(models[0][key], models[1][key]) for key in models[0])


def test_counts_and_infos() -> None:
    graph = trace(jsc_tiny().eval(), torch.randn(8, 16))
    assert graph.counts() == {"placeholder": 1, "get_attr": 0, "call_function": 0, "call_method": 0, "call_module": 4,
                              "output": 1}  # fmt: skip
    assert graph.layer_types() == {"BatchNorm1d": 1, "ReLU": 2, "Linear": 1}
    linear = graph["_2"]
    assert (linear.type, linear.shape, linear.dtype, linear.parameters) == ("Linear", ("s0", 5), "float32", 85)


@pytest.mark.parametrize("name", ["conv_net", "encoder", "roberta", "recurrent"])
def test_no_product_is_missed(name: str) -> None:
    make, inputs = MODELS[name]
    model = make().eval()
    graph = trace(model, inputs(2, 9))
    assert products(graph) == exported_products(model, inputs(2, 9)) > 0
    if name != "recurrent":  # torch counts nothing for a recurrent layer
        # with gradients, and not in one fused function, which the counter does not know
        with FlopCounterMode(display=False) as counted, sdpa_kernel(SDPBackend.MATH):
            model(**inputs(2, 9))
        assert sum(row.flops for row in count(graph)) == counted.get_total_flops() > 0


def test_flops_at_the_plans_bits() -> None:
    model = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 4))
    model = quantize_model(model, "int8", rules=[{"match": "2.weight", "bits": 4}]).eval()
    model.train()(torch.randn(4, 16))
    costs = {row.name: row for row in count(trace(model.eval(), torch.randn(4, 16)))}
    assert (costs["_0"].macs, costs["_0"].bits, costs["_0"].bitops) == (4 * 16 * 8, (8, 8), 4 * 16 * 8 * 64)
    assert sorted(costs["_2"].bits) == [4, 8] and costs["_2"].bitops == 4 * 8 * 4 * 32


def test_inputs_change_the_graph() -> None:
    model, (_, inputs) = Odds().eval(), MODELS["odds"]
    with_mask, without = (trace(model, given) for given in (inputs(2, 5), {"x": inputs(2, 5)["x"]}))
    assert len(with_mask.nodes) > len(without.nodes) and with_mask.counts()["placeholder"] == 2
    assert without.counts()["placeholder"] == 1


def test_a_graph_without_shapes() -> None:
    graph = trace(jsc_tiny().eval())
    assert graph.counts()["call_module"] == 4 and graph["_2"].shape is None and graph["_2"].parameters == 85
    with pytest.raises(ConfigError, match="trace it with inputs"):
        count(graph)
    with pytest.raises(ConfigError, match=r"cannot be traced without inputs.*x:float32"):
        trace(Odds().eval())


class Turns(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.fc = Inner(), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.inner(x))


class Inner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x) if x.sum() > 0 else x


def test_a_model_that_looks_at_values_is_named_and_can_be_a_leaf() -> None:
    model = Turns().eval()
    with pytest.raises(ConfigError, match=r"test_trace.py:\d+, `return self.fc\(x\) if x.sum\(\) > 0 else x`") as error:
        trace(model, torch.randn(2, 4))
    assert "\n" not in str(error.value) and "leaf" in str(error.value)
    assert all(type(value) is nn.Parameter for value in model.parameters())
    graph = trace(model, torch.randn(2, 4), leaves=["inner"])
    assert [info.type for info in graph.nodes if info.kind == "call_module"] == ["Inner", "Linear"]


class Branches(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 if x.shape[0] == 2 else x * 3


def test_another_branch_at_another_size_is_noticed() -> None:
    with pytest.raises(ConfigError, match=r"the graph of Branches and the model differ for x \[3, 4\]"):
        trace(Branches().eval(), torch.randn(2, 4))


@pytest.mark.parametrize(
    "inputs, leaves, message",
    [
        ({"inputt": torch.randn(2, 16)}, (), "unknown input 'inputt' in Sequential.forward; did you mean 'input'"),
        ((torch.randn(2, 16), 1), (), "takes 1 inputs, got 2"),
        ({"input": torch.randn(2, 16)}, ("22",), "unknown module '22' in the leaves"),
        ({"input": torch.randn(2, 15)}, (), "cannot be traced, in '0', a BatchNorm1d: |fails on these inputs"),
    ],
)
def test_wrong_calls(inputs, leaves, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        trace(jsc_tiny().eval(), inputs, leaves)
    assert "\n" not in str(error.value)


class WithSetting(nn.Module):
    """A layer that is called with something that is no tensor."""

    def __init__(self, setting: object) -> None:
        super().__init__()
        self.layer, self.setting = Scaled(), setting

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x, self.setting)


class Scaled(nn.Module):
    def forward(self, x: torch.Tensor, setting: object) -> torch.Tensor:
        return x * setting if isinstance(setting, float) else x


@pytest.mark.parametrize(
    "setting", [np.float64(0.5), enum.StrEnum("Kind", "first").first, torch.float32, range(2), ...]
)
def test_settings_that_code_can_hold(setting: object) -> None:
    trace(WithSetting(setting).eval(), torch.randn(2, 4))


@pytest.mark.parametrize("setting", [object(), torch.Generator(), len, nn.Linear(2, 2)])
def test_settings_that_code_cannot_hold(setting: object) -> None:
    with pytest.raises(ConfigError, match=r"test_trace.py:\d+, `return self.layer.*which a graph cannot hold") as error:
        trace(WithSetting(setting).eval(), torch.randn(2, 4))
    assert "\n" not in str(error.value)
