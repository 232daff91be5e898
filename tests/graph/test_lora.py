"""LoRA: adapters beside weights that stay as they are, trained alone, saved and fused, against figures of peft."""

import copy
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from fairseq.errors import ConfigError
from fairseq.graph import fuse_lora, insert_lora, prune, quantize, restore, run_pass, trace
from fairseq.graph.adapters import Adapter, Settings, adapter_of, attach, named_adapters
from fairseq.graph.flops import count
from fairseq.graph.transforming import load, transform
from tests.graph.models import MODELS, encoder, random
from tests.models import small_roberta

PEFT = json.loads((Path(__file__).parents[1] / "fixtures" / "peft_lora.json").read_text())


class Mixed(nn.Module):
    """Every kind of layer that can have an adapter; with the weights of peft's run in `PEFT`."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.fc = nn.Embedding(10, 8, padding_idx=0), nn.Linear(8, 6)
        self.conv = nn.Conv1d(6, 4, 3, padding=1)
        self.head = nn.Linear(4, 3, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.fc(self.embed(tokens)).tanh()
        return self.head(self.conv(x.mT).mT.relu())


def mixed() -> nn.Module:
    model = Mixed()
    model.load_state_dict({key: torch.tensor(value) for key, value in PEFT["base"].items()})
    return model


def mlp() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 8))


def stir(model: nn.Module) -> nn.Module:
    """As after training: no adapter is zero."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for _, _, adapter in named_adapters(model):
            for parameter in (adapter.A, adapter.B):
                parameter.normal_(std=0.3, generator=generator)
    return model


def output(model: nn.Module, given: dict) -> torch.Tensor:
    with torch.no_grad():
        found = model(**given)
    return found[0] if isinstance(found, tuple) else found


X = {"input": random(4, 16)}


# --- peft -------------------------------------------------------------------------------------------------------------


def test_outputs_and_fused_weights_are_those_of_peft() -> None:
    """The same adapters give the same outputs, trained steps and fused weights; the file says how it was made."""
    model, tokens = mixed(), torch.tensor(PEFT["tokens"])
    insert_lora(model, ["embedding", "linear", "conv1d"], rank=4, alpha=6, inputs={"tokens": tokens})
    assert [path for path, _, _ in named_adapters(model)] == list(PEFT["sizes"])
    for path, _, adapter in named_adapters(model):
        assert sum(p.numel() for p in adapter.parameters()) == PEFT["sizes"][path]
        with torch.no_grad():
            adapter.A.copy_(torch.tensor(PEFT["adapters"][path]["A"]))
            adapter.B.copy_(torch.tensor(PEFT["adapters"][path]["B"]))
    torch.testing.assert_close(model(tokens), torch.tensor(PEFT["output"]))
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05)
    for loss in PEFT["losses"]:
        found = model(tokens).square().mean()
        assert found.item() == pytest.approx(loss, rel=1e-5)
        optimizer.zero_grad()
        found.backward()
        optimizer.step()
    torch.testing.assert_close(model(tokens), torch.tensor(PEFT["trained_output"]))
    fuse_lora(model, inputs={"tokens": tokens})
    assert list(model.state_dict()) == list(PEFT["base"])
    for key, value in PEFT["fused"].items():
        torch.testing.assert_close(model.state_dict()[key], torch.tensor(value))


def test_first_weights_are_of_pefts_kind() -> None:
    """A is uniform with peft's bound, B zero; for tables A is zero and B normal."""
    model = nn.ModuleDict({"fc": nn.Linear(400, 30), "table": nn.Embedding(300, 50)})
    fc, table = (attach(layer, Settings(16, 16.0), torch.Generator().manual_seed(0)) for layer in model.values())
    assert not fc.B.any() and fc.A.abs().max().item() == pytest.approx(PEFT["largest_of_400"], rel=0.01)
    assert fc.A.mean().abs() < 0.001 and not table.A.any() and table.B.std().item() == pytest.approx(1, abs=0.1)


