"""The encoder-decoder transformer against fairseq 0.12's numbers, and step-by-step decoding against the whole
sentence."""

from argparse import Namespace
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from fairseq import models
from fairseq.dataclass import catalog
from fairseq.dataclass.transformer import TransformerConfig
from fairseq.errors import ConfigError, DataError
from fairseq.models.transformer import TransformerModel
from fairseq.modules import FairseqDropout

FIXTURES = Path(__file__).parent / "fixtures"
SIZE = {
    "encoder_embed_dim": 16,
    "encoder_ffn_embed_dim": 24,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 2,
    "encoder_layers": 2,
    "decoder_layers": 2,
}
SOURCE = torch.tensor([[5, 6, 7, 2], [8, 9, 2, 1]])
PREVIOUS = torch.tensor([[2, 5, 6], [2, 7, 8]])


class Vocabulary:
    """All that a model asks of a dictionary; `symbols` are s0, s1, ..."""

    def __init__(self, size: int = 34):
        self.size = size

    def __len__(self) -> int:
        return self.size

    def pad(self) -> int:
        return 1

    def unk(self) -> int:
        return 3

    def index(self, symbol: str) -> int:
        number = int(symbol[1:])
        return number if number < self.size else 3


def build(task=None, **options) -> TransformerModel:
    torch.manual_seed(0)
    words = Vocabulary()
    task = task or Namespace(source_dictionary=words, target_dictionary=words)
    return models.build_model(Namespace(**{"arch": "transformer", **SIZE, **options}), task)


@pytest.mark.parametrize("case", ["base", "prenorm"])
class TestSameAsFairseq:
    def build(self, expected: dict) -> TransformerModel:
        words = Vocabulary(expected["vocabulary"])
        torch.manual_seed(expected["seed"])
        return models.build_model(
            Namespace(**expected["args"]), Namespace(source_dictionary=words, target_dictionary=words)
        )

    def test_initial_weights_and_names(self, case):
        expected = torch.load(FIXTURES / f"transformer_{case}.pt", weights_only=True)
        model = self.build(expected)
        assert [name for name, _ in model.named_parameters()] == expected["parameters"]
        state = model.state_dict()
        assert list(state) == list(expected["weights"])
        for name, value in state.items():
            torch.testing.assert_close(value, expected["weights"][name], atol=1e-6, rtol=1e-6)

    def test_outputs_and_gradients(self, case):
        expected = torch.load(FIXTURES / f"transformer_{case}.pt", weights_only=True)
        model = self.build(expected)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
        model.load_state_dict(expected["weights"], strict=True)
        scores, extra = model.eval()(expected["tokens"], None, expected["previous"])
        close = {"atol": 2e-6, "rtol": 1e-5}
        torch.testing.assert_close(scores, expected["scores"], **close)
        torch.testing.assert_close(extra["attn"][0], expected["attn"], **close)
        torch.testing.assert_close(torch.stack(extra["inner_states"]), expected["states"], **close)
        for module in model.modules():
            if isinstance(module, FairseqDropout):
                module.p = 0.0
        model.train()(expected["tokens"], None, expected["previous"])[0].pow(2).mean().backward()
        assert [name for name, _ in model.named_parameters()] == list(expected["grads"])
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(parameter.grad, expected["grads"][name], atol=2e-6, rtol=2e-5)


