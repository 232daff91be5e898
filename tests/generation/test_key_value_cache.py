"""Keys and values that are kept in 8 or 4 bits by rule: what a rule says, the numbers, their error, their memory."""

import pytest
import torch

from fairseq.errors import ConfigError
from fairseq.generation.ensemble import EnsembleModel
from fairseq.modules.attention import steps
from fairseq.quantization import quantize_model
from fairseq.quantization.kernels import step_attention
from fairseq.sequence_generator import SequenceGenerator
from tests.conformance import generation_models

WORDS = generation_models.dictionary()
SOURCES = torch.tensor([[5, 9, 30, 12, 7, 2], [1, 1, 20, 6, 33, 2], [14, 14, 27, 31, 10, 2]])
SAMPLE = {"net_input": {"src_tokens": SOURCES, "src_lengths": torch.tensor([6, 4, 6])}}
OFF = {"match": "*", "quantize": False}
# the largest change of a word's log-probability that is stated for these models, whose heads have 8 features
ERRORS = {8: 0.05, 4: 1.0}

needs_kernel = pytest.mark.skipif(not step_attention.is_available(), reason="no C++ compiler")


def model_with(kind, *rules, preset="int8", **options):
    model = quantize_model(generation_models.load(kind), preset, rules=list(rules), **options)
    batch = {**SAMPLE["net_input"], "prev_output_tokens": SOURCES.roll(1, dims=1)}
    if kind == "language":
        batch = {"src_tokens": batch["prev_output_tokens"]}
    model.quantization.calibrate(model, [batch])
    return model


def cache(bits):
    return {"match": "*.cache", "bits": bits}


def generate(model, **options):
    generator = SequenceGenerator([model], WORDS, **{"beam_size": 4, "max_len_b": 12, **options})
    return generator.generate([model], SAMPLE)


def scores(model, tokens):
    """Log-probabilities (T, V) step by step, of three hypotheses that begin alike."""
    with torch.no_grad():
        net = SAMPLE["net_input"]
        out = model.encoder(**net) if hasattr(model, "encoder") else None
        state = EnsembleModel([model]).empty_states()[0]
        kwargs = {} if out is None else {"encoder_out": out}
        found = [
            model.decoder(tokens[:, : length + 1], incremental_state=state, **kwargs)[0].log_softmax(-1)
            for length in range(tokens.size(1))
        ]
    return torch.cat(found, dim=1), state


# --- rules ----------------------------------------------------------------------------------------------------------


def test_a_rule_turns_it_on(caplog):
    model = model_with("forward", OFF, {"match": "decoder.*.self_attn.cache", "bits": 4})
    rows = {row.quantizer: row for row in model.quantization.plan.rows if row.role == "cache"}
    assert sorted(rows) == [f"decoder.layers.{layer}.self_attn.cache" for layer in range(2)]
    assert rows["decoder.layers.0.self_attn.cache"].cells()["bits"] == "4, pinned"
    layer = model.decoder.layers[0]
    assert layer.self_attn.cache.bits() == 4 and layer.encoder_attn.cache.bits() is None
    assert "not used" not in caplog.text
    with model.quantization.context.full_precision():
        assert layer.self_attn.cache.bits() is None


def test_wider_rules_do_not():
    model = model_with("forward", {"match": "*", "bits": 4})
    assert not [row for row in model.quantization.plan.rows if row.role == "cache"]
    assert model.decoder.layers[0].self_attn.cache.bits() is None


@pytest.mark.parametrize(
    "rule, message",
    [
        ({"bits": 16}, "kept keys and values have 8 or 4 bits, not 16"),
        ({"quantize": True}, "kept keys and values have 8 or 4 bits, not follow"),
        ({"bits": 8, "format": "symmetric"}, "format has no effect on 'decoder.layers.0.self_attn.cache'"),
    ],
)
def test_rules_that_cannot_be_followed(rule, message):
    with pytest.raises(ConfigError, match=message):
        quantize_model(generation_models.load("forward"), "int8", rules=[{"match": "*.cache", **rule}])


