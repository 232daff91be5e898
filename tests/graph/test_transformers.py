"""Graphs of transformers' models: every layer is a node of its own, in both kinds of attention."""

import json

import pytest
import torch

from fairseq.errors import ConfigError
from fairseq.graph import prune, trace
from fairseq.graph.diff import diff
from fairseq.graph.equality import difference
from fairseq.graph.sources import load_model, make_inputs
from tests.graph.products import exported_products, products

transformers = pytest.importorskip("transformers")

SIZE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, "vocab_size": 40}
GPT2 = {
    "n_embd": 16,
    "n_layer": 2,
    "n_head": 2,
    "vocab_size": 40,
    "n_positions": 32,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
DISTIL = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24, "vocab_size": 40}
MODELS = {  # nodes that are modules, Linears among them
    "BertForSequenceClassification": (transformers.BertConfig, SIZE, 14),
    "RobertaForSequenceClassification": (transformers.RobertaConfig, SIZE, 14),
    "DistilBertForSequenceClassification": (transformers.DistilBertConfig, DISTIL, 14),
    "GPT2LMHeadModel": (transformers.GPT2Config, GPT2, 9),
}


def build(name: str, attention: str = "eager"):
    config, size, _ = MODELS[name]
    torch.manual_seed(0)
    return getattr(transformers, name)(config(**size, attn_implementation=attention, use_cache=False)).eval()


def inputs(batch: int = 2, length: int = 11):
    tokens = torch.randint(3, 40, (batch, length), generator=torch.Generator().manual_seed(0))
    return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", MODELS)
def test_every_layer_is_a_node(name: str, attention: str, training: bool) -> None:
    model = build(name, attention).train(training)
    graph = trace(model, inputs())  # compares graph and model at two sizes
    types = graph.layer_types()
    assert types.get("Linear", 0) + types.get("Conv1D", 0) == MODELS[name][2]
    assert list(graph.module.state_dict()) == list(model.state_dict())


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", MODELS)
def test_no_product_is_missed(name: str, attention: str) -> None:
    """As many as torch.export has operators for them."""
    model = build(name, attention)
    layers = 2 * (1 if attention == "sdpa" else 2)  # attention: one product or two
    assert products(trace(model, inputs())) == exported_products(model, inputs()) == MODELS[name][2] + layers


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("name", MODELS)
def test_graph_equals_model_at_three_sizes(name: str, training: bool) -> None:
    """Bit for bit, in training with the same dropout."""
    model = build(name).train(training)
    graph = trace(model, inputs())
    for sizes in ((2, 11), (5, 4), (3, 17)):
        found = []
        for function in (model, graph):
            torch.manual_seed(4)
            with torch.no_grad():
                found.append(dict(function(**inputs(*sizes))))
        assert difference(*found) is None, sizes


def test_inputs_decide_what_is_in_the_graph() -> None:
    model = build("BertForSequenceClassification")
    ids, labels = {"input_ids": inputs()["input_ids"]}, {"labels": torch.tensor([0, 1])}
    bare, masked, loss = (trace(model, given) for given in (ids, inputs(), inputs() | labels))
    assert len(bare.nodes) < len(masked.nodes) < len(loss.nodes)
    assert "cross_entropy" in {info.type for info in loss.nodes} - {info.type for info in masked.nodes}
    gone = [row for row in diff(loss, bare) if row.after is None]
    assert "cross_entropy" in {row.before for row in gone}


def test_a_folder(tmp_path) -> None:
    build("GPT2LMHeadModel").save_pretrained(tmp_path)
    model = load_model(str(tmp_path))
    assert trace(model, make_inputs(model, [])).layer_types()["Conv1D"] == 8
    description = json.loads((tmp_path / "config.json").read_text())
    assert description["architectures"] == ["GPT2LMHeadModel"]


def with_cache():
    """What a user's file makes: a model that gives a cache unless told otherwise."""
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**GPT2))


def test_a_model_that_gives_its_cache() -> None:
    model = with_cache().eval()
    with pytest.raises(
        ConfigError, match=r"DynamicCache, which a graph cannot hold; set model.config.use_cache = False"
    ):
        trace(model, inputs())
    model = load_model(f"{__name__}:with_cache")
    assert trace(model, make_inputs(model, [])).layer_types()["Conv1D"] == 8


HEADS = {
    "BertForSequenceClassification": "BertSelfAttention",
    "RobertaForSequenceClassification": "RobertaSelfAttention",
    "DistilBertForSequenceClassification": "distilbert\\.transformer\\.layer\\.\\d\\.attention",
    "GPT2LMHeadModel": "GPT2Attention",
}


@pytest.mark.parametrize("name", MODELS)
def test_heads_are_pruned(name: str) -> None:
    """A pruned head has no part in the output: what its projections compute does not matter."""
    model, given = build(name), inputs()
    by = "regex" if "\\" in HEADS[name] else "type"
    _, result = prune(model, 0.5, HEADS[name], by=by, granularity="head", inputs=given)
    assert all(row["pruned"] * 2 == row["units"] for row in result.details)
    assert len(result.details) == (4 if name == "GPT2LMHeadModel" else 8)
    with torch.no_grad():
        expected = model(**given)[0]
        for row in result.details:
            if not row["weight"].endswith(("dense.weight", "out_lin.weight", "c_proj.weight")):
                path, _, weight = row["weight"].rpartition(".")
                mask = model.get_submodule(path)._buffers.pop(f"{weight}_mask")
                model.get_parameter(row["weight"])[~mask] = 3.0
        torch.testing.assert_close(model(**given)[0], expected)


def test_rows_of_a_transposed_weight_are_its_outputs() -> None:
    model, given = build("GPT2LMHeadModel"), inputs()
    prune(model, {"transformer.h.0.mlp.c_fc": 0.5}, by="name", granularity="row", inputs=given)
    mask = model.transformer.h[0].mlp.c_fc.weight_mask  # (in, out)
    assert (mask.sum(0) % 16 == 0).all() and int(mask[0].sum()) * 2 == mask.shape[1]
    prune(model, granularity="2:4", pattern="transformer.h.1.mlp.c_fc", by="name", inputs=given)
    mask = model.transformer.h[1].mlp.c_fc.weight_mask
    assert (mask.reshape(-1, 4, mask.shape[1]).sum(1) == 2).all()
