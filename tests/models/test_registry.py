"""Models by name: built-ins that load when asked for, plugins that register themselves, and the bases they build on."""

import subprocess
import sys
from argparse import Namespace
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from fairseq import models
from fairseq.dataclass import catalog
from fairseq.dataclass.base import FairseqDataclass, option
from fairseq.errors import ConfigError
from fairseq.models import registries


@pytest.fixture
def clean():
    """Undo registrations."""
    registry_names = [name for name in vars(registries) if name.endswith("_REGISTRY")]
    saved = {name: dict(vars(registries)[name]._entries) for name in registry_names}
    group = catalog.group("model")
    saved_group = dict(group._entries)
    yield
    for name, entries in saved.items():
        vars(registries)[name]._entries = entries
    group._entries = saved_group


class Tiny(models.BaseFairseqModel):
    def __init__(self, width: int):
        super().__init__()
        self.layer = nn.Linear(width, width)

    @classmethod
    def build_model(cls, args, task):
        return cls(args.width)


@dataclass
class TinyConfig(FairseqDataclass):
    width: int = option(3, "width")


def test_names_are_known_before_anything_is_imported():
    code = (
        "import sys, fairseq.models as m\n"
        "assert {'roberta', 'roberta_large', 'roberta_prenorm', 'xlm'} <= set(m.ARCH_MODEL_REGISTRY)\n"
        "assert 'fairseq.models.roberta' not in sys.modules and 'sklearn' not in sys.modules\n"
        "assert m.ARCH_MODEL_NAME_REGISTRY['roberta_large'] == 'roberta'\n"
        "sizes = ['roberta', 'roberta_base', 'roberta_prenorm', 'roberta_large', 'xlm']\n"
        "assert m.ARCH_MODEL_INV_REGISTRY['roberta'] == sizes\n"
        "assert m.MODEL_REGISTRY['roberta'] is m.ARCH_MODEL_REGISTRY['xlm']\n"
        "assert m.MODEL_DATACLASS_REGISTRY['roberta'].__name__ == 'RobertaConfig'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_builtin_name_is_fulfilled():
    for arch in models.ARCH_MODEL_REGISTRY:
        assert issubclass(models.ARCH_MODEL_REGISTRY[arch], models.BaseFairseqModel)
        assert arch in models.ARCH_MODEL_INV_REGISTRY[models.ARCH_MODEL_NAME_REGISTRY[arch]]
        assert callable(models.ARCH_CONFIG_REGISTRY[arch])


def test_plugin_with_a_dataclass(clean):
    models.register_model("tiny", dataclass=TinyConfig)(Tiny)
    assert catalog.group("model")["tiny"] is TinyConfig and Tiny.__dict__["__dataclass"] is TinyConfig
    assert models.build_model(Namespace(_name="tiny"), None).layer.in_features == 3
    assert models.build_model(TinyConfig(_name="tiny", width=5), None).layer.in_features == 5


def test_plugin_with_an_architecture(clean):
    models.register_model("tiny")(Tiny)

    @models.register_model_architecture("tiny", "tiny_wide")
    def tiny_wide(args):
        args.width = getattr(args, "width", 9)

    assert models.build_model(Namespace(arch="tiny_wide"), None).layer.in_features == 9
    assert models.build_model(Namespace(arch="tiny_wide", width=2), None).layer.in_features == 2
    assert models.ARCH_MODEL_INV_REGISTRY["tiny"] == ["tiny_wide"]
    with pytest.raises(ValueError, match="registered already"):
        models.register_model_architecture("tiny", "tiny_wide")(tiny_wide)


def test_plugin_sizes_of_a_builtin(clean):
    models.register_model_architecture("roberta", "roberta_pocket")(lambda args: setattr(args, "encoder_layers", 1))
    assert models.ARCH_MODEL_REGISTRY["roberta_pocket"] is models.MODEL_REGISTRY["roberta"]


def test_a_taken_name_keeps_its_class(clean):
    models.register_model("tiny")(Tiny)

    class Other(Tiny):
        pass

    assert models.register_model("tiny")(Other) is Tiny


def test_errors(clean):
    with pytest.raises(ValueError, match="must extend BaseFairseqModel"):
        models.register_model("linear")(nn.Linear)
    with pytest.raises(ValueError, match="did you mean 'roberta'"):
        models.register_model_architecture("robreta", "x")(lambda args: None)
    with pytest.raises(ConfigError, match="unknown model 'robertta'; did you mean 'roberta'"):
        models.build_model(Namespace(_name="robertta"), None)
    with pytest.raises(ConfigError, match="no name given"):
        models.build_model(Namespace(), None)


class TestBases:
    def test_submodules_are_told(self):
        class Callback(nn.Module):
            seen = ()

            def set_num_updates(self, num_updates):
                self.seen += (num_updates,)

            def set_epoch(self, epoch):
                self.seen += (f"epoch {epoch}",)

            def upgrade_state_dict_named(self, state_dict, name):
                state_dict[f"{name}.weight"] = state_dict.pop(f"{name}.old")

        model = Tiny(2)
        model.inner = nn.Sequential(Callback())
        model.set_num_updates(4)
        model.set_epoch(2)
        assert model.inner[0].seen == (4, "epoch 2")
        state = {"inner.0.old": 1}
        model.upgrade_state_dict(state)
        assert state == {"inner.0.weight": 1}

    def test_inference_is_final(self):
        class Fast(nn.Module):
            def make_generation_fast_(self, name, need_attn=False, **kwargs):
                self.told = (name, need_attn, kwargs["retain_dropout"], kwargs["beamable_mm_beam_size"])

        model = Tiny(2)
        model.fast = Fast()
        generation = Namespace(
            no_beamable_mm=False, beam=4, print_alignment=None, retain_dropout=True, retain_dropout_modules=None
        )
        model.prepare_for_inference_(Namespace(generation=generation))
        assert model.fast.told == ("fast", None, True, 4) and not model.training
        with pytest.raises(RuntimeError, match="prepared for inference"):
            model.train()
        model.eval()

    def test_encoder_decoder(self):
        class Encoder(models.FairseqEncoder):
            def forward(self, src_tokens, src_lengths=None, **kwargs):
                return src_tokens.float()

        class Decoder(models.FairseqDecoder):
            def extract_features(self, prev_output_tokens, encoder_out=None, **kwargs):
                return prev_output_tokens.float() + encoder_out, {"extra": 1}

            def output_layer(self, features, **kwargs):
                return features.unsqueeze(-1) * torch.tensor([0.0, 1.0])

        model = models.FairseqEncoderDecoderModel(Encoder(None), Decoder(None))
        tokens = torch.tensor([[1, 2]])
        scores, extra = model(tokens, None, tokens)
        assert scores[..., 1].tolist() == [[2, 4]] and extra == {"extra": 1}
        assert model.extract_features(tokens, None, tokens)[0].tolist() == [[2, 4]]
        probs = model.get_normalized_probs((scores, extra), log_probs=False)
        torch.testing.assert_close(probs, scores.softmax(-1))
        assert model.max_positions() == (1e6, 1e6)
        assert model.encoder.forward_torchscript({"src_tokens": tokens, "prev_output_tokens": tokens}).tolist() == [
            [1, 2]
        ]

    def test_composite_encoder(self):
        class Encoder(models.FairseqEncoder):
            def __init__(self, factor):
                super().__init__("dictionary")
                self.factor = factor

            def forward(self, src_tokens, src_lengths=None):
                return src_tokens * self.factor

            def reorder_encoder_out(self, encoder_out, new_order):
                return encoder_out[new_order]

        encoder = models.CompositeEncoder({"a": Encoder(2), "b": Encoder(3)})
        out = encoder(torch.tensor([1, 2]))
        assert {k: v.tolist() for k, v in out.items()} == {"a": [2, 4], "b": [3, 6]}
        assert encoder.reorder_encoder_out(out, torch.tensor([1]))["b"].tolist() == [6]
        assert encoder.dictionary == "dictionary"
