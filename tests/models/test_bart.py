"""BART and RoBERTa with a decoder: sizes, heads, loading, precision, steps of decoding, masked language modelling."""

import copy
import pickle
from argparse import Namespace
from types import SimpleNamespace

import pytest
import torch

from fairseq import models
from fairseq.criterions.cross_entropy import CrossEntropyCriterion
from fairseq.criterions.masked_lm import MaskedLmLoss
from fairseq.data import Dictionary
from fairseq.errors import CheckpointError, ConfigError
from fairseq.models import bart
from fairseq.models.bart import BARTModel
from fairseq.models.registries import ARCH_CONFIG_REGISTRY
from fairseq.models.roberta import RobertaEncoder
from fairseq.quantization import PRESETS, quantize_model

SMALL = dict(
    encoder_layers=2, encoder_embed_dim=32, encoder_ffn_embed_dim=32, encoder_attention_heads=2, dropout=0.0,
    attention_dropout=0.0,
)  # fmt: skip
WITH_DECODER = dict(decoder_layers=2, decoder_attention_heads=2, max_source_positions=24, max_target_positions=24)
SOURCE = torch.tensor([[0, 5, 9, 30, 21, 14, 2], [0, 12, 4, 25, 2, 1, 1]])
SHIFTED = torch.tensor([[2, 0, 5, 9, 30, 21, 14], [2, 0, 12, 4, 25, 1, 1]])


@pytest.fixture
def task():
    dictionary = Dictionary()
    for index in range(30):
        dictionary.add_symbol(f"w{index}")
    task = SimpleNamespace(source_dictionary=dictionary, target_dictionary=dictionary)
    task.max_positions = lambda: (24, 24)
    return task


def build(task, arch="bart_base", **settings):
    torch.manual_seed(1)
    more = {"max_positions": 24} if arch.startswith("roberta") else WITH_DECODER
    return models.build_model(Namespace(arch=arch, **{**SMALL, **more, **settings}), task)


def losses_of(model, task, updates=6):
    """Losses of a few updates on one batch."""
    if isinstance(model.encoder, RobertaEncoder):
        criterion = MaskedLmLoss(SimpleNamespace(tpu=False), task)
        target = torch.where(torch.arange(7) % 3 == 1, SOURCE, 1)
        batch = {"net_input": {"src_tokens": SOURCE}, "target": target, "ntokens": 12, "nsentences": 2}
    else:
        criterion = CrossEntropyCriterion(task, False)
        net_input = {"src_tokens": SOURCE, "src_lengths": None, "prev_output_tokens": SHIFTED}
        batch = {"net_input": net_input, "target": SOURCE, "ntokens": 12, "nsentences": 2}
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for update in range(updates):
        model.quantization.begin_micro_batch(update)
        optimizer.zero_grad()
        loss, _, _ = criterion(model, batch)
        loss.sum().backward()
        optimizer.step()
        model.quantization.end_update(model)
        losses.append(float(loss.detach().sum()))
    return losses


# what fairseq 0.12's functions of these names fill in
ARCHITECTURES = {
    "bart_base": (768, 3072, 6, 12, True, True),
    "bart_large": (1024, 4096, 12, 16, True, True),
    "mbart_base": (768, 3072, 6, 12, False, True),
    "mbart_large": (1024, 4096, 12, 16, False, True),
    "mbart_base_wmt20": (768, 3072, 6, 12, False, False),
}


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_sizes(arch):
    args = Namespace()
    ARCH_CONFIG_REGISTRY[arch](args)
    for side in ("encoder", "decoder"):
        found = [getattr(args, f"{side}_{key}") for key in ("embed_dim", "ffn_embed_dim", "layers", "attention_heads")]
        assert (*found, args.no_scale_embedding, args.layernorm_embedding) == ARCHITECTURES[arch]
        assert getattr(args, f"{side}_learned_pos") and not getattr(args, f"{side}_normalize_before")
    assert args.share_all_embeddings and args.activation_fn == "gelu" and args.attention_dropout == 0
    assert (args.pooler_activation_fn, args.pooler_dropout, args.max_source_positions) == ("tanh", 0, 1024)
    assert getattr(bart, f"{arch}_architecture") is ARCH_CONFIG_REGISTRY[arch]


@pytest.mark.parametrize("preset", [name for name in PRESETS if name != "none"])
@pytest.mark.parametrize("arch", ["bart_base", "roberta_base"])
def test_every_preset_trains(task, arch, preset):
    one = {"encoder_layers": 1, "decoder_layers": 1} if arch == "bart_base" else {"encoder_layers": 1}
    losses = losses_of(quantize_model(build(task, arch, **one), preset), task, updates=4)
    assert all(loss == loss for loss in losses) and losses[-1] < losses[0]


