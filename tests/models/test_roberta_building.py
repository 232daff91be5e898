"""What RoBERTa is built from: checkpoints and its rules for loading them, heads, configs, architectures."""

import logging
from argparse import Namespace

import pytest
import torch
from omegaconf import OmegaConf
from small_roberta import SIZE, build, task

from fairseq import models
from fairseq.dataclass.models import RobertaConfig
from fairseq.errors import CheckpointError, ConfigError
from fairseq.models.roberta import CamembertModel, GottbertModel, RobertaModel, XLMRModel


class TestLoading:
    def test_layouts_of_older_versions(self):
        model = build()
        state = dict(model.state_dict())
        del state["encoder.sentence_encoder.version"]
        for layer in (0, 1):
            prefix = f"encoder.sentence_encoder.layers.{layer}.self_attn."
            for kind in ("weight", "bias"):
                state[f"{prefix}in_proj_{kind}"] = torch.cat([state.pop(f"{prefix}{p}_proj.{kind}") for p in "qkv"])
        old = {
            key.replace("encoder.", "decoder.", 1).replace(".layernorm_embedding.", ".emb_layer_norm."): value
            for key, value in state.items()
        }
        assert any("decoder.sentence_encoder.emb_layer_norm" in key for key in old)
        other = build(seed=1)
        result = other.load_state_dict(old, strict=True)
        assert not result.missing_keys and not result.unexpected_keys
        for (name, a), b in zip(model.named_parameters(), other.parameters(), strict=True):
            assert torch.equal(a, b), name

    def test_prenorm_checkpoint_without_version_has_no_final_norm(self):
        model = build(arch="roberta_prenorm")
        state = {
            k: v for k, v in model.state_dict().items() if not k.endswith(".version") and "encoder.layer_norm" not in k
        }
        model.load_state_dict(state, strict=True)
        assert model.encoder.sentence_encoder.layer_norm is None
        assert model.encoder.sentence_encoder.version.item() == 1

    def with_heads(self, **heads: int) -> RobertaModel:
        model = build()
        for name, num_classes in heads.items():
            model.register_classification_head(name, num_classes=num_classes)
        return model

    def test_heads_that_do_not_fit_are_dropped(self, caplog):
        state = dict(self.with_heads(a=3, b=2).state_dict())
        model = self.with_heads(a=4, c=2)
        before = {k: v.clone() for k, v in model.state_dict().items()}
        with caplog.at_level(logging.INFO):
            model.load_state_dict(state, strict=True)
        assert [r.message.split(":")[0] for r in caplog.records if r.levelno == logging.WARNING] == [
            "not loading classification head 'a' of the checkpoint",
            "not loading classification head 'b' of the checkpoint",
        ]
        kept = [r.message for r in caplog.records if r.message.startswith("Overwriting classification_heads.")]
        assert len(kept) == 8
        for key, value in model.state_dict().items():
            assert torch.equal(value, before[key] if key.startswith("classification_heads.") else state[key])

    def test_heads_that_fit_are_loaded(self):
        source, model = self.with_heads(a=3), self.with_heads(a=3)
        assert not torch.equal(source.classification_heads["a"].dense.weight, torch.zeros(16, 16))
        with torch.no_grad():
            source.classification_heads["a"].dense.weight.fill_(7)
        model.load_state_dict(dict(source.state_dict()), strict=True)
        assert (model.classification_heads["a"].dense.weight == 7).all()

    def test_load_checkpoint_heads_registers_them(self):
        source = self.with_heads(a=3)
        source.register_classification_head("wide", num_classes=2, inner_dim=5)
        model = build(load_checkpoint_heads=True)
        model.load_state_dict(dict(source.state_dict()), strict=True)
        assert model.classification_heads["wide"].dense.out_features == 5
        assert torch.equal(
            model.classification_heads["a"].out_proj.weight, source.classification_heads["a"].out_proj.weight
        )

    def test_missing_language_model_head_stays(self, caplog):
        model = build()
        state = {k: v for k, v in build(seed=1).state_dict().items() if "lm_head" not in k}
        dense = model.encoder.lm_head.dense.weight.clone()
        with caplog.at_level(logging.INFO):
            model.load_state_dict(state, strict=True)
        assert torch.equal(model.encoder.lm_head.dense.weight, dense)
        assert any("encoder.lm_head.dense.weight" in r.message for r in caplog.records)
        # tied weights follow the loaded embedding
        assert torch.equal(
            model.encoder.sentence_encoder.embed_tokens.weight, state["encoder.sentence_encoder.embed_tokens.weight"]
        )

    def test_a_shorter_model_takes_the_first_positions(self, caplog):
        long, short = build(seed=1, max_positions=20), build(seed=2, max_positions=8)
        with caplog.at_level(logging.INFO):
            short.load_state_dict(long.state_dict())
        assert "the checkpoint has 20 positions, task.max_positions=8: the others are left out" in caplog.text
        tokens = torch.tensor([[0, 5, 6, 7, 8, 9, 10, 2]])
        assert short.encoder.sentence_encoder.embed_positions.weight.shape == (10, 16)
        assert torch.equal(short.eval()(tokens)[0], long.eval()(tokens)[0])
        with pytest.raises(RuntimeError, match="embed_positions"):
            long.load_state_dict(short.state_dict())

    def test_nested_under_another_name(self):
        class Wrapper(models.BaseFairseqModel):
            def __init__(self):
                super().__init__()
                self.inner = build()
                self.inner.register_classification_head("a", num_classes=2)

        wrapper = Wrapper()
        state = {k: v for k, v in wrapper.state_dict().items() if "classification_heads" not in k}
        wrapper.load_state_dict(state, strict=True)

    def test_layers_to_keep(self):
        full = build(encoder_layers=3)
        args = Namespace(arch="roberta", **{**SIZE, "encoder_layers": 3, "encoder_layers_to_keep": "0,2"})
        model = models.build_model(args, task())
        assert len(model.encoder.sentence_encoder.layers) == args.encoder_layers == 2
        model.load_state_dict(dict(full.state_dict()), strict=True, model_cfg=args)
        layers, kept = full.encoder.sentence_encoder.layers, model.encoder.sentence_encoder.layers
        assert torch.equal(kept[1].fc1.weight, layers[2].fc1.weight)
        model.load_state_dict(dict(model.state_dict()), strict=True, model_cfg=args)  # what it saves loads again
        with pytest.raises(ConfigError, match="no layer 7"):
            model.load_state_dict(dict(full.state_dict()), model_cfg=Namespace(encoder_layers_to_keep="0,7"))