class TestIncrementalDecoding:
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"decoder_learned_pos": True, "decoder_normalize_before": True},
            {"cross_self_attention": True, "no_cross_attention": True},
            {"no_token_positional_embeddings": True, "decoder_output_dim": 8},
        ],
    )
    def test_steps_equal_the_whole(self, options):
        model = build(**options).eval()
        encoder_out = model.encoder(SOURCE)
        whole, _ = model.decoder(PREVIOUS, encoder_out=encoder_out)
        state: dict = {}
        for t in range(3):
            step, _ = model.decoder(PREVIOUS[:, : t + 1], encoder_out=encoder_out, incremental_state=state)
            torch.testing.assert_close(step[:, 0], whole[:, t], atol=2e-6, rtol=1e-5)

    def test_left_padded_prefix(self):
        """A hypothesis with padding in front gives, in steps, what the whole sentence gives at once."""
        model = build().eval()
        previous = torch.tensor([[2, 5, 6], [1, 2, 7]])
        encoder_out = model.encoder(SOURCE)
        whole, _ = model.decoder(previous, encoder_out=encoder_out)
        assert whole.isfinite().all()

    def test_beam_search_reorders_what_is_kept(self):
        model = build().eval()
        encoder_out, state = model.encoder(SOURCE), {}
        model.decoder(PREVIOUS[:, :1], encoder_out=encoder_out, incremental_state=state)
        order = torch.tensor([1, 0, 1])
        model.decoder.reorder_incremental_state_scripting(state, order)
        encoder_out = model.encoder.reorder_encoder_out(encoder_out, order)
        step, _ = model.decoder(PREVIOUS[order, :2], encoder_out=encoder_out, incremental_state=state)
        whole, _ = model(SOURCE[order], None, PREVIOUS[order, :2])
        torch.testing.assert_close(step[:, 0], whole[:, 1], atol=2e-6, rtol=1e-5)

    def test_the_future_is_hidden_unless_asked_for(self):
        model = build().eval()
        encoder_out = model.encoder(SOURCE)
        changed = PREVIOUS.clone()
        changed[:, 2] = 11
        for full_context, same in ((False, True), (True, False)):
            a, b = (
                model.decoder(tokens, encoder_out=encoder_out, full_context_alignment=full_context)[0]
                for tokens in (PREVIOUS, changed)
            )
            assert torch.allclose(a[:, :2], b[:, :2], atol=1e-6) == same

    def test_source_padding_has_no_influence(self):
        model = build().eval()
        scores, _ = model(SOURCE, None, PREVIOUS)
        alone, _ = model(SOURCE[1:, :3], None, PREVIOUS[1:])
        torch.testing.assert_close(scores[1:], alone, atol=2e-6, rtol=1e-5)