@pytest.mark.parametrize("arch", ["bart_base", "roberta_enc_dec", "roberta_base"])
@pytest.mark.parametrize("preset, compute", [("int8", "integer"), ("cpt_4_8", "simulate")])
def test_schedules_and_integers(task, arch, preset, compute):
    model = quantize_model(build(task, arch), preset, compute=compute)
    active = " ".join(row.quantizer for row in model.quantization.plan.active)
    assert "layers.0.fc1" in active and ("encoder_attn.k_proj" in active) == (arch != "roberta_base")
    losses = losses_of(model, task, updates=12)
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("arch", ["bart_base", "roberta_enc_dec"])
@pytest.mark.parametrize("preset", ["none", "w8"])
def test_decoding_step_by_step_equals_full_recomputation(task, arch, preset):
    model = build(task, arch, **({"share_all_embeddings": True} if arch == "roberta_enc_dec" else {}))
    if preset != "none":
        model = quantize_model(model, preset)
    model.eval()
    with torch.no_grad():
        encoder_out = model.encoder(SOURCE, src_lengths=None)
        whole, _ = model.decoder(SHIFTED[:1].repeat(2, 1), encoder_out=encoder_out)
        state: dict = {}
        steps = [
            model.decoder(SHIFTED[:1, : end + 1].repeat(2, 1), encoder_out=encoder_out, incremental_state=state)[0]
            for end in range(SHIFTED.size(1))
        ]
    torch.testing.assert_close(torch.cat(steps, 1), whole, rtol=1e-4, atol=1e-5)


def test_heads(task, caplog):
    model = build(task).eval()
    model.register_classification_head("labels", 3)
    inputs = {"src_tokens": SOURCE, "src_lengths": None, "prev_output_tokens": SHIFTED}
    logits, _ = model(**inputs, classification_head_name="labels")
    features, _ = model(**inputs, features_only=True)
    expected = model.classification_heads["labels"](torch.stack([features[0, 6], features[1, 4]]))  # the last </s>
    torch.testing.assert_close(logits, expected)
    # rows may have different numbers of </s>: fairseq 0.12 fails on them
    model(src_tokens=torch.tensor([[0, 5, 2], [0, 2, 2]]), src_lengths=None, prev_output_tokens=SHIFTED[:, :3],
          classification_head_name="labels")  # fmt: skip
    with pytest.raises(ConfigError, match="unknown classification head 'label' in the model; did you mean 'labels'"):
        model(**inputs, classification_head_name="label")
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        torch.testing.assert_close(copied(**inputs, classification_head_name="labels")[0], logits)


def test_loading_heads_and_a_row_for_masks(task, caplog):
    trained = build(task)
    trained.register_classification_head("labels", 3)
    state = copy.deepcopy(trained.state_dict())
    build(task).load_state_dict(copy.deepcopy(state))
    assert "not loading classification head 'labels'" in caplog.text
    kept = build(task, load_checkpoint_heads=True)
    kept.load_state_dict(copy.deepcopy(state))
    weights = [each.classification_heads["labels"].out_proj.weight for each in (kept, trained)]
    assert torch.equal(*weights)
    # a dictionary without <mask>, to be fine-tuned on
    table = torch.cat([trained.encoder.embed_tokens.weight, torch.ones(1, 32)]).detach()
    for key in ("encoder.embed_tokens", "decoder.embed_tokens", "decoder.output_projection"):
        state[f"{key}.weight"] = table
    tuned = build(task)
    tuned.load_state_dict(state)
    assert torch.equal(tuned.encoder.embed_tokens.weight, table[:-1])
    assert tuned.decoder.output_projection.weight is tuned.encoder.embed_tokens.weight


def test_a_roberta_begins_an_encoder_decoder(task, tmp_path):
    roberta = build(task, "roberta_base")
    args = Namespace(arch="roberta_base", task="masked_lm", data=".", tokens_per_sample=24, max_positions=24, **SMALL)
    torch.save({"args": args, "cfg": None, "model": roberta.state_dict(), "extra_state": {}}, tmp_path / "roberta.pt")
    settings = {"pretrained_mlm_checkpoint": str(tmp_path / "roberta.pt"), "pretrained_decoder": True}
    other = {name: SMALL[name] for name in ("dropout", "attention_dropout")}
    model = models.build_model(Namespace(arch="roberta_enc_dec", **settings, **other), task)
    own = roberta.encoder.sentence_encoder.state_dict()
    for key, value in model.encoder.state_dict().items():
        assert torch.equal(value, own[key]), key
    layer, theirs = model.decoder.layers[1], roberta.encoder.sentence_encoder.layers[1]
    assert torch.equal(layer.fc1.weight, theirs.fc1.weight) and layer.encoder_attn is not None
    assert torch.equal(model.decoder.output_projection.dense.weight, roberta.encoder.lm_head.dense.weight)
    task.source_dictionary.add_symbol("one more")
    with pytest.raises(CheckpointError, match=r"roberta\.pt: it has 34 symbols; this data has 35") as error:
        models.build_model(Namespace(arch="roberta_enc_dec", **settings, **other), task)
    assert "\n" not in str(error.value)


def test_bart_is_a_transformer_by_name(task):
    assert isinstance(build(task), BARTModel) and build(task).supported_targets == {"self"}
