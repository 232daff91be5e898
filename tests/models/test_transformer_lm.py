"""Language models at every precision, decoded step by step, copied, and what they refuse."""

import copy
import pickle
from types import SimpleNamespace

import pytest
import torch

from fairseq.criterions.adaptive_loss import AdaptiveLoss
from fairseq.criterions.cross_entropy import CrossEntropyCriterion
from fairseq.data import Dictionary
from fairseq.dataclass.catalog import SIZES
from fairseq.errors import ConfigError
from fairseq.models import ARCH_CONFIG_REGISTRY
from fairseq.models.transformer_lm import TransformerLanguageModel, TransformerLanguageModelConfig
from fairseq.quantization import PRESETS, quantize_model

SMALL = dict(
    decoder_layers=2, decoder_embed_dim=32, decoder_input_dim=32, decoder_output_dim=32, decoder_ffn_embed_dim=32,
    decoder_attention_heads=2, dropout=0.0, tokens_per_sample=32, decoder_normalize_before=True,
)  # fmt: skip
OUTPUTS = {
    "own": {},
    "tied": {"share_decoder_input_output_embed": True},
    "adaptive": {"adaptive_softmax_cutoff": "10,20"},
    "adaptive tied": dict(
        adaptive_softmax_cutoff="10,20", adaptive_input=True, adaptive_input_cutoff="10,20", tie_adaptive_weights=True,
        tie_adaptive_proj=True,
    ),
    "characters": {"character_embeddings": True, "character_filters": "[(1, 8), (2, 8)]"},
}  # fmt: skip
TOKENS = torch.tensor([[2, 5, 9, 30, 21, 14], [2, 33, 12, 4, 8, 25]])


@pytest.fixture
def dictionary():
    result = Dictionary()
    for index in range(30):
        result.add_symbol(f"w{index}")
    return result


def build(dictionary, **settings):
    torch.manual_seed(1)
    config = TransformerLanguageModelConfig(**{**SMALL, **settings})
    config.add_bos_token, config.max_target_positions = False, None
    task = SimpleNamespace(source_dictionary=dictionary, target_dictionary=dictionary)
    return TransformerLanguageModel.build_model(config, task)


def criterion_for(model, dictionary):
    task = SimpleNamespace(target_dictionary=dictionary)
    kind = CrossEntropyCriterion if model.decoder.adaptive_softmax is None else AdaptiveLoss
    return kind(task, False)


def sample():
    return {"net_input": {"src_tokens": TOKENS}, "target": TOKENS.roll(-1, 1), "ntokens": TOKENS.numel()}


def trained(model, dictionary, updates=12):
    """Losses of a few updates."""
    criterion = criterion_for(model, dictionary)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for update in range(updates):
        if getattr(model, "quantization", None) is not None:
            model.quantization.begin_micro_batch(update)
        optimizer.zero_grad()
        loss, _, _ = criterion(model, sample())
        loss.sum().backward()
        optimizer.step()
        if getattr(model, "quantization", None) is not None:
            model.quantization.end_update(model)
        losses.append(float(loss.detach().sum()))
    return losses


class TestPrecision:
    @pytest.mark.parametrize("preset", [name for name in PRESETS if name != "none"])
    def test_every_preset_trains_and_evaluates(self, dictionary, preset):
        model = quantize_model(build(dictionary, **OUTPUTS["adaptive tied"]), preset)
        losses = trained(model, dictionary, updates=6)
        assert all(loss == loss for loss in losses) and losses[-1] < losses[0]
        model.eval()
        log_probs = model.get_normalized_probs(model(TOKENS), log_probs=True)
        torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(TOKENS.shape))

    @pytest.mark.parametrize("output", OUTPUTS)
    @pytest.mark.parametrize("preset, compute", [("int8", "integer"), ("cpt_4_8", "simulate")])
    def test_every_output_layer(self, dictionary, output, preset, compute):
        model = quantize_model(build(dictionary, **OUTPUTS[output]), preset, compute=compute)
        losses = trained(model, dictionary)
        assert losses[-1] < 0.9 * losses[0]

    @pytest.mark.parametrize("compute", ["simulate", "integer"])
    def test_a_rule_quantizes_heads_and_projections_too(self, dictionary, compute, caplog):
        rules = [
            {"match": "decoder.adaptive_softmax.*", "bits": 8},
            {"match": "decoder.embed_tokens.embeddings.*.1.*", "bits": 8},
        ]
        exact = build(dictionary, **OUTPUTS["adaptive tied"])
        model = quantize_model(copy.deepcopy(exact), "int8", rules=rules, compute=compute)
        active = {row.quantizer.rpartition(".")[0] for row in model.quantization.plan.active}
        assert {"decoder.adaptive_softmax.head.class_proj", "decoder.adaptive_softmax.tail.1.0"} <= active
        assert {"decoder.adaptive_softmax.head.word_proj", "decoder.embed_tokens.embeddings.2.1"} <= active
        criterion = criterion_for(model, dictionary)
        expected, found = (float(criterion(each.train(), sample())[0].detach()) for each in (exact, model))
        assert found != expected and found == pytest.approx(expected, rel=0.05)
        assert "not used in the first call" not in caplog.text
        losses = trained(model, dictionary)
        assert losses[-1] < 0.9 * losses[0]

    def test_presets_keep_heads_in_full_precision(self, dictionary):
        model = quantize_model(build(dictionary, **OUTPUTS["adaptive tied"]), "int4")
        active = " ".join(row.quantizer for row in model.quantization.plan.active)
        assert "adaptive_softmax" not in active and "embed_tokens" not in active and "fc1" in active

    def test_ties_hold_after_quantizing_and_training(self, dictionary):
        model = quantize_model(build(dictionary, **OUTPUTS["adaptive tied"]), "int8")
        trained(model, dictionary, updates=2)
        softmax, embed = model.decoder.adaptive_softmax, model.decoder.embed_tokens
        assert softmax.tail[1][0].weight is embed.embeddings[2][1].weight
        assert softmax.head.word_proj.weight is embed.embeddings[0][0].weight


