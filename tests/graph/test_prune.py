"""Pruning: exact counts against torch.nn.utils.prune, masks that are saved and hold, zeros that stay zero."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import prune as torch_prune

from fairseq.errors import ConfigError
from fairseq.graph import prune, quantize, restore, run_pass, trace
from fairseq.graph.masks import broken_masks, named_masks
from fairseq.graph.passes.importance import lowest
from fairseq.graph.passes.prune import Movement, remove
from fairseq.quantization.plan.targets import find_targets
from tests.graph.models import MODELS, encoder, random


def mlp() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 8))


def zeros(model: nn.Module) -> list[int]:
    return [int((~mask).count_nonzero()) for mask in named_masks(model).values()]


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 3) -> None:
    model.train()
    for step in range(steps):
        optimizer.zero_grad()
        model(random(8 + step, 16)).square().sum().backward()
        optimizer.step()


X = random(4, 16)


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 0.99, 1.0])
def test_masks_are_those_of_torch(sparsity: float) -> None:
    model, theirs = mlp(), mlp()
    prune(model, sparsity, inputs=X)
    for index in ("0", "2"):
        torch_prune.l1_unstructured(theirs.get_submodule(index), "weight", sparsity)
        mask = theirs.get_submodule(index).weight_mask
        assert torch.equal(model.get_buffer(f"{index}.weight_mask"), mask.bool())
    assert torch.equal(model(X), theirs(X)) and zeros(model) == [round(sparsity * 192), round(sparsity * 96)]


def test_global_masks_and_rows_are_those_of_torch() -> None:
    model, theirs, rows = mlp(), mlp(), mlp()
    prune(model, 0.4, scope="global", inputs=X)
    torch_prune.global_unstructured(
        [(theirs[0], "weight"), (theirs[2], "weight")], torch_prune.L1Unstructured, amount=0.4
    )
    assert sum(zeros(model)) == round(0.4 * 288) and torch.equal(model(X), theirs(X))
    theirs = mlp()
    prune(rows, {"0": 0.25, "2": 0.5}, by="name", granularity="row", inputs=X)
    torch_prune.ln_structured(theirs[0], "weight", 0.25, n=1, dim=0)
    torch_prune.ln_structured(theirs[2], "weight", 0.5, n=1, dim=0)
    assert torch.equal(rows(X), theirs(X)) and zeros(rows) == [3 * 16, 4 * 12]


def test_ties_are_settled_by_order_and_size_has_no_limit() -> None:
    model = mlp()
    with torch.no_grad():
        model[0].weight.fill_(0.5)
    prune(model, 0.3, "0", by="name", inputs=X)
    assert torch.equal(named_masks(model)["0.weight"].view(-1).logical_not().nonzero().view(-1), torch.arange(58))
    scores = torch.arange(2**24 + 8, dtype=torch.int32).remainder_(1000).float()  # torch.quantile ends at 2^24
    assert int(lowest(scores, 9_000_001).count_nonzero()) == 9_000_001


def test_n_of_m_and_random() -> None:
    model = nn.Sequential(nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(4, 8))
    prune(model, granularity="2:4", inputs=random(2, 8, 3, 3))
    kept = named_masks(model)["0.weight"].movedim(1, -1).reshape(-1, 4)
    assert (kept.sum(1) == 2).all() and broken_masks(model) == []
    models = mlp(), mlp(), mlp()
    for each, seed in zip(models, (5, 5, 6), strict=True):
        prune(each, 0.5, method="random", seed=seed, inputs=X)
    first, second, third = ([*named_masks(each).values()] for each in models)
    assert all(map(torch.equal, first, second)) and not all(map(torch.equal, first, third))
    assert zeros(models[0]) == [96, 48]


@pytest.mark.parametrize(("name", "kind"), [("roberta", "MultiheadAttention"), ("encoder", "multiheadattention")])
def test_a_pruned_head_has_no_part_in_the_output(name: str, kind: str) -> None:
    make, inputs = MODELS[name]
    model = make().eval()
    _, result = prune(model, 0.5, kind, granularity="head", inputs=inputs(2, 9))
    for row in result.details:
        assert row["pruned"] * 2 == row["units"]
    with torch.no_grad():
        expected = model(**inputs(2, 9))
        for path in named_masks(model):
            if "q_proj" in path or "v_proj" in path or "in_proj" in path:
                owner, _, weight = path.rpartition(".")
                remove_part = model.get_submodule(owner)._buffers.pop(f"{weight}_mask")
                model.get_parameter(path)[~remove_part] = 3.0  # what the head computes no longer matters
        found = model(**inputs(2, 9))
    expected, found = (value[0] if isinstance(value, tuple) else value for value in (expected, found))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("quantized_first", [False, True])
@pytest.mark.parametrize("number_format", ["symmetric", "affine", "fixed_point", "fp8_e4m3", "mxfp8", "ternary", "log"])
def test_zeros_stay_zero_through_quantization_and_training(number_format: str, quantized_first: bool) -> None:
    """Also with momentum and weight decay from before; both orders have the same masks."""
    model = mlp().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    train(model, optimizer)
    reference = copy.deepcopy(model)
    torch_prune.l1_unstructured(reference[0], "weight", 0.6)  # of the weights as they are now
    config, graph = {"linear": {"weight": number_format}}, trace(model, X)
    if quantized_first:
        quantize(graph, config)
    prune(graph, 0.6)
    if not quantized_first:
        quantize(graph, config)
    assert torch.equal(named_masks(model)["0.weight"], reference[0].weight_mask.bool())
    train(model, optimizer)
    state = model.state_dict()
    found = [(target.path, *pair) for target in find_targets(model) for pair in target.weights()]
    assert len(found) == 2
    for path, quantizer, weight in found:
        mask = state[f"{path}.weight_mask"]
        rounded = quantizer.fake(weight.detach(), 2 if number_format == "ternary" else 8)
        assert not state[f"{path}.weight"][~mask].any() and not rounded[~mask].any() and rounded[mask].any()
    assert broken_masks(model) == []


def test_a_quantized_layer_sees_at_once_that_it_is_pruned() -> None:
    """In evaluation it keeps its rounded weight until the weight changes."""
    model = mlp().eval()
    graph, _ = quantize(model, {"linear": {"weight": {"format": "symmetric", "bits": 8}}}, inputs=X)
    with torch.no_grad():
        before = model(X)
        prune(graph, 0.5)
        found = model(X)
        assert not torch.equal(found, before) and torch.equal(found, copy.deepcopy(model)(X))


def test_training_is_that_of_torch() -> None:
    model, theirs = mlp(), mlp()
    prune(model, 0.5, inputs=X)
    for index in (0, 2):
        torch_prune.l1_unstructured(theirs[index], "weight", 0.5)
    train(model, torch.optim.SGD(model.parameters(), lr=0.01))
    train(theirs, torch.optim.SGD(theirs.parameters(), lr=0.01))
    torch.testing.assert_close(model(X), theirs(X))


def test_masks_are_saved_copied_and_removed(tmp_path) -> None:
    model = mlp()
    prune(model, 0.5, inputs=X)
    assert {"0.weight", "0.weight_mask"} <= set(model.state_dict())
    torch.save(model.state_dict(), tmp_path / "pruned.pt")
    state = torch.load(tmp_path / "pruned.pt", weights_only=True)
    fresh = mlp()
    assert restore(fresh, state).load_state_dict(state, strict=True) and torch.equal(fresh(X), model(X))
    for each in (fresh, copy.deepcopy(model)):
        train(each, torch.optim.SGD(each.parameters(), lr=0.1, weight_decay=0.1))
        assert broken_masks(each) == [] and zeros(each) == [96, 48]
    expected = model(X)
    assert remove(model) == ["0.weight", "2.weight"] and set(model.state_dict()) == set(mlp().state_dict())
    assert torch.equal(model(X), expected) and int((model[0].weight == 0).sum()) == 96
    train(model, torch.optim.SGD(model.parameters(), lr=0.1))
    assert (model[0].weight != 0).sum() > 100
    with pytest.raises(ConfigError, match=r"'0\.weight'"):
        restore(nn.Sequential(nn.Linear(3, 3)), state)


def test_pruning_again_adds_and_movement_follows_training() -> None:
    model = mlp()
    graph, _ = prune(model, 0.25, inputs=X)
    first = named_masks(model)["0.weight"].clone()
    graph, result = run_pass(
        graph,
        "prune",
        {"weight": {"scope": "local", "granularity": "elementwise", "method": "random", "sparsity": 0.5}},
    )
    assert zeros(model) == [96, 48] and not (named_masks(model)["0.weight"] & ~first).any()
    assert result.changed == ["0", "2"] and result.rows[0].after == "Linear (weight: 96 of 192 pruned)"
    with pytest.raises(ConfigError, match="96 of 192 units are pruned already"):
        prune(graph, 0.25)
    other = mlp()
    movement = Movement(other)
    other(X).square().sum().backward()
    movement.add()
    expected = -(other[0].weight * other[0].weight.grad)
    prune(other, 0.5, "0", by="name", method="movement", scores=movement.scores, inputs=X)
    mask = named_masks(other)["0.weight"]
    assert expected[~mask].max() <= expected[mask].min() and zeros(other) == [96]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"sparsity": 1.5}, "sparsity: must be a share from 0 to 1, got 1.5"),
        ({"sparsity": 0.5, "method": "l2"}, "unknown method 'l2' in prune"),
        ({"sparsity": 0.5, "granularity": "rows"}, "unknown granularity 'rows' in prune; did you mean 'row'?"),
        ({"granularity": "4:2"}, "n must be less than m"),
        ({"granularity": "2:5"}, "has 16 inputs, no multiple of 5"),
        ({"sparsity": 0.25, "granularity": "2:4"}, "leave sparsity away"),
        ({"sparsity": 0.5, "pattern": "conv2d"}, "no module of type 'conv2d'"),
        ({"sparsity": 0.5, "pattern": "relu"}, "has a weight of two axes"),
        ({"sparsity": 0.5, "granularity": "head"}, "an attention whose heads are known"),
        ({"sparsity": 0.5, "method": "movement"}, "needs scores"),
        ({"sparsty": 0.5}, "unknown option 'sparsty' in prune; did you mean 'sparsity'?"),
    ],
)
def test_errors_are_one_line_and_change_nothing(options: dict, line: str) -> None:
    graph = trace(mlp(), X)
    with pytest.raises(ConfigError) as error:
        run_pass(graph, "prune", options)
    assert line in str(error.value) and not named_masks(graph.model)


def test_tied_weights_stay_tied_and_attention_keeps_its_masks() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    model[2].weight = model[0].weight
    prune(model, 0.5, inputs=random(2, 8))
    assert model[2].weight is model[0].weight and zeros(model) == [32]
    attention = encoder().train()
    prune(attention, 0.5, "MultiheadAttention", inputs={"src": random(2, 9, 16)})
    optimizer = torch.optim.SGD(attention.parameters(), lr=0.1, momentum=0.9)
    for _ in range(2):
        attention(random(2, 9, 16)).square().sum().backward()
        optimizer.step()
    attention(random(2, 9, 16))
    assert broken_masks(attention) == [] and len(zeros(attention)) == 4
