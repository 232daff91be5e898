"""Pruned inputs of layers: exact counts, the same with quantizers, saved with the model, and off again."""

import copy

import pytest
import torch
from torch import nn

from fairseq.errors import ConfigError
from fairseq.graph import prune, prune_activations, quantize, restore, run_pass, trace
from fairseq.graph.passes.prune_activations import remove
from fairseq.graph.transforming import load, transform
from tests.graph.models import MODELS, random

X = {"input": random(5, 16)}


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 8)).eval()


def zeroed(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """What the layer's own forward is given."""
    seen = []
    handle = layer.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    layer(x)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize("method", ["magnitude", "random"])
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 1.0])
def test_counts_are_exact_in_each_example(method: str, sparsity: float) -> None:
    model, x = net(), X["input"]
    prune_activations(model, sparsity, "0", by="name", method=method, inputs=X)
    found = zeroed(model[0], x)
    assert (found == 0).sum(1).tolist() == [round(16 * sparsity)] * 5
    assert torch.equal(found[found != 0], x[found != 0])
    if method == "magnitude" and sparsity == 0.5:
        assert (x.abs().masked_fill(found != 0, 0).amax(1) <= x.abs().masked_fill(found == 0, 9).amin(1)).all()
    assert (zeroed(model[0], torch.ones(3, 16)) == 0).sum(1).tolist() == [
        round(16 * sparsity)
    ] * 3  # of equal ones, too
    torch.testing.assert_close(
        model(x), model[2](torch.relu(nn.functional.linear(found, model[0].weight, model[0].bias)))
    )


def test_n_of_m_in_layers_and_convolutions() -> None:
    model = nn.Sequential(nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(4, 8))
    _, result = prune_activations(model, granularity="2:4", inputs=random(2, 8, 3, 3))
    found = zeroed(model[0], random(2, 8, 3, 3))
    assert ((found != 0).movedim(1, -1).reshape(-1, 4).sum(1) == 2).all() and result.changed == ["0", "2"]


def test_same_call_same_model_through_quantization_and_training() -> None:
    models, options = (net(), net(), net()), {"sparsity": 0.5, "method": "random"}
    given = copy.deepcopy(options)
    results = [
        run_pass(trace(m, X), "prune_activations", {**options, "seed": s})
        for m, s in zip(models, (3, 3, 4), strict=True)
    ]
    assert options == given and results[0][1] == results[1][1]
    assert torch.equal(models[0](**X), models[1](**X)) and not torch.equal(models[0](**X), models[2](**X))
    graph, _ = quantize(results[0][0], {"linear": {"weight": "symmetric", "input": "affine"}})
    layer = graph.model[0]
    found = zeroed(layer, X["input"])
    assert (found == 0).sum(1).tolist() == [8] * 5
    rounded = layer.quantizers.quantizer("input").fake(found, 8)
    assert (rounded[found == 0] == 0).all()
    prune(graph, 0.5)
    graph.model.train()(**X).sum().backward()
    assert graph.model[0].weight.grad is not None


def test_saved_restored_and_removed(tmp_path) -> None:
    model, before = net(), net()
    prune_activations(model, 0.5, inputs=X)
    torch.save(model.state_dict(), tmp_path / "pruned.pt")
    state = torch.load(tmp_path / "pruned.pt", weights_only=True)
    fresh = restore(net(), state)
    fresh.load_state_dict(state, strict=True)
    assert torch.equal(fresh(**X), model(**X)) and torch.equal(copy.deepcopy(fresh)(**X), model(**X))
    assert not torch.equal(model(**X), before(**X))
    assert remove(model) == ["0", "2"] and torch.equal(model(**X), before(**X))
    assert list(model.state_dict()) == list(before.state_dict())
    config = {"model": "jsc-tiny", "passes": {"prune_activations": {"granularity": "2:4"}}}
    done = transform(config, out=tmp_path / "run")
    assert torch.equal(load(tmp_path / "run").model(random(4, 16)), done.graph.model.eval()(random(4, 16)))


def test_kernels_of_attention_do_not_skip_it() -> None:
    make, inputs = MODELS["roberta"]
    model = make().eval()
    with torch.no_grad():
        expected = model(**inputs(2, 9))[0]
        prune_activations(model, 0.5, inputs=inputs(2, 9))
        found = model(**inputs(2, 9))[0]
        assert not torch.allclose(found, expected)
    with torch.inference_mode():
        torch.testing.assert_close(model(**inputs(2, 9))[0], found)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"sparsity": 1.5}, "sparsity: must be a share from 0 to 1"),
        ({"sparsity": 0.5, "method": "l2"}, "unknown method 'l2' in prune_activations"),
        ({"sparsity": 0.5, "granularity": "2:4"}, "leave sparsity away"),
        ({"granularity": "2:5"}, "'0' has 16 inputs, no multiple of 5"),
        ({"sparsity": 0.5, "granularity": "row"}, "is for weights; use element or n:m"),
        ({"sparsity": 0.5, "pattern": "relu"}, "none of the chosen modules is a Linear layer"),
        ({"sparsty": 0.5}, "unknown option 'sparsty' in prune_activations; did you mean 'sparsity'?"),
    ],
)
def test_errors_are_one_line_and_change_nothing(options: dict, line: str) -> None:
    model = net()
    with pytest.raises(ConfigError) as error:
        run_pass(trace(model, X), "prune_activations", options)
    assert line in str(error.value) and "\n" not in str(error.value)
    assert list(model.state_dict()) == list(net().state_dict())