def test_removing_quantization_removes_it():
    model = model_with("language", OFF, cache(8))
    model = quantize_model(model, "none")
    assert model.decoder.layers[0].self_attn.cache.bits() is None


# --- numbers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["forward", "language"])
@pytest.mark.parametrize("bits", [8, 4])
def test_the_error_is_as_stated(kind, bits):
    tokens = torch.tensor([[2, 9, 31, 7, 8, 12], [2, 9, 31, 4, 5, 6], [2, 9, 30, 10, 11, 12]])
    exact, _ = scores(generation_models.load(kind), tokens)
    none, _ = scores(model_with(kind, OFF, cache(0), {"match": "*.fc1.weight", "bits": 16}), tokens)
    found, _ = scores(model_with(kind, OFF, cache(bits)), tokens)
    error = (found - exact).abs()[exact > -5].max()
    assert 0 < error < ERRORS[bits]
    torch.testing.assert_close(none, exact, atol=1e-2, rtol=0)  # 16 bits of one weight, so that there is a plan


@needs_kernel
@pytest.mark.parametrize("kind", ["forward", "language"])
@pytest.mark.parametrize("rules", [[OFF, cache(8)], [OFF, cache(4)], [cache(8)]], ids=["8", "4", "int8 and 8"])
def test_beams_are_those_of_the_ordinary_way(kind, rules, monkeypatch):
    """Codes in place give what rounded numbers give that are moved about."""
    model = model_with(kind, *rules, compute="integer")
    ordinary = generate(model)
    monkeypatch.setattr(steps, "MIN_CHANNELS", 1)
    for sentence, other in zip(generate(model), ordinary, strict=True):
        for a, b in zip(sentence, other, strict=True):
            assert a["tokens"].tolist() == b["tokens"].tolist()
            torch.testing.assert_close(a["positional_scores"], b["positional_scores"], atol=1e-4, rtol=1e-4)


@needs_kernel
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("depth", [3, 16, 40, 300])
def test_records_hold_what_the_quantizer_gives(bits, depth):
    model = model_with("language", OFF, cache(bits))
    torch.manual_seed(1)
    x = torch.randn(5, 3, depth) * torch.tensor([1e-3, 1.0, 1e3]).view(1, 3, 1)
    x[0, 0] = 7.0
    rounded = model.decoder.layers[0].self_attn.cache.rounded(x)
    back = step_attention.decode_heads(step_attention.encode_heads(x, bits), bits, depth)
    torch.testing.assert_close(back, rounded, atol=0, rtol=3e-7)


@needs_kernel
@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
def test_what_has_no_codes_is_not_hidden(broken):
    x = torch.zeros(2, 1, 16)
    x[0, 0, 3] = broken
    back = step_attention.decode_heads(step_attention.encode_heads(x, 8), 8, 16)
    assert back[0].isnan().all() and back[1].equal(x[1])


# --- memory ---------------------------------------------------------------------------------------------------------


@needs_kernel
@pytest.mark.parametrize("bits, per_head", [(None, 32), (8, 16), (4, 24)])  # of 8 features; 4 bits fill 16 bytes
def test_bytes_that_are_kept(bits, per_head, monkeypatch):
    monkeypatch.setattr(steps, "MIN_CHANNELS", 1)
    model = generation_models.load("forward") if bits is None else model_with("forward", OFF, cache(bits))
    generator = SequenceGenerator([model], WORDS, beam_size=4, max_len_b=5, min_len=5)
    generator.generate([model], SAMPLE)
    own, source = 2 * 6 * 12, 2 * 6 * 3  # keys and values of 6 steps and 12 rows, of 6 source positions and 3 sentences
    assert generator.kept_bytes == 2 * (own + source) * 2 * per_head  # layers, heads