def test_pefts_own_modules() -> None:
    """Where peft is installed: any input, both biases, transformers' Conv1D, and what the fixture's script writes."""
    peft = pytest.importorskip("peft")
    from transformers.pytorch_utils import Conv1D

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 6), Conv1D(5, 6))
    model[1].bias.data.normal_()
    theirs = peft.get_peft_model(
        copy.deepcopy(model), peft.LoraConfig(r=3, lora_alpha=7, target_modules=["0", "1"], lora_dropout=0.0)
    )
    graph, _ = insert_lora(model, rank=3, alpha=7, inputs={"input": random(4, 8)})
    stir(model)
    for index in ("0", "1"):
        layer = theirs.base_model.model.get_submodule(index)
        layer.lora_A["default"].weight.data.copy_(adapter_of(model[int(index)]).A)
        layer.lora_B["default"].weight.data.copy_(adapter_of(model[int(index)]).B)
    x = random(5, 8)
    torch.testing.assert_close(model(x), theirs(x))
    trained, _ = theirs.get_nb_trainable_parameters()
    assert trained == sum(p.numel() for p in model.parameters() if p.requires_grad)
    fuse_lora(graph)
    torch.testing.assert_close(model.state_dict()["1.weight"], theirs.merge_and_unload().state_dict()["1.weight"])


# --- the model stays the model ----------------------------------------------------------------------------------------


def images() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3, padding="same"))


@pytest.mark.parametrize("name", ["roberta", "images"])
def test_inserted_trained_and_fused(name: str) -> None:
    make, inputs = (images, lambda n, t: {"input": random(n, 3, t, t)}) if name == "images" else MODELS[name]
    model, given = make().eval(), inputs(2, 9)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    expected = output(model, given)
    graph, result = insert_lora(model, "conv2d" if name == "images" else "linear", rank=4, inputs=given)
    after = model.state_dict()
    assert [key for key in after if ".lora." not in key] == list(before)
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert torch.equal(output(model, given), expected)  # B is zero
    added = [p for _, _, adapter in named_adapters(model) for p in adapter.parameters()]
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == sum(p.numel() for p in added) < trained
    assert sorted(result.changed) == sorted(row["layer"] for row in result.details)
    assert all(row.after == f"{row.before} (lora: rank 4, alpha 8)" for row in result.rows if row.changed)

    model.train()
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=0.01)
    for _ in range(3):
        found = model(**given)
        (found[0] if isinstance(found, tuple) else found).square().mean().backward()
        optimizer.step()
    assert all(torch.equal(model.state_dict()[key], value) for key, value in before.items() if "running" not in key
               and "num_batches" not in key)  # fmt: skip
    unfused = output(model.eval(), given)
    assert not torch.allclose(unfused, expected, atol=1e-3)
    fuse_lora(graph)
    torch.testing.assert_close(output(model, given), unfused, rtol=1e-5, atol=1e-5)
    assert list(model.state_dict()) == list(before) and not list(named_adapters(model))
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == trained
    assert all(torch.equal(model.state_dict()[key], value) for key, value in before.items() if key.endswith("bias"))


def test_same_call_same_model_and_other_seed_another() -> None:
    models = mlp(), mlp(), mlp()
    options = {"pattern": "linear", "lora_alpha": 4, "rank": 2}
    given = copy.deepcopy(options)
    results = [
        run_pass(trace(model, X), "lora", {**options, "seed": seed})[1]
        for model, seed in zip(models, (1, 1, 2), strict=True)
    ]
    assert options == given and results[0] == results[1]
    first, second, third = (model.state_dict() for model in models)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["0.lora.A"], third["0.lora.A"])


def test_dropout_is_of_the_adapter_and_of_training() -> None:
    model = mlp().train()
    insert_lora(model, "0", by="name", rank=4, dropout=0.5, inputs=X)
    reference = stir(model)(**X)
    assert not torch.equal(reference, model(**X))  # drawn anew
    model.eval()
    assert torch.equal(model(**X), model(**X))
    fused = copy.deepcopy(model)
    fuse_lora(fused, inputs=X)
    torch.testing.assert_close(model(**X), fused(**X), rtol=1e-5, atol=1e-5)