class TestOptions:
    def test_alignment_layer_and_heads(self):
        model = build().eval()
        layers = [model(SOURCE, None, PREVIOUS, alignment_layer=n)[1]["attn"][0] for n in (0, 1)]
        last = model(SOURCE, None, PREVIOUS)[1]["attn"][0]
        assert torch.equal(layers[1], last) and not torch.allclose(layers[0], last)
        torch.testing.assert_close(last.sum(-1), torch.ones(2, 3))
        assert (last[1, :, 3] == 0).all()  # padding
        one = model(SOURCE, None, PREVIOUS, alignment_heads=1)[1]["attn"][0]
        assert not torch.allclose(one, last)

    def test_generation_computes_attention_where_it_is_asked_for(self):
        model = build()
        model.make_generation_fast_(need_attn=False)
        assert [layer.need_attn for layer in model.decoder.layers] == [False, False]

    @pytest.mark.parametrize("option", ["share_all_embeddings", "merge_src_tgt_embed"])
    def test_one_embedding(self, option):
        model = build(**{option: True})
        assert model.encoder.embed_tokens is model.decoder.embed_tokens
        assert model.decoder.output_projection.weight is model.encoder.embed_tokens.weight
        with pytest.raises(ConfigError, match="joined dictionary"):
            build(Namespace(source_dictionary=Vocabulary(), target_dictionary=Vocabulary()), **{option: True})
        with pytest.raises(ConfigError, match="equal widths"):
            build(**{option: True}, decoder_embed_dim=8)
        with pytest.raises(ConfigError, match="decoder_embed_path"):
            build(**{option: True}, decoder_embed_path="elsewhere")

    def test_output_of_another_width(self):
        model = build(decoder_output_dim=8)
        assert model.decoder.project_out_dim.weight.shape == (8, 16)
        assert model(SOURCE, None, PREVIOUS)[0].shape == (2, 3, 34)
        assert model(SOURCE, None, PREVIOUS, features_only=True)[0].shape == (2, 3, 8)
        with pytest.raises(ConfigError, match="decoder_output_dim"):
            build(decoder_output_dim=8, share_decoder_input_output_embed=True)

    def test_pretrained_embeddings(self, tmp_path):
        path = tmp_path / "vectors.txt"
        path.write_text("3 16\n" + "".join(f"s{n} {' '.join([str(n)] * 16)}\n" for n in (7, 9, 99)))
        model = build(encoder_embed_path=str(path))
        assert (model.encoder.embed_tokens.weight[7] == 7).all() and (model.encoder.embed_tokens.weight[9] == 9).all()
        path.write_text("1 16\ns7 1 2\n")
        with pytest.raises(DataError, match="line 2: 2 values"):
            build(encoder_embed_path=str(path))
        with pytest.raises(DataError, match="No such file"):
            build(encoder_embed_path=str(tmp_path / "none"))

    def test_checkpointed_activations_give_the_same_gradients(self):
        results = []
        for options in ({}, {"checkpoint_activations": True}):
            model = build(**options)
            torch.manual_seed(1)
            model(SOURCE, None, PREVIOUS)[0].square().mean().backward()
            results.append([p.grad for p in model.parameters()])
        for a, b in zip(*results, strict=True):
            torch.testing.assert_close(a, b)

    def test_layerdrop(self):
        model = build(decoder_layerdrop=0.5, encoder_layerdrop=0.5)
        counts = {len(model(SOURCE, None, PREVIOUS)[1]["inner_states"]) for _ in range(20)}
        assert len(counts) > 1
        assert len(model.eval()(SOURCE, None, PREVIOUS)[1]["inner_states"]) == 3

    def test_adaptive_softmax(self):
        model = build(adaptive_softmax_cutoff="10,20")
        output = model(SOURCE, None, PREVIOUS)
        assert model.decoder.output_projection is None
        probabilities = model.get_normalized_probs(output, log_probs=False)
        torch.testing.assert_close(probabilities.sum(-1), torch.ones(PREVIOUS.shape))

    def test_adaptive_input_is_refused(self):
        with pytest.raises(ConfigError, match="adaptive_input is for language models"):
            build(adaptive_input=True)
        with pytest.raises(ConfigError, match="tie_adaptive_weights shares the weights of an adaptive input"):
            build(adaptive_softmax_cutoff="5,10", tie_adaptive_weights=True)

    def test_cutoffs_have_to_fit_the_dictionary(self):
        for cutoff in ("10,200", "20,10"):
            with pytest.raises(ConfigError, match="do not fit a dictionary"):
                build(adaptive_softmax_cutoff=cutoff)


class TestLoading:
    def test_older_checkpoints(self):
        model = build(share_decoder_input_output_embed=True)
        state = dict(model.state_dict())
        del state["decoder.output_projection.weight"]
        state["encoder.embed_positions._float_tensor"] = torch.zeros(1)
        assert not model.load_state_dict(state, strict=True).unexpected_keys
        model = build()
        state = dict(model.state_dict())
        state["decoder.embed_out"] = torch.full((34, 16), 3.0)
        del state["decoder.output_projection.weight"]
        model.load_state_dict(state, strict=True)
        assert (model.decoder.output_projection.weight == 3).all()

    @pytest.mark.parametrize(
        "version, decoder_norm, encoder_norm", [(1, False, False), (2, False, True), (3, True, True)]
    )
    def test_final_norm_by_version(self, version, decoder_norm, encoder_norm):
        model = build(encoder_normalize_before=True, decoder_normalize_before=True)
        state = dict(model.state_dict())
        for side in ("encoder", "decoder"):
            state[f"{side}.version"] = torch.tensor([float(version)])
        model.load_state_dict(state, strict=True)
        assert (model.decoder.layer_norm is not None) == decoder_norm
        assert (model.encoder.layer_norm is not None) == encoder_norm

    def test_layers_to_keep(self):
        full = build(decoder_layers=3)
        args = Namespace(arch="transformer", **{**SIZE, "decoder_layers": 3, "decoder_layers_to_keep": "0,2"})
        words = Vocabulary()
        model = models.build_model(args, Namespace(source_dictionary=words, target_dictionary=words))
        assert args.decoder_layers == 2
        model.load_state_dict(dict(full.state_dict()), strict=True, model_cfg=args)
        assert torch.equal(model.decoder.layers[1].fc1.weight, full.decoder.layers[2].fc1.weight)