class TestHeads:
    def test_reregistering_warns_when_the_size_changes(self, caplog):
        model = build()
        model.register_classification_head("a", num_classes=2)
        model.register_classification_head("a", num_classes=2)
        assert not caplog.records
        model.register_classification_head("a", num_classes=3, inner_dim=8)
        assert "'a' is replaced" in caplog.text
        assert model.classification_heads["a"].out_proj.weight.shape == (3, 8)

    def test_spectral_norm(self):
        model = build(spectral_norm_classification_head=True)
        model.register_classification_head("a", num_classes=4)
        head = model.classification_heads["a"]
        for _ in range(30):
            model(torch.tensor([[0, 5, 2]]), classification_head_name="a")
        assert torch.linalg.matrix_norm(head.out_proj.weight, 2).item() == pytest.approx(1, abs=1e-3)
        other = build(spectral_norm_classification_head=True, load_checkpoint_heads=True)
        other.load_state_dict(dict(model.state_dict()), strict=True)
        assert "classification_heads.a.out_proj.weight_orig" in other.state_dict()

    def test_spectral_norm_excludes_quant_noise(self):
        model = build(spectral_norm_classification_head=True, quant_noise_pq=0.1)
        with pytest.raises(ConfigError, match="cannot be used together"):
            model.register_classification_head("a", num_classes=4)

    def test_quant_noise_reaches_every_projection(self):
        model = build(quant_noise_pq=0.1)
        model.register_classification_head("a", num_classes=4)
        noisy = {name.rsplit(".", 1)[-1] for name, m in model.named_modules() if type(m).__name__ == "QuantNoiseLinear"}
        assert noisy == {"q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2", "quant_noise"}
        model(torch.tensor([[0, 5, 2]]), classification_head_name="a")[0].sum().backward()


class TestBuilding:
    @pytest.mark.parametrize("variant", [XLMRModel, CamembertModel, GottbertModel])
    def test_variants(self, variant):
        model = variant.build_model(Namespace(**SIZE), task())
        assert type(model) is variant
        assert all(address.endswith(".tar.gz") for address in variant.hub_models().values())
        with pytest.raises(CheckpointError, match="not on this machine: download http"):
            variant.from_pretrained(next(iter(variant.hub_models())))

    def test_from_a_config_node(self):
        cfg = OmegaConf.structured(RobertaConfig(_name="roberta", **SIZE))
        model = models.build_model(cfg, task(max_positions=33))
        assert cfg.max_positions == cfg.max_source_positions == model.max_positions() == 33
        assert model.encoder.sentence_encoder.embed_positions.weight.shape == (35, 16)

    def test_free_form_node_gets_the_architecture(self):
        cfg = OmegaConf.create({"_name": "roberta_prenorm", **SIZE, "max_positions": 9})
        model = models.build_model(cfg, task())
        assert model.encoder.sentence_encoder.layer_norm is not None
        assert model.encoder.sentence_encoder.layernorm_embedding is None
        assert cfg.dropout == 0.1

    def test_nested_node(self):
        cfg = OmegaConf.create({"roberta": {**SIZE, "max_positions": 9}})
        assert isinstance(models.build_model(cfg, task()), RobertaModel)

    @pytest.mark.parametrize(
        "arch, dims",
        [("roberta_base", (12, 768, 3072, 12)), ("roberta_large", (24, 1024, 4096, 16)), ("xlm", (16, 1280, 5120, 16))],
    )
    def test_architectures_fill_gaps_only(self, arch, dims):
        args = Namespace(dropout=0.3)
        models.ARCH_CONFIG_REGISTRY[arch](args)
        assert (
            args.encoder_layers,
            args.encoder_embed_dim,
            args.encoder_ffn_embed_dim,
            args.encoder_attention_heads,
        ) == dims
        assert args.dropout == 0.3 and args.attention_dropout == 0.1

    @pytest.mark.parametrize("option", ["mha_heads_to_keep", "ffn_blocks_to_remove", "adaptive_input"])
    def test_what_is_not_supported_is_refused(self, option):
        with pytest.raises(ConfigError, match=f"model.{option}=1 is not supported"):
            build(**{option: 1})

    def test_regularizers_need_a_criterion(self, caplog):
        build(ffn_reg_scale_factor=1)
        assert (
            "ffn_reg_scale_factor has an effect only with a criterion that adds model._get_adaptive_ffn" in caplog.text
        )

    def test_supported_targets_and_hub_names(self):
        assert build().supported_targets == {"self"}
        assert {"roberta.base", "roberta.large", "roberta.large.mnli", "roberta.large.wsc"} <= set(
            RobertaModel.hub_models()
        )
