"""Models of every family: step by step, at every precision, copied, exported, and what they refuse."""

import copy
import pickle
import sys
from pathlib import Path

import pytest
import torch

from fairseq.errors import ConfigError
from fairseq.quantization import PRESETS, keep_integer_weights, quantize_model

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "conformance"))
import family_cases

ONE_OF_EACH = ["transformer_align", "fconv", "lstm", "lightconv", "lightconv lightweight"]
WITHOUT_BLOCKS = ("fconv", "lstm")  # of feed-forward or attention, which two presets tell apart
CANNOT_EXPORT = {"lstm": "packed sequences depend on the values of lengths"}


def built(name, preset="none", **settings):
    model = family_cases.fill(family_cases.build(name))
    return model if preset == "none" else quantize_model(model, preset, **settings)


def encoder_output(model, batch):
    """What the decoder is given beside tokens: the second source's output."""
    if family_cases.is_language_model(model):
        return {}
    net_input = batch["net_input"]
    encoder_out = model.encoder(net_input["src_tokens"], src_lengths=net_input["src_lengths"])
    return {"encoder_out": model.encoder.reorder_encoder_out(encoder_out, torch.tensor([1]))}


@pytest.mark.parametrize("name", family_cases.CASES)
@pytest.mark.parametrize("preset", ["none", "w8"])
def test_incremental_decoding_equals_full_recomputation(name, preset):
    model = built(name, preset).eval()
    with torch.no_grad():
        given = encoder_output(model, family_cases.sample(model))
        tokens = torch.tensor([[2, 22, 31, 9, 17, 5]])  # without padding, as a search has it
        whole = model.get_normalized_probs(model.decoder(tokens, **given), log_probs=True)
        state = {}
        for length in range(1, tokens.size(1) + 1):
            output = model.decoder(tokens[:, :length], incremental_state=state, **given)
            last = model.get_normalized_probs(output, log_probs=True)
            assert last.size(1) == 1
            torch.testing.assert_close(last[:, 0], whole[:, length - 1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ONE_OF_EACH)
@pytest.mark.parametrize("preset", [name for name in PRESETS if name != "none"])
def test_every_preset_trains(name, preset):
    if name in WITHOUT_BLOCKS and "_mha" in preset:
        with pytest.raises(ConfigError, match="matches no quantizer"):  # there is nothing that it could mean
            built(name, preset)
        return
    model = built(name, preset)
    losses = family_cases.losses(model, 8)  # scales that are learned swing at first
    # weights of IR-Net are about 1 whatever they were: models without norms behind their layers begin far off
    assert all(loss == loss for loss in losses) and (losses[-1] < losses[0] or preset == "binary_irnet")


@pytest.mark.parametrize("name", family_cases.CASES)
def test_every_product_is_quantized_and_follows_the_calls_bits(name, caplog):
    exact = built(name)
    model = built(name, "int8", compute="integer")
    family_cases.losses(model, 1)
    assert "not used in the first call" not in caplog.text
    exact.load_state_dict({k: v for k, v in model.state_dict().items() if k in exact.state_dict()})
    net_input = family_cases.sample(model.eval())["net_input"]
    with torch.no_grad():
        expected = exact.eval()(**net_input)[0]
        found = {bits: model(**net_input, num_bits=bits)[0] for bits in (0, 8, 4)}
    torch.testing.assert_close(found[0], expected)
    error = {bits: float((value - expected).norm() / expected.norm()) for bits, value in found.items()}
    assert 0 < error[8] < 0.3 and error[8] < error[4]
    quantized = {row.quantizer.rpartition(".")[0] for row in model.quantization.plan.active}
    products = {path for path, module in exact.named_modules() if type(module).__name__.endswith(("Linear", "ConvTBC"))}
    ends = ("fc3", "fc_out", "output_projection")
    parts = ("adaptive_softmax", "embeddings")
    heads = {path for path in products if path.endswith(ends) or any(part in path for part in parts)}
    assert products - heads <= quantized and not heads & quantized


@pytest.mark.parametrize("name", family_cases.CASES)
@pytest.mark.parametrize("preset", ["none", "int8"])
def test_copies_and_checkpoints(name, preset):
    model = built(name, preset)
    family_cases.losses(model, 1)
    net_input = family_cases.sample(model)["net_input"]
    with_graph = copy.deepcopy(model)  # after a call with gradients
    fresh = built(name, preset)
    fresh.load_state_dict(model.state_dict())
    with torch.no_grad():
        expected = model.eval()(**net_input)[0]
        for twin in (with_graph, fresh, pickle.loads(pickle.dumps(model))):
            assert torch.equal(twin.eval()(**net_input)[0], expected)


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_integer_weights_give_the_same_hypotheses(name):
    model = built(name, "int8")
    family_cases.losses(model, 1)
    expected = family_cases.hypotheses(model.eval(), 2)
    assert family_cases.hypotheses(keep_integer_weights(model), 2) == expected


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_exported_graphs_give_the_same_scores(name):
    if name in CANNOT_EXPORT:
        pytest.skip(CANNOT_EXPORT[name])
    model = built(name).eval()
    net_input = family_cases.sample(model)["net_input"]
    graph = torch.export.export(model, (), net_input).module()
    net_input = {**net_input, "prev_output_tokens": net_input["prev_output_tokens"].flip(0)}
    torch.testing.assert_close(graph(**net_input)[0], model(**net_input)[0])


def test_weights_of_weight_norm_follow_what_they_are_made_of():
    """A quantized weight is kept from call to call; other lengths give another one, also at the same address."""
    model = built("fconv_lm", "w8").eval()
    twin = copy.deepcopy(model)
    net_input = family_cases.sample(model)["net_input"]
    for inference in (True, False):
        with torch.set_grad_enabled(not inference):
            before = model(**net_input)[0]
            with torch.no_grad():
                for path, parameter in model.named_parameters():
                    if path.endswith("weight_g"):
                        parameter.mul_(2)
            after = model(**net_input)[0]
            twin.load_state_dict(model.state_dict())
            assert not torch.equal(before, after)
            assert torch.equal(copy.deepcopy(twin)(**net_input)[0], after)
    with torch.no_grad():
        for path, parameter in model.train().named_parameters():
            if path.endswith("weight_g"):
                parameter.data.mul_(2)  # as some optimizers write
        assert not torch.equal(model.eval()(**net_input)[0], after)


@pytest.mark.parametrize(
    "name, settings, message",
    [
        ("fconv", {"encoder_layers": "[(8, 3)] * x"}, "model.encoder_layers: .* is not a list of"),
        ("fconv", {"encoder_layers": "__import__('os').getcwd()"}, "model.encoder_layers: .* is not a list of"),
        ("fconv", {"encoder_layers": "[(8, 3)] * 99999999"}, "model.encoder_layers: .* is not a list of"),
        ("fconv", {"decoder_layers": "[(8, 3), (8, 3, 3)]"}, "a residual from before the first layer"),
        ("fconv", {"decoder_attention": "[True]"}, "1 entries for 3 layers"),
        ("fconv", {"decoder_attention": "maybe"}, "is not True, False or a list"),
        ("fconv", {"share_input_output_embed": True}, "decoder_embed_dim is 6, decoder_out_embed_dim 5"),
        ("fconv_lm", {"decoder_attention": "True"}, "a language model has no encoder"),
        ("lightconv", {"encoder_kernel_size_list": [3, 3, 3]}, "3 sizes for 2 layers"),
        ("lightconv", {"decoder_output_dim": 6, "share_decoder_input_output_embed": True}, "8 wide, the output 6"),
        ("lightconv", {"decoder_embed_dim": 6, "share_all_embeddings": True}, "needs equal widths"),
        ("lstm", {"encoder_layers": 1}, "must be equal"),
        ("lstm", {"decoder_attention": "perhaps"}, "must be 1 or 0"),
        ("lstm", {"decoder_out_embed_dim": 7, "share_all_embeddings": True}, "needs equal widths"),
        ("lstm", {"decoder_out_embed_dim": 7, "share_decoder_input_output_embed": True}, "decoder_out_embed_dim 7"),
        ("lstm_lm", {"decoder_attention": "1"}, "a language model has no encoder"),
    ],
)
def test_refusals(monkeypatch, name, settings, message):
    arch, given = family_cases.CASES[name]
    monkeypatch.setitem(family_cases.CASES, name, (arch, {**given, **settings}))
    with pytest.raises(ConfigError, match=message):
        family_cases.build(name)
