"""`optimizer=composite` in a run: rates of each group, a resume to the same losses, and mistakes in one line."""

import pytest
import torch

from fairseq import optim
from fairseq.dataclass.typed import typed_config
from fairseq.errors import ConfigError
from fairseq.optim.lr_scheduler import build_lr_scheduler

GROUPS = {
    "default": {"optimizer": {"_name": "adam"}, "lr_scheduler": {"_name": "inverse_sqrt", "warmup_updates": 3}},
    "biases": {"lr_float": 0.5, "optimizer": {"_name": "sgd"}, "lr_scheduler": {"_name": "fixed"}},
}


def built(groups, marked=True):
    cfg = typed_config(
        {"optimizer": {"_name": "composite", "groups": groups}, "lr_scheduler": "pass_through",
         "optimization": {"lr": [0.25]}}
    )  # fmt: skip
    layer = torch.nn.Linear(3, 2)
    if marked:
        layer.bias.param_group = "biases"
    return layer, optim.build_optimizer(cfg.optimizer, layer.parameters()), cfg


def test_rates_follow_the_groups_and_default_to_the_runs():
    layer, optimizer, cfg = built(GROUPS)
    schedule = build_lr_scheduler(cfg.lr_scheduler, optimizer)
    rates = [schedule.step_update(update) for update in (0, 3)]
    assert [rate["biases"] for rate in rates] == [0.5, 0.5]
    assert rates[1]["default"] == pytest.approx(0.25) and rates[0]["default"] < 0.25
    before = [weight.detach().clone() for weight in layer.parameters()]
    layer(torch.ones(1, 3)).sum().backward()
    assert float(optimizer.clip_grad_norm(0)) == pytest.approx(8**0.5)
    optimizer.step()
    torch.testing.assert_close(layer.weight.detach(), before[0] - 0.25)  # Adam's first step: the rate
    torch.testing.assert_close(layer.bias.detach(), before[1] - 0.5)
    optimizer.zero_grad()
    assert layer.weight.grad is None and layer.bias.grad is None


@pytest.mark.parametrize(
    ("groups", "marked", "message"),
    [
        (GROUPS, False, "for several groups of parameters, and this model has only"),
        ({"default": GROUPS["default"]}, True, "unknown group of parameters 'biases'"),
        ({**GROUPS, "biases": {"optimizer": {"_name": "sgd"}}}, True, "groups.biases.lr_scheduler is missing"),
        ({**GROUPS, "biases": {**GROUPS["biases"], "optimizer": {"_name": "sgdd"}}}, True, "sgdd"),
    ],
)
def test_mistakes(groups, marked, message):
    with pytest.raises(ConfigError, match=message):
        built(groups, marked)


def test_states_of_other_groups_are_refused():
    _, optimizer, _ = built(GROUPS)
    with pytest.raises(ConfigError, match="reset_optimizer=true"):
        optimizer.load_state_dict({"default": optimizer.state_dict()["default"]})


@pytest.fixture
def marked_transformer(monkeypatch):
    """Transformers whose decoder is a group of its own."""
    from fairseq.models.transformer import TransformerModel

    usual = TransformerModel.build_model.__func__

    def build(cls, args, task):
        model = usual(cls, args, task)
        for parameter in model.decoder.parameters():
            parameter.param_group = "decoder"
        return model

    monkeypatch.setattr(TransformerModel, "build_model", classmethod(build))


def test_a_run_resumes_to_the_same_weights(marked_transformer, tmp_path):
    """Trained for 6 updates at once, and for 3 and 3: the same weights."""
    from fairseq import checkpoint_utils, options
    from fairseq_cli import preprocess, train

    lines = "".join(f"a{i % 5} b{i % 3} c\n" for i in range(40))
    for name in ("train.de", "train.en", "valid.de", "valid.en"):
        (tmp_path / name).write_text(lines)
    parser = options.get_preprocessing_parser()
    words = f"-s de -t en --trainpref {tmp_path}/train --validpref {tmp_path}/valid --destdir {tmp_path}/bin"
    preprocess.main(parser.parse_args(words.split()))
    groups = {"default": GROUPS["default"], "decoder": GROUPS["biases"] | {"lr_float": 0.01}}

    def run(folder, updates):
        cfg = typed_config(
            {
                "task": {"_name": "translation", "data": f"{tmp_path}/bin", "source_lang": "de", "target_lang": "en"},
                "model": {"_name": "transformer_tiny", "dropout": 0.0},
                "optimizer": {"_name": "composite", "groups": groups},
                "lr_scheduler": "pass_through",
                "criterion": "cross_entropy",
                "optimization": {"max_update": updates, "lr": [0.002]},
                "dataset": {"batch_size": 8, "num_workers": 0},
                "checkpoint": {"save_dir": str(folder), "no_epoch_checkpoints": True},
                "common": {"cpu": True, "log_format": "json", "log_interval": 1, "seed": 2},
            }
        )
        train.main(cfg)
        return checkpoint_utils.load_checkpoint_to_cpu(str(folder / "checkpoint_last.pt"))["model"]

    whole = run(tmp_path / "whole", 6)
    run(tmp_path / "parts", 3)
    parts = run(tmp_path / "parts", 6)
    assert whole.keys() == parts.keys()
    for name, weight in whole.items():
        torch.testing.assert_close(weight, parts[name], rtol=0, atol=0)
