"""Transformer layers against torch's, which were written by others from the same paper."""

from pathlib import Path

import pytest
import torch
from torch import nn

from fairseq.dataclass.transformer import TransformerConfig
from fairseq.modules import TransformerSentenceEncoder
from fairseq.modules.transformer_layer import (
    TransformerDecoderLayer,
    TransformerEncoderLayer,
    TransformerEncoderLayerBase,
)

C, FFN, H = 12, 20, 4
FLAT = {"encoder_embed_dim": C, "encoder_ffn_embed_dim": FFN, "encoder_attention_heads": H, "dropout": 0.0}


def copy_attention(ours: nn.Module, theirs: nn.MultiheadAttention) -> None:
    theirs.in_proj_weight.copy_(torch.cat([ours.q_proj.weight, ours.k_proj.weight, ours.v_proj.weight]))
    theirs.in_proj_bias.copy_(torch.cat([ours.q_proj.bias, ours.k_proj.bias, ours.v_proj.bias]))
    theirs.out_proj.load_state_dict(ours.out_proj.state_dict())


def torch_encoder_layer(ours: TransformerEncoderLayerBase, activation: str) -> nn.TransformerEncoderLayer:
    theirs = nn.TransformerEncoderLayer(C, H, FFN, 0.0, activation, norm_first=ours.normalize_before)
    with torch.no_grad():
        copy_attention(ours.self_attn, theirs.self_attn)
    for mine, other in (
        ("fc1", "linear1"),
        ("fc2", "linear2"),
        ("self_attn_layer_norm", "norm1"),
        ("final_layer_norm", "norm2"),
    ):
        getattr(theirs, other).load_state_dict(getattr(ours, mine).state_dict())
    return theirs


def randomized(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.4)
    return module


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("normalize_before", [True, False])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_encoder_layer_equals_torch(activation, normalize_before, training):
    torch.manual_seed(0)
    args = {**FLAT, "activation_fn": activation, "encoder_normalize_before": normalize_before}
    layer = randomized(TransformerEncoderLayer(args)).train(training)
    theirs = torch_encoder_layer(layer, activation).train(training)
    x = torch.randn(6, 3, C)
    mask = torch.zeros(3, 6, dtype=torch.bool)
    mask[1, 4:] = True
    for padding, causal in ((None, None), (mask, None), (mask, torch.triu(torch.ones(6, 6), 1))):
        expected = theirs(x, src_mask=None if causal is None else causal.bool(), src_key_padding_mask=padding)
        out = layer(x, padding, attn_mask=causal)
        real = ~mask.t() if padding is not None else torch.ones(6, 3, dtype=torch.bool)
        torch.testing.assert_close(out[real], expected[real], atol=1e-5, rtol=1e-5)


def test_encoder_layer_returns_the_feed_forward_result():
    layer = TransformerEncoderLayerBase(TransformerConfig.from_namespace(FLAT), return_fc=True).eval()
    x, fc_result = layer(torch.randn(4, 2, C), None)
    assert x.shape == fc_result.shape == (4, 2, C)


def test_older_checkpoints_number_the_layer_norms():
    layer = TransformerEncoderLayer(FLAT)
    names = {"self_attn_layer_norm": "layer_norms.0", "final_layer_norm": "layer_norms.1"}
    state = {f"l.{key}": value for key, value in randomized(layer).state_dict().items()}
    for new, old in names.items():
        for kind in ("weight", "bias"):
            state[f"l.{old}.{kind}"] = state.pop(f"l.{new}.{kind}")
    layer.upgrade_state_dict_named(state, "l")
    TransformerEncoderLayer(FLAT).load_state_dict({key.removeprefix("l."): value for key, value in state.items()})
    assert state["l.final_layer_norm.bias"] is not None


def test_plugins_override_what_builds_a_layer():
    class Plugin(TransformerEncoderLayer):
        def build_self_attention(self, embed_dim, args):
            self.seen = (args.encoder_attention_heads, args.quant_noise_pq_block_size)
            return super().build_self_attention(embed_dim, args)

        def residual_connection(self, x, residual):
            return residual + 0 * x

    layer = Plugin({**FLAT, "encoder_normalize_before": True})
    x = torch.randn(4, 2, C)
    assert torch.equal(layer(x, None), x)
    assert layer.seen == (H, 8)


