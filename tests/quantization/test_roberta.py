"""The library on RoBERTa: every FLOP accounted for, strict loading both ways, off means off."""

import copy
from argparse import Namespace

import pytest
import torch
from torch import nn

from fairseq import models
from fairseq.quantization import Rule, quantize_model
from fairseq.quantization.analysis.gemm_trace import trace_gemms

SIZE = {
    "encoder_layers": 2,
    "encoder_embed_dim": 16,
    "encoder_ffn_embed_dim": 24,
    "encoder_attention_heads": 4,
    "dropout": 0.0,
    "attention_dropout": 0.0,
}


class Vocabulary:
    def __len__(self) -> int:
        return 34

    def pad(self) -> int:
        return 1


def roberta() -> nn.Module:
    task = Namespace(source_dictionary=Vocabulary(), max_positions=lambda: 20)
    model = models.build_model(Namespace(arch="roberta", **SIZE), task)
    model.register_classification_head("head", num_classes=3)
    return model


@pytest.fixture
def tokens() -> torch.Tensor:
    tokens = torch.randint(4, 34, (3, 9))
    tokens[0, 6:] = 1  # padding
    return tokens


def scores(model: nn.Module, tokens: torch.Tensor, **bits: int) -> torch.Tensor:
    return model(tokens, classification_head_name="head", **bits)[0]


@pytest.mark.parametrize("preset", ["cpt_4_8", "int8", "ffn16_mha4"])
@pytest.mark.parametrize("training", [True, False])
def test_every_flop(preset: str, training: bool, tokens: torch.Tensor) -> None:
    model = quantize_model(roberta(), preset)
    scores(model, tokens)
    model.train(training)
    with trace_gemms(model) as trace:
        y = scores(model, tokens, num_bits=4)
        if training:
            y.sum().backward()
    trace.check(model.quantization.plan)
    heads = {"classification_heads.head.dense", "classification_heads.head.out_proj"}
    assert set(trace.full_precision()) == heads
    assert len([gemm for gemm in trace.gemms if gemm.is_quantized]) == 2 * 8 * (3 if training else 1)


def test_language_model_head_is_listed(tokens: torch.Tensor) -> None:
    model = quantize_model(roberta(), "int8")
    with trace_gemms(model) as trace:
        model(tokens)[0].sum().backward()
    trace.check(model.quantization.plan)
    assert any("lm_head" in path for path in trace.full_precision())


def test_strict_both_ways(tokens: torch.Tensor) -> None:
    plain = roberta()
    model = quantize_model(copy.deepcopy(plain), "cpt_4_8")
    scores(model, tokens).sum().backward()
    for target, source in ((plain, model), (model, plain)):
        assert target.load_state_dict(source.state_dict(), strict=True)  # fairseq's own method
        assert target.state_dict().keys() == source.state_dict().keys()


def test_heads_and_embeddings_by_rule(tokens: torch.Tensor) -> None:
    """The vocabulary's product has a path although its weight is the embedding's."""
    names = [
        "encoder.lm_head.projection.*",
        "encoder.lm_head.dense.*",
        "classification_heads.*",
        "*.embed_tokens.weight",
        "*.embed_positions.weight",
    ]
    model = quantize_model(roberta(), "int8", rules=[{"match": name, "quantize": True} for name in names])
    keys = roberta().state_dict().keys()
    assert model.state_dict().keys() == keys
    with trace_gemms(model) as trace:
        for call in ({}, {"classification_head_name": "head"}):
            model(tokens, num_bits=5, **call)[0].sum().backward()
    trace.check(model.quantization.plan)
    assert not trace.full_precision()
    table = model.encoder.lm_head.weight
    rows = torch.arange(34)
    with model.quantization.context.call(3):
        assert not torch.equal(model.encoder.sentence_encoder.embed_tokens(rows), table)
    assert table is model.encoder.sentence_encoder.embed_tokens.weight
    positions = model.encoder.sentence_encoder.embed_positions
    assert positions.weight.grad.any()
    exact = positions.weight[2 : 2 + tokens.shape[1]]  # of a sentence without padding
    error = {bits: (positions(tokens[1:2], num_bits=bits)[0] - exact).abs().max() for bits in (2, 8)}
    assert 0 < error[8] < error[2] / 10


def test_none_is_the_float_model(tokens: torch.Tensor) -> None:
    plain = roberta()
    twin = quantize_model(copy.deepcopy(plain), "none")
    for model in (plain, twin):
        scores(model, tokens).square().sum().backward()
    assert all(
        torch.equal(a.grad, b.grad)
        for a, b in zip(plain.parameters(), twin.parameters(), strict=True)
        if a.grad is not None
    )


def test_bits_matter(tokens: torch.Tensor) -> None:
    plain = roberta()
    exact = scores(plain, tokens)
    model = quantize_model(copy.deepcopy(plain), "int8")
    errors = [float((scores(model, tokens, num_bits=bits) - exact).norm().detach()) for bits in (2, 4, 8, 12)]
    assert errors[0] > errors[1] > errors[2] > errors[3] > 0
    assert torch.allclose(scores(model, tokens, num_bits=0), exact, atol=1e-6)


@pytest.mark.parametrize("compute", ["simulate", "integer"])
@pytest.mark.parametrize("part", ["all", "attention", "ffn"])
def test_the_first_call_finds_nothing_that_the_plan_lacks(
    tokens: torch.Tensor, compute: str, part: str, caplog: pytest.LogCaptureFixture
) -> None:
    off = {"all": "*.no", "attention": "*.self_attn.*", "ffn": "*.fc[12].*"}[part]
    model = quantize_model(roberta(), "int8", compute=compute, rules=[Rule(off, quantize=False, optional=True)])
    rows = model.quantization.plan.rows
    model(tokens, features_only=True)[0].sum().backward()
    model.eval()(tokens, features_only=True)
    assert model.quantization.plan.rows == rows and not caplog.records
