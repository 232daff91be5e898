"""Models of the package transformers, as they come: plan, training, files, evaluation. They are tiny and random."""

import copy
import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fairseq.quantization import quantize_model, remove_quantization

transformers = pytest.importorskip("transformers")

SIZES = {
    "bert": {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32},
    "distilbert": {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 32},
    "gpt2": {"n_embd": 16, "n_layer": 1, "n_head": 2, "bos_token_id": 1, "eos_token_id": 1},
}
SIZES["roberta"] = SIZES["bert"]
LAYERS = {"bert": 6, "roberta": 6, "distilbert": 6, "gpt2": 4}  # products with weights in the one layer
ATTENTIONS = {
    "eager": ["matmul", "matmul_1"],
    "sdpa": ["scaled_dot_product_attention.pv_matmul", "scaled_dot_product_attention.qk_matmul"],
}
KINDS = [(kind, attention) for kind in SIZES for attention in ATTENTIONS]


def build(kind: str, attention: str) -> nn.Module:
    torch.manual_seed(1)
    config = transformers.AutoConfig.for_model(kind, vocab_size=40, attn_implementation=attention, **SIZES[kind])
    auto = transformers.AutoModelForCausalLM if kind == "gpt2" else transformers.AutoModelForSequenceClassification
    model: nn.Module = auto.from_config(config, attn_implementation=attention)
    return model


@pytest.fixture
def batch() -> dict[str, Tensor]:
    tokens = torch.randint(4, 40, (4, 9))
    mask = torch.ones_like(tokens)
    mask[1, 6:] = 0
    return {"input_ids": tokens, "attention_mask": mask}


def labelled(kind: str, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**batch, "labels": batch["input_ids"] if kind == "gpt2" else torch.tensor([0, 1, 1, 0])}


def train(model: nn.Module, batch: dict[str, Tensor], steps: int = 6) -> list[float]:
    model.train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    optimizer, losses = torch.optim.Adam(model.parameters(), lr=5e-3), []
    for _ in range(steps):
        loss = model(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    model.quantization.end_update(model)
    return losses


@pytest.mark.parametrize("kind, attention", KINDS)
def test_plan_training_files_and_evaluation(
    kind: str, attention: str, batch: dict[str, Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    model = build(kind, attention)
    keys = list(model.state_dict())
    model = quantize_model(model, "int8", example_inputs=batch)
    products = {row.product for row in model.quantization.plan.active if row.product}
    found = sorted(path.partition("attn." if kind == "gpt2" else "attention.")[2] for path in products)
    found = [path.removeprefix("self.") for path in found]
    assert [path for path in found if "matmul" in path] == ATTENTIONS[attention]
    assert sum("layer" in path or ".h.0." in path for path in products) == LAYERS[kind] + 2

    losses = train(model, labelled(kind, batch))
    assert losses[-1] < 0.95 * losses[0] and "in full precision" not in caplog.text
    assert "not used" not in caplog.text
    model.eval()
    expected = model(**batch).logits
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    assert list(state) == keys
    again = quantize_model(build(kind, attention), "int8", example_inputs=batch).eval()
    again.load_state_dict(state, strict=True)
    assert torch.equal(again(**batch).logits, expected)
    plain = build(kind, attention).eval()
    plain.load_state_dict(state, strict=True)
    assert torch.equal(plain(**batch).logits, model(**batch, num_bits=0).logits)
    assert torch.equal(remove_quantization(model)(**batch).logits, plain(**batch).logits)


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_both_ways_of_attention_round_alike(kind: str, batch: dict[str, Tensor]) -> None:
    results = []
    for attention in ATTENTIONS:
        rules: list[Any] = [{"match": "*", "range": "minmax"}]
        model = quantize_model(build(kind, attention), "int4", example_inputs=batch, rules=rules).eval()
        results.append(model(**batch).logits[batch["attention_mask"].bool() if kind == "gpt2" else ...])
    torch.testing.assert_close(*results, atol=1e-5, rtol=1e-5)


def test_checkpointed_layers_and_generation(batch: dict[str, Tensor]) -> None:
    grads = []
    for saves in (False, True):
        model = quantize_model(build("bert", "sdpa"), "int8", example_inputs=batch)
        if saves:
            model.gradient_checkpointing_enable()
        train(model, labelled("bert", batch), steps=2)
        grads.append([parameter.grad for parameter in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))

    model = quantize_model(build("gpt2", "sdpa"), "int8", example_inputs=batch)
    train(model, labelled("gpt2", batch), steps=2)
    texts = [
        copy.deepcopy(model.eval()).generate(batch["input_ids"][:1], max_new_tokens=4, do_sample=False, use_cache=cache)
        for cache in (True, False)
    ]
    assert texts[0].shape[1] > batch["input_ids"].shape[1]
