"""The helpers that plugins and other parts import from fairseq.dataclass."""

from argparse import Namespace
from dataclasses import dataclass, field

import pytest
from omegaconf import OmegaConf

from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.dataclass.initialize import compose
from fairseq.dataclass.optimizers import AdamConfig
from fairseq.dataclass.utils import merge_with_parent, overwrite_args_by_name, populate_dataclass, to_container
from fairseq.errors import ConfigError

MODE = ChoiceEnum(["fast", "slow-ish"])


@dataclass
class Inner(FairseqDataclass):
    depth: int = field(default=1, metadata={"help": "depth"})


@dataclass
class Outer(FairseqDataclass):
    """As plugins write them: plain fields, an instance as a default, a choice."""

    inner: Inner = Inner()
    mode: MODE = field(default="fast", metadata={"help": "mode", "argparse_alias": ["--m"]})
    name: str = "x"


def test_config_instances_as_defaults_are_legal():
    assert Outer().inner.depth == 1 and OmegaConf.structured(Outer).inner.depth == 1


def test_field_metadata():
    outer = Outer()
    assert outer._get_help("mode") == "mode" and outer._get_argparse_alias("mode") == ["--m"]
    assert outer._get_default("name") == "x" and outer._get_argparse_const("name") is None
    assert "inner" in outer._get_all_attributes() and outer._get_type("name") in (str, "str")


def test_choices_are_strings():
    choice = MODE("slow-ish")
    assert (
        choice == "slow-ish"
        and str(choice) == "slow-ish"
        and {choice: 1}["slow-ish"] == 1
        and f"{choice}" == "slow-ish"
    )
    node = OmegaConf.structured(Outer)
    node.mode = "slow-ish"
    assert node.mode == "slow-ish"
    with pytest.raises(Exception, match="slow"):
        node.mode = "other"


def test_populate_dataclass():
    config = populate_dataclass(AdamConfig(), Namespace(adam_eps=1.0, unrelated=2))
    assert config.adam_eps == 1.0 and config.weight_decay == 0.0


def test_merge_with_parent():
    cfg = merge_with_parent(AdamConfig(), OmegaConf.create({"_name": "adam", "adam_eps": 0.5, "lr": [0.1]}))
    assert cfg._name == "adam" and cfg.adam_eps == 0.5 and cfg.weight_decay == 0.0
    with pytest.raises(ConfigError, match="unknown key 'foo'"):
        merge_with_parent(AdamConfig(), OmegaConf.create({"foo": 1}))
    assert "foo" not in merge_with_parent(AdamConfig(), OmegaConf.create({"foo": 1}), remove_missing=True)
    nested = merge_with_parent(Outer(), OmegaConf.create({"inner": {"depth": 5}}))
    assert nested.inner.depth == 5 and nested.mode == "fast"


@pytest.fixture
def cfg():
    words = ["task=masked_lm", "task.data=d", "model=roberta", "optimizer=adam", "dataset.batch_size=4"]
    return compose(overrides=words)


def test_overwrite_by_bare_name_reaches_every_group(cfg):
    overwrite_args_by_name(cfg, {"data": "new", "dropout": 0.5, "seed": 9, "lr": 0.3, "model": {"encoder_layers": 2}})
    assert (cfg.task.data, cfg.model.dropout, cfg.model.encoder_layers) == ("new", 0.5, 2)
    assert cfg.common.seed == cfg.task.seed == 9 and cfg.optimization.lr == cfg.optimizer.lr == [0.3]
    with pytest.raises(ConfigError, match="dropout='much'"):
        overwrite_args_by_name(cfg, {"dropout": "much"})


def test_overwrite_reaches_namespaces():
    cfg = OmegaConf.create({"model": Namespace(dropout=0.1)}, flags={"allow_objects": True})
    overwrite_args_by_name(cfg, {"dropout": 0.5, "unknown": 1})
    assert cfg.model.dropout == 0.5 and not hasattr(cfg.model, "unknown")


def test_to_plain_holds_only_plain_values(cfg):
    cfg.common.log_format = "json"

    def check(value):
        assert type(value) in (dict, list, str, int, float, bool, type(None)), type(value)
        for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            check(part)

    check(to_container(cfg))