def test_other_parameters_train_where_patterns_say_so() -> None:
    model = mlp()
    model[0].weight.requires_grad_(False)
    insert_lora(model, "0", by="name", trainable=["2.*", "re:0.bia."], inputs=X)
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert trained == ["0.bias", "0.lora.A", "0.lora.B", "2.weight", "2.bias"]
    fuse_lora(model, inputs=X)
    assert [name for name, p in model.named_parameters() if p.requires_grad] == ["0.bias", "2.weight", "2.bias"]


def test_saved_state_makes_the_same_model(tmp_path) -> None:
    model = mlp()
    insert_lora(model, rank=3, alpha=5, dropout=0.1, trainable=["*.bias"], inputs=X)
    stir(model).eval()
    torch.save(model.state_dict(), tmp_path / "model.pt")
    state = torch.load(tmp_path / "model.pt", weights_only=True)
    fresh = restore(mlp().half().float(), state)
    assert str(fresh.load_state_dict(state, strict=True)) == "<All keys matched successfully>"
    assert torch.equal(fresh.eval()(**X), model(**X)) and torch.equal(copy.deepcopy(fresh)(**X), model(**X))
    assert [p.requires_grad for p in fresh.parameters()] == [p.requires_grad for p in model.parameters()]
    assert adapter_of(fresh[0]).settings == adapter_of(model[0]).settings
    from safetensors.torch import load, save

    assert set(load(save(state))) == set(state)
    with pytest.raises(ConfigError, match="an adapter of '2', which the model does not have"):
        restore(nn.Sequential(nn.Linear(16, 12)), state)
    with pytest.raises(ConfigError, match="the state's adapter of '0'"):
        restore(nn.Sequential(nn.Linear(16, 11), nn.ReLU(), nn.Linear(11, 8)), state)


@pytest.mark.parametrize("quantized_first", [False, True])
def test_a_quantized_layer_rounds_its_weight_and_not_the_adapter(quantized_first: bool) -> None:
    model, config = mlp(), {"linear": {"weight": {"format": "symmetric", "bits": 4}}}
    graph = trace(model, X)
    steps = [lambda: quantize(graph, config), lambda: insert_lora(graph, rank=4)]
    for step in steps if quantized_first else reversed(steps):
        step()
    stir(graph.model)
    layer, x = graph.model[0], random(5, 16)
    _, inner = next((path, adapter) for path, _, adapter in named_adapters(graph.model))
    rounded = layer.quantizers.quantizer("weight").fake(layer.weight.detach(), 4)
    expected = nn.functional.linear(x, rounded, layer.bias) + x @ inner.A.t() @ inner.B.t() * inner.scale
    torch.testing.assert_close(layer(x, num_bits=8), expected)
    after, result = fuse_lora(trace(graph.model, X))
    assert len(result.notes) == 3 and "rounds the sum now" in result.notes[1]
    assert after.layer_types()["QLinear"] == 2
    reference = layer.quantizers.quantizer("weight").fake(layer.weight.detach(), 4)
    torch.testing.assert_close(layer(x, num_bits=8), nn.functional.linear(x, reference, layer.bias))


