"""Components from a `--user-dir` / `common.user_dir` folder: typed where they have a dataclass, free-form where not."""

import shutil
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from fairseq import options
from fairseq.dataclass import catalog
from fairseq.dataclass.initialize import compose
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.errors import ConfigError

PLUGIN = Path(__file__).parent / "fixtures" / "plugin"


@pytest.fixture(scope="module")
def user_dir(tmp_path_factory):
    """The plugin under a name of its own; what it registers is taken out again."""
    import fairseq.criterions  # noqa: F401
    from fairseq import models
    from fairseq.registry import REGISTRIES

    folder = tmp_path_factory.mktemp("plugins") / "config_test_plugin"
    shutil.copytree(PLUGIN, folder)
    yield str(folder)
    sys.modules.pop("config_test_plugin", None)
    tables = [catalog.group("model"), catalog.group("criterion"), REGISTRIES["criterion"]["registry"]]
    tables += [getattr(models, name) for name in vars(models) if name.endswith("_REGISTRY")]
    for table in {id(table): table for table in tables}.values():
        for name in [name for name in table if name.startswith("plugin_")]:
            del table[name]


BASE = ["task=masked_lm", "task.data=d", "optimizer=adam"]


def test_dataclass_component(user_dir):
    words = [*BASE, f"common.user_dir={user_dir}", "model=roberta", "criterion=plugin_loss"]
    cfg = compose(overrides=[*words, "optimization.sentence_avg=true"])
    assert cfg.criterion.sharpness == 2.0 and cfg.criterion.sentence_avg is True
    assert compose(overrides=[*words, "criterion.sharpness=3"]).criterion.sharpness == 3.0
    with pytest.raises(ConfigError, match=r"unknown key 'sharpnes' in criterion \(plugin_loss\); did you mean"):
        compose(overrides=[*words, "criterion.sharpnes=3"])


def test_user_dir_from_the_config_file(user_dir, tmp_path):
    (tmp_path / "run.yaml").write_text(f"common:\n  user_dir: {user_dir}\ncriterion: plugin_loss\n")
    assert compose("run", tmp_path, check=False).criterion.sharpness == 2.0


def test_component_with_add_args_stays_free_form(user_dir):
    cfg = compose(overrides=[*BASE, f"common.user_dir={user_dir}", "model=plugin_old_model_deep", "+model.any=[1,2]"])
    assert cfg.model._name == "plugin_old_model_deep" and cfg.model.any == [1, 2]
    assert getattr(cfg.model, "depth", "unset") == "unset"


def test_architecture_of_a_dataclass_model(user_dir):
    words = [*BASE, f"common.user_dir={user_dir}", "model=plugin_new_model_wide"]
    with pytest.raises(ConfigError, match="did you mean 'width'"):
        compose(overrides=[*words, "model.widht=3"])


def flags(user_dir: str, words: str) -> Namespace:
    common = f"d --user-dir {user_dir} --task masked_lm --optimizer adam"
    return options.parse_args_and_arch(options.get_training_parser(), f"{common} {words}".split())


def test_flags_from_add_args_and_from_the_architecture(user_dir):
    args = flags(user_dir, "--arch plugin_old_model_deep --dropout 0.4")
    assert (args.depth, args.dropout) == (30, 0.4)
    assert flags(user_dir, "--arch plugin_old_model").depth == 3
    cfg = convert_namespace_to_omegaconf(args)
    assert isinstance(cfg.model, Namespace) and cfg.model._name == "plugin_old_model_deep" and cfg.model.depth == 30
    assert cfg.model.data == "d"  # all flags, as old components expect


def test_flags_from_a_dataclass(user_dir):
    args = flags(user_dir, "--arch plugin_new_model_wide --criterion plugin_loss --sharpness 5")
    cfg = convert_namespace_to_omegaconf(args)
    assert cfg.criterion.sharpness == 5.0 and cfg.model.width == 160
    assert convert_namespace_to_omegaconf(flags(user_dir, "--arch plugin_new_model")).model.width == 16
    assert convert_namespace_to_omegaconf(flags(user_dir, "--arch plugin_new_model_wide --width 2")).model.width == 2


def test_unknown_component_names_those_of_plugins_too(user_dir):
    with pytest.raises(ConfigError, match="did you mean 'plugin_old_model'"):
        flags(user_dir, "--arch plugin_old_mdl")