def test_bands_without_words(dictionary):
    """A batch of rare words alone, or of none, has nothing to quantize in the other bands."""
    model = quantize_model(build(dictionary, **OUTPUTS["adaptive tied"]), "int8", rules=[{"match": "*", "bits": 8}])
    embed = model.decoder.embed_tokens
    assert embed(torch.tensor([[30, 31]])).shape == (1, 2, 32)
    assert embed(torch.empty(2, 0, dtype=torch.long)).shape == (2, 0, 32)


class TestIncremental:
    @pytest.mark.parametrize("output", OUTPUTS)
    @pytest.mark.parametrize("preset", ["none", "w8"])
    def test_equals_full_recomputation(self, dictionary, output, preset):
        model = build(dictionary, **OUTPUTS[output])
        if preset != "none":
            model = quantize_model(model, preset)
        model.eval()
        state = {}
        with torch.no_grad():
            whole = model.get_normalized_probs(model(TOKENS), log_probs=True)
            for length in range(1, TOKENS.size(1) + 1):
                step = model(TOKENS[:, :length], incremental_state=state)
                last = model.get_normalized_probs(step, log_probs=True)[:, -1]
                torch.testing.assert_close(last, whole[:, length - 1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("preset", ["none", "int8"])
def test_copies(dictionary, output, preset):
    model = build(dictionary, **OUTPUTS[output])
    if preset != "none":
        model = quantize_model(model, preset)
        trained(model, dictionary, updates=1)
    model.eval()
    with torch.no_grad():
        expected = model.get_normalized_probs(model(TOKENS), log_probs=True)
        for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert torch.equal(twin.get_normalized_probs(twin(TOKENS), log_probs=True), expected)
            assert len({id(p) for p in twin.parameters()}) == len({id(p) for p in model.parameters()})


@pytest.mark.parametrize("output", OUTPUTS)
def test_exported_graphs_give_the_same_scores(dictionary, output):
    model = build(dictionary, **OUTPUTS[output]).eval()
    graph = torch.export.export(model, (TOKENS,)).module()
    other = TOKENS.flip(1)
    torch.testing.assert_close(graph(other)[0], model(other)[0])


class TestRefusals:
    @pytest.mark.parametrize(
        "settings, message",
        [
            (dict(tie_adaptive_weights=True), "needs adaptive_input and adaptive_softmax_cutoff"),
            (dict(OUTPUTS["adaptive tied"], adaptive_input_cutoff="10,22"), "adaptive_input_cutoff and adaptive_soft"),
            (dict(OUTPUTS["adaptive tied"], decoder_input_dim=16), "decoder_input_dim and decoder_output_dim"),
            (dict(adaptive_input=True), "needs adaptive_input_cutoff"),
            (dict(adaptive_softmax_cutoff="10,90"), "do not fit a dictionary of 34"),
            (dict(adaptive_softmax_cutoff="20,10"), "have to grow"),
            (dict(adaptive_softmax_cutoff="8,9,10,11", adaptive_softmax_factor=8.0), "give fewer cutoffs"),
            (dict(character_embeddings=True, character_filters="[1, 2]"), "is not a list of"),
            (dict(character_embeddings=True, share_decoder_input_output_embed=True), "needs one table"),
        ],
    )
    def test_settings_that_contradict(self, dictionary, settings, message):
        with pytest.raises(ConfigError, match=message):
            build(dictionary, **settings)

    def test_adaptive_loss_needs_an_adaptive_softmax(self, dictionary):
        with pytest.raises(ConfigError, match="--adaptive-softmax-cutoff"):
            AdaptiveLoss(SimpleNamespace(target_dictionary=dictionary), False)(build(dictionary), sample())


def test_loss_by_token_adds_up_to_the_loss(dictionary):
    model = build(dictionary, **OUTPUTS["adaptive"]).eval()
    criterion = criterion_for(model, dictionary)
    whole, tokens = (criterion(model, sample(), reduce=reduce)[0] for reduce in (True, False))
    assert tokens.shape == (TOKENS.numel(),)
    torch.testing.assert_close(tokens.sum(), whole)


@pytest.mark.parametrize("size", SIZES["transformer_lm"])
def test_every_size_has_a_function_under_fairseqs_name(size):
    import fairseq.models.transformer_lm as module

    assert getattr(module, size) is ARCH_CONFIG_REGISTRY[size]