def test_kernels_that_skip_calls_do_not_skip_adapters() -> None:
    """In evaluation torch's encoder and our feed-forward layers have kernels of their own."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 24, batch_first=True), 1).train()
    for module in layer.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    x = {"src": random(2, 9, 16)}
    insert_lora(layer, r"layers\.\d\.linear\d", by="regex", inputs=x)
    stir(layer)
    for block in layer.layers:
        block.self_attn.dropout = 0.0
    trained = layer(**x)
    with torch.no_grad():
        torch.testing.assert_close(layer.eval()(**x), trained)
    model = small_roberta.build().eval()
    given = MODELS["roberta"][1](2, 9)
    graph, _ = quantize(model, {"linear": {"weight": "symmetric", "input": "symmetric"}}, inputs=given)
    graph, _ = insert_lora(graph, rank=4)
    before = output(model, given)
    stir(model)
    with torch.inference_mode():
        fast = model(**given)[0]
    assert not torch.allclose(fast, before, atol=1e-3)
    torch.testing.assert_close(fast, output(model, given))


def test_operations_of_adapters_are_counted() -> None:
    model = mlp()
    graph, _ = insert_lora(model, "0", by="name", rank=4, inputs=X)
    (cost,) = [row for row in count(graph) if row.name == "_0"]
    assert cost.macs == 4 * (16 * 12 + 16 * 4 + 4 * 12)


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"rank": 0}, "rank: must be a whole number from 1 on, got 0"),
        ({"alpha": -1}, "alpha: must be a number above 0, got -1"),
        ({"dropout": 1.0}, "dropout: must be a probability below 1, got 1.0"),
        ({"lora_alhpa": 2}, "unknown option 'lora_alhpa' in lora; did you mean 'lora_alpha'?"),
        ({"alpha": 1, "lora_alpha": 2}, "alpha is given twice"),
        ({"pattern": "relu"}, "'1', a ReLU, can have no adapter: adapters are for Linear"),
        ({"pattern": "linaer"}, "no module of type 'linaer' in Sequential; nearest is 'Linear'"),
        ({"trainable": ["2.wieght"]}, "trainable: '2.wieght' matches no parameter; the nearest name is '2.weight'"),
    ],
)
def test_errors_are_one_line_and_change_nothing(options: dict, line: str) -> None:
    model = mlp()
    graph = trace(model, X)
    with pytest.raises(ConfigError) as error:
        run_pass(graph, "lora", options)
    assert line in str(error.value) and "\n" not in str(error.value)
    assert list(model.state_dict()) == list(mlp().state_dict()) and all(p.requires_grad for p in model.parameters())


def test_what_cannot_be_adapted_or_fused_is_said() -> None:
    graph, result = insert_lora(encoder(), inputs={"src": random(2, 9, 16)})
    assert any("out_proj" in note and "uses its weight without calling it" in note for note in result.notes)
    with pytest.raises(ConfigError, match=r"'layers\.0\.linear1' has an adapter; fuse_lora first"):
        insert_lora(graph)
    with pytest.raises(ConfigError, match="has no adapters to fuse"):
        fuse_lora(mlp(), inputs=X)
    pruned = mlp()
    insert_lora(pruned, inputs=X)
    prune(pruned, 0.5, inputs=X)
    with pytest.raises(ConfigError, match="'0' is pruned, and its adapter is not"):
        fuse_lora(pruned, inputs=X)
    tied = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    tied[2].weight = tied[0].weight
    with pytest.raises(ConfigError, match="shares its weight with '2'"):
        insert_lora(tied, inputs={"input": random(2, 8)})
    graph, _ = insert_lora(tied, "0", by="name", inputs={"input": random(2, 8)})
    weight = tied[0].weight.clone()
    with pytest.raises(ConfigError, match="which fusing would change"):
        fuse_lora(graph)
    assert torch.equal(tied[0].weight, weight) and isinstance(tied[0].lora, Adapter)
    grouped = nn.Sequential(nn.Conv2d(4, 4, 3, groups=2))
    with pytest.raises(ConfigError, match="a convolution of 2 groups"):
        insert_lora(grouped, "conv2d", inputs={"input": random(2, 4, 6, 6)})


def test_one_file_inserts_trains_elsewhere_and_fuses(tmp_path) -> None:
    """A run folder has the adapters; weights from a training loop of one's own are loaded, fused and written."""
    lines = 'model = "jsc-tiny"', "[passes.lora]", "rank = 2", "lora_alpha = 3", "lora_dropout = 0.1"
    (tmp_path / "lora.toml").write_text("\n".join(lines))
    done = transform(tmp_path / "lora.toml", out=tmp_path / "adapted")
    again = load(tmp_path / "adapted")
    x = random(7, 16)
    assert adapter_of(again.model[2]).settings == Settings(2, 3.0, 0.1)
    assert torch.equal(again.model(x), done.graph.model.eval()(x))
    torch.save(stir(again.model).state_dict(), tmp_path / "trained.pt")
    expected = again.model(x)
    config = {"model": "jsc-tiny", "passes": {"fuse_lora_weights": {}}}
    fused = transform(config, load=str(tmp_path / "trained.pt"), out=tmp_path / "fused")
    torch.testing.assert_close(load(tmp_path / "fused").model(x), expected, rtol=1e-5, atol=1e-5)
    assert not list(named_adapters(fused.graph.model))