class TestConfigs:
    @pytest.mark.parametrize(
        "arch, expected",
        [
            ("transformer", (512, 2048, 8, 6, 512, 2048, 8, 6, 0.1, 0.0, False)),
            ("transformer_tiny", (64, 64, 2, 2, 64, 64, 2, 2, 0.1, 0.0, False)),
            ("transformer_iwslt_de_en", (512, 1024, 4, 6, 512, 1024, 4, 6, 0.1, 0.0, False)),
            ("transformer_wmt_en_de", (512, 2048, 8, 6, 512, 2048, 8, 6, 0.1, 0.0, False)),
            ("transformer_vaswani_wmt_en_de_big", (1024, 4096, 16, 6, 1024, 4096, 16, 6, 0.3, 0.0, False)),
            ("transformer_vaswani_wmt_en_fr_big", (1024, 4096, 16, 6, 1024, 4096, 16, 6, 0.1, 0.0, False)),
            ("transformer_wmt_en_de_big", (1024, 4096, 16, 6, 1024, 4096, 16, 6, 0.3, 0.1, False)),
            ("transformer_wmt_en_de_big_t2t", (1024, 4096, 16, 6, 1024, 4096, 16, 6, 0.3, 0.1, True)),
        ],
    )
    def test_sizes(self, arch, expected):
        """Namespace and config node give the same model config, which is fairseq's."""
        names = [
            f"{side}_{key}"
            for side in ("encoder", "decoder")
            for key in ("embed_dim", "ffn_embed_dim", "attention_heads", "layers")
        ]
        names += ["dropout", "attention_dropout", "encoder_normalize_before"]
        args = Namespace()
        models.ARCH_CONFIG_REGISTRY[arch](args)
        node = OmegaConf.structured(catalog.group("model")[arch]())
        for given in (args, node):
            config = TransformerConfig.from_namespace(given)
            assert tuple(getattr(config, name) for name in names) == expected
            assert config.decoder.output_width == config.decoder.embed_dim

    def test_from_a_config_node(self):
        cfg = OmegaConf.structured(
            catalog.group("model")["transformer_tiny"](_name="transformer_tiny", encoder_embed_dim=8)
        )
        words = Vocabulary()
        model = models.build_model(cfg, Namespace(source_dictionary=words, target_dictionary=words))
        assert model.decoder.embed_dim == 8 and len(model.encoder.layers) == 2

    def test_arguments_hold_no_classes(self):
        """What ends up in a checkpoint is plain: fairseq 0.12 and a safe loader have to read it."""
        args = build().args
        assert {type(value) for value in vars(args).values()} <= {int, float, str, bool, type(None)}

    def test_plugin_overrides_a_builder(self):
        class Plugin(TransformerModel):
            @classmethod
            def build_decoder(cls, args, tgt_dict, embed_tokens):
                decoder = super().build_decoder(args, tgt_dict, embed_tokens)
                decoder.marked = args.decoder_layers
                return decoder

        words = Vocabulary()
        task = Namespace(source_dictionary=words, target_dictionary=words)
        assert Plugin.build_model(Namespace(**SIZE), task).decoder.marked == 2