def test_config_from_namespace():
    config = TransformerConfig.from_namespace(
        {
            "encoder_layers": 3,
            "decoder_layers_to_keep": "0,2",
            "quant_noise": {"pq": 0.1},
            "relu_dropout": 0.2,
            "unknown": 1,
        }
    )
    assert (config.encoder.layers, config.decoder.layers, config.decoder.layers_to_keep) == (3, 6, [0, 2])
    assert config.quant_noise.pq == config.quant_noise_pq == 0.1
    assert config.activation_dropout_p == 0.2
    assert TransformerConfig.from_namespace(config) is config
    with pytest.raises(AttributeError, match="colour"):
        _ = config.encoder_colour


DECODER = {"decoder_embed_dim": C, "decoder_ffn_embed_dim": FFN, "decoder_attention_heads": H}


@pytest.mark.parametrize("normalize_before", [True, False])
def test_decoder_layer_equals_torch(normalize_before):
    torch.manual_seed(0)
    layer = randomized(TransformerDecoderLayer({**FLAT, **DECODER, "decoder_normalize_before": normalize_before}))
    theirs = nn.TransformerDecoderLayer(C, H, FFN, 0.0, "relu", norm_first=normalize_before)
    with torch.no_grad():
        copy_attention(layer.self_attn, theirs.self_attn)
        copy_attention(layer.encoder_attn, theirs.multihead_attn)
    names = {
        "fc1": "linear1",
        "fc2": "linear2",
        "self_attn_layer_norm": "norm1",
        "encoder_attn_layer_norm": "norm2",
        "final_layer_norm": "norm3",
    }
    for mine, other in names.items():
        getattr(theirs, other).load_state_dict(getattr(layer, mine).state_dict())
    x, memory = torch.randn(6, 3, C), torch.randn(5, 3, C)
    mask = torch.zeros(3, 5, dtype=torch.bool)
    mask[1, 3:] = True
    causal = torch.triu(torch.full((6, 6), float("-inf")), 1)
    out, attn, _ = layer(x, memory, mask, self_attn_mask=causal, need_attn=True)
    expected = theirs(x, memory, tgt_mask=causal, memory_key_padding_mask=mask)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)
    assert attn.shape == (3, 6, 5)
    _, heads, _ = layer(x, memory, mask, self_attn_mask=causal, need_head_weights=True)
    torch.testing.assert_close(heads.mean(0), attn)
    assert layer(x, memory, mask)[1] is None  # in training, probabilities come only when asked for


def test_decoder_layer_starts_from_given_keys():
    layer = randomized(TransformerDecoderLayer({**FLAT, **DECODER})).eval()
    x, memory = torch.randn(2, 3, C), torch.randn(5, 3, C)
    first: dict = {}
    layer(x[:1], memory, incremental_state=first)
    expected, _, _ = layer(x[1:], memory, incremental_state=first)
    again: dict = {}
    layer(x[:1], memory, incremental_state=again)
    kept = layer.self_attn._get_input_buffer(again)
    other: dict = {}
    out, _, _ = layer(
        x[1:], memory, incremental_state=other, prev_self_attn_state=[kept["prev_key"], kept["prev_value"]]
    )
    torch.testing.assert_close(out, expected)


class TestSentenceEncoder:
    def test_same_as_fairseq(self):
        path = Path(__file__).parent.parent / "models" / "fixtures" / "sentence_encoder.pt"
        expected = torch.load(path, weights_only=True)
        torch.manual_seed(expected["seed"])
        model = TransformerSentenceEncoder(1, 34, **expected["args"]).eval()
        for (name, ours), (other, theirs) in zip(model.state_dict().items(), expected["weights"].items(), strict=True):
            assert name == other
            torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)
        states, sentence = model(expected["tokens"], expected["segments"])
        torch.testing.assert_close(torch.stack(states), expected["states"], atol=2e-6, rtol=1e-5)
        torch.testing.assert_close(sentence, expected["sentence"], atol=2e-6, rtol=1e-5)
        last, _ = model(expected["tokens"], expected["segments"], last_state_only=True)
        assert len(last) == 1 and torch.equal(last[0], states[-1])

    def test_options(self):
        model = TransformerSentenceEncoder(
            1, 34, 2, 16, 24, 4, num_segments=0, freeze_embeddings=True, n_trans_layers_to_freeze=1, traceable=True
        )
        trained = {name for name, p in model.named_parameters() if p.requires_grad}
        assert trained and all(name.startswith("layers.1.") for name in trained)
        states, _ = model(torch.tensor([[0, 5, 2]]))
        assert states.shape == (3, 3, 1, 16)
        bare = TransformerSentenceEncoder(1, 34, 1, 16, 24, 4, max_seq_len=9, offset_positions_by_padding=False)
        assert bare.embed_positions.weight.shape == (9, 16)
        assert bare(torch.tensor([[0, 5, 2]]), positions=torch.tensor([[0, 1, 2]]))[1].shape == (1, 16)
