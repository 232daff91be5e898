"""Composition: what YAML files, their groups and the words on the command line add up to."""

from argparse import Namespace
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from fairseq.dataclass.initialize import add_defaults, compose, validate_config
from fairseq.dataclass.typed import typed_config
from fairseq.dataclass.utils import to_container
from fairseq.errors import ConfigError

RTE = """\
# @package _group_
common:
  fp16: true
  log_interval: 200
task:
  _name: sentence_prediction
  data: ???
  num_classes: 2
checkpoint:
  restore_file: ???
criterion:
  _name: sentence_prediction
  report_mcc: true
optimizer:
  _name: adam
  adam_betas: (0.9,0.98)
  weight_decay: 0.1
lr_scheduler:
  _name: polynomial_decay
  warmup_updates: 122
optimization:
  lr: [2e-05]
  max_update: 2036
model:
  _name: roberta
  dropout: 0.2
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rte.yaml").write_text(RTE)
    return tmp_path


def write(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def rte(folder: Path, *words: str, check: bool = False) -> DictConfig:
    return compose("rte", folder, words, check=check)


# ---- files


def test_a_file_over_the_defaults_typed_and_resolved(folder):
    cfg = rte(folder, "task.data=RTE-bin", check=True)
    assert cfg.common.fp16 is True and cfg.common.seed == 1
    assert cfg.optimizer.adam_betas == "(0.9,0.98)" and cfg.optimizer.lr == [2e-05]
    assert cfg.lr_scheduler.total_num_update == 2036 and cfg.task.seed == 1
    assert cfg.model.encoder_layers == 12 and cfg.model.dropout == 0.2
    with pytest.raises(Exception, match="'dropuot'"):
        cfg.model.dropuot = 1


def test_bare_component_names(folder):
    write(folder, "base.yaml", "# @package _group_\ncriterion: masked_lm\ntask: masked_lm\nmodel: roberta\n")
    cfg = compose("base", folder, ["task.data=x", "criterion.tpu=false"], check=False)
    assert (cfg.criterion._name, cfg.task._name, cfg.task.data) == ("masked_lm", "masked_lm", "x")


def test_a_file_in_a_subfolder_is_about_the_root_too(folder):
    write(folder, "deep/er.yaml", "# @package _group_\ncommon:\n  seed: 7\n")
    write(folder, "deep/no_header.yaml", "common:\n  seed: 8\n")
    assert compose("deep/er", folder, check=False).common.seed == 7
    assert compose("deep/no_header", folder, check=False).common.seed == 8


def test_default_criterion_and_schedule(folder):
    cfg = compose(check=False)
    assert cfg.criterion._name == "cross_entropy" and cfg.lr_scheduler._name == "fixed" and cfg.optimizer is None


def test_environment_variables(folder, monkeypatch):
    monkeypatch.setenv("CONFIG_TEST_SEED", "11")
    monkeypatch.delenv("CONFIG_TEST_NONE", raising=False)
    write(folder, "e.yaml", "common:\n  seed: ${env:CONFIG_TEST_SEED}\n  log_file: ${env:CONFIG_TEST_NONE,run.log}\n")
    cfg = compose("e", folder, check=False)
    assert cfg.common.seed == 11 and cfg.common.log_file == "run.log"
    with pytest.raises(ConfigError, match=r"common\.log_file: .*CONFIG_TEST_NONE is not set"):
        compose("e", folder, ["common.log_file=${env:CONFIG_TEST_NONE}"], check=False)


def test_interpolation_between_groups(folder):
    assert rte(folder, "optimization.max_update=${lr_scheduler.warmup_updates}").optimization.max_update == 122


def test_open_key_with_a_default_takes_it_as_in_fairseq(folder, caplog):
    assert rte(folder).checkpoint.restore_file == "checkpoint_last.pt"
    assert "checkpoint.restore_file is not given; taking its default, checkpoint_last.pt" in caplog.text


# ---- groups and defaults lists


@pytest.mark.parametrize("word", ["run_config=local", "+run_config=local", "++run_config=local"])
def test_group_files_beside_the_config(folder, word):
    write(folder, "run_config/local.yaml", "# @package _global_\ncommon:\n  log_interval: 1\n")
    assert rte(folder, word).common.log_interval == 1
    assert rte(folder, word, "common.log_interval=5").common.log_interval == 5


def test_presets_of_a_fixed_group(folder):
    write(folder, "common/quiet.yaml", "# @package _group_\nlog_interval: 1000\nno_progress_bar: true\n")
    common = rte(folder, "common=quiet", "common.no_progress_bar=false").common
    assert (common.log_interval, common.no_progress_bar, common.fp16) == (1000, False, True)


@pytest.mark.parametrize("entry", ["run_config: local", "/run_config: local"])
def test_defaults_list(folder, entry):
    write(folder, "run_config/local.yaml", "# @package _global_\ncommon:\n  log_interval: 1\n  seed: 4\n")
    write(folder, "run_config/other.yaml", "# @package _global_\ncommon:\n  log_interval: 2\n")
    write(folder, "listed.yaml", f"defaults:\n  - {entry}\ncommon:\n  log_interval: 200\n")
    assert compose("listed", folder, check=False).common.log_interval == 1  # on top, as no _self_ says otherwise
    assert compose("listed", folder, ["run_config=other"], check=False).common.seed == 1
    assert compose("listed", folder, ["+run_config=other"], check=False).common.log_interval == 2
    write(folder, "self_last.yaml", f"defaults:\n  - {entry}\n  - _self_\ncommon:\n  log_interval: 200\n")
    assert compose("self_last", folder, check=False).common.log_interval == 200


def test_defaults_list_of_fairseqs_bundled_config(folder):
    names = ["task: null", "model: null", "criterion: cross_entropy", "optimizer: null", "lr_scheduler: fixed"]
    write(folder, "config.yaml", "# @package _group_\ndefaults:\n" + "".join(f"  - {n}\n" for n in ["_self_", *names]))
    cfg = compose("config", folder, ["task=masked_lm", "model=roberta", "optimizer=adam", "task.data=d"])
    assert (cfg.task._name, cfg.model._name, cfg.criterion._name) == ("masked_lm", "roberta", "cross_entropy")


@pytest.mark.parametrize("word", ["model=roberta/tiny", "+model=roberta/tiny"])
def test_model_file_without_a_name_is_about_the_model_of_its_folder(folder, word):
    write(folder, "model/roberta/tiny.yaml", "# @package _group_\nencoder_layers: 2\nencoder_embed_dim: 8\n")
    model = compose("config", folder, [word, "model.dropout=0.3"], check=False).model
    assert (model._name, model.encoder_layers, model.encoder_embed_dim, model.dropout) == ("roberta", 2, 8, 0.3)
    assert rte(folder, word).model.dropout == 0.2


def test_model_keys_nested_under_the_models_name():
    assert typed_config({"model": {"roberta": {"encoder_layers": 3}}}).model.encoder_layers == 3


# ---- words


@pytest.mark.parametrize("prefix", ["", "+", "++"])
def test_overrides_with_and_without_plus(folder, prefix):
    cfg = rte(folder, f"{prefix}model.dropout=0.5", f"{prefix}model.encoder_layers=3", f"{prefix}dataset.batch_size=4")
    assert (cfg.model.dropout, cfg.model.encoder_layers, cfg.dataset.batch_size) == (0.5, 3, 4)
    assert cfg.dataset.batch_size_valid == 4


def test_deleting_a_key_leaves_its_default(folder):
    assert rte(folder, "~model.dropout").model.dropout == 0.1
    with pytest.raises(ConfigError, match=r"model\.nothing"):
        rte(folder, "~model.nothing")


def test_a_key_that_a_file_leaves_open_can_be_taken_out(tmp_path, caplog):
    """Hydra said that `checkpoint.restore_file` does not exist, where its help says that ~KEY takes it out."""
    (tmp_path / "open.yaml").write_text("checkpoint:\n  restore_file: ???\n  continue_once: null\n")
    cfg = compose("open", tmp_path, ["~checkpoint.restore_file", "~checkpoint.continue_once"], check=False)
    assert cfg.checkpoint.restore_file == "checkpoint_last.pt" and cfg.checkpoint.continue_once is None
    assert "is not given" not in caplog.text
    with pytest.raises(ConfigError, match=r"'checkpoint\.save_dir' does not exist"):
        compose("open", tmp_path, ["~checkpoint.save_dir"], check=False)


@pytest.mark.parametrize(
    "word,value",
    [
        ("task.data=a b", "a b"),
        ("task.data=/x/y(1)=z", "/x/y(1)=z"),
        ('task.data="/x/RTE-bin"', "/x/RTE-bin"),
        ("task.data='it'", "it"),
        ("task.data=it's", "it's"),
        ("task.data=", ""),
    ],
)
def test_values_with_special_characters(folder, word, value):
    assert rte(folder, word).task.data == value


def test_value_types(folder):
    cfg = rte(folder, "optimizer.adam_betas=(0.9,0.95)", "optimization.lr=3e-5", "optimization.update_freq=[2,4]")
    assert cfg.optimizer.adam_betas == "(0.9,0.95)" and cfg.optimization.lr == [3e-5]
    assert cfg.optimization.update_freq == [2, 4]
    cfg = rte(folder, "dataset.max_tokens=1e3", "common.log_format=json", "optimization.trainable=[heads.*,*.bias]")
    assert cfg.dataset.max_tokens == 1000 and cfg.common.log_format == "json"
    assert cfg.optimization.trainable == ["heads.*", "*.bias"]
    assert rte(folder, "optimizer.adam_betas=[0.9,0.95]").optimizer.adam_betas == [0.9, 0.95]


# ---- choosing components


@pytest.mark.parametrize("word", ["model=roberta_large", "+model=roberta_large", "model._name=roberta_large"])
def test_a_component_without_a_defaults_list(folder, word):
    model = rte(folder, word).model
    assert (model._name, model.encoder_layers, model.dropout) == ("roberta_large", 24, 0.2)


def test_keys_of_the_old_component_go_and_shared_ones_stay(folder, caplog):
    cfg = rte(folder, "optimizer=sgd", "criterion=cross_entropy")
    assert set(cfg.optimizer) == {"_name", "momentum", "weight_decay", "lr"} and cfg.optimizer.weight_decay == 0.1
    assert cfg.criterion._name == "cross_entropy"
    assert "optimizer=sgd: optimizer.adam_betas of the config file" in caplog.text
    assert "criterion.report_mcc" in caplog.text


def test_a_key_that_is_given_by_hand_is_never_dropped(folder):
    with pytest.raises(ConfigError, match=r"unknown key 'adam_eps' in optimizer \(sgd\)"):
        rte(folder, "optimizer=sgd", "optimizer.adam_eps=1")


def test_a_key_that_no_component_has_is_never_dropped(folder):
    write(folder, "typo.yaml", RTE.replace("weight_decay", "weigth_decay"))
    with pytest.raises(ConfigError, match="did you mean 'weight_decay'"):
        compose("typo", folder, ["optimizer=sgd"], check=False)


@pytest.mark.parametrize("word", ["optimizer=null", "~optimizer"])
def test_choosing_nothing(folder, word):
    assert rte(folder, word).optimizer is None
    with pytest.raises(ConfigError, match=r"no optimizer is chosen; give optimizer=NAME: .*adam"):
        rte(folder, word, "task.data=x", check=True)


# ---- what follows from other groups


@pytest.mark.parametrize(
    "words,positions",
    [
        (["task=masked_lm", "task.tokens_per_sample=256"], 256),
        (["task=sentence_prediction", "task.max_positions=128"], 128),
        (["task=sentence_prediction", "task.max_positions=128", "model.max_positions=64"], 64),
        ([], 512),
    ],
)
def test_longest_input_of_the_model(words, positions):
    cfg = compose(overrides=["model=roberta", *words], check=False)
    assert cfg.model.max_positions == cfg.model.max_source_positions == positions


# ---- the Python side


def test_plain_copy_validates_and_composes_again(folder):
    cfg = rte(folder, "task.data=x", "common.log_format=json")
    plain = to_container(cfg)
    assert type(plain["common"]["log_format"]) is str
    validate_config(plain)
    assert typed_config(plain) == cfg
    plain["common"]["log_format"] = "xml"
    with pytest.raises(ConfigError, match=r"common\.log_format must be one of json, none, simple, tqdm, not 'xml'"):
        validate_config(plain)


def test_config_of_another_version_without_what_it_does_not_know():
    values = {"common": {"seed": 2, "new_key": 1}, "model": {"_name": "roberta", "old_key": 1}, "other": {"a": 1}}
    cfg = typed_config(values, unknown_keys="drop")
    assert cfg.common.seed == 2 and cfg.model._name == "roberta"


def test_add_defaults_fills_a_loose_config_in_place():
    cfg = OmegaConf.create({"criterion": "masked_lm", "model": {"_name": "roberta", "dropout": 0.7}, "task": None})
    add_defaults(cfg)
    assert cfg.criterion._name == "masked_lm" and cfg.model.encoder_layers == 12 and cfg.model.dropout == 0.7
    assert cfg.common.seed == 1 and cfg.task is None


def test_namespace_in_a_slot_stays():
    cfg = typed_config({"model": Namespace(_name="some_plugin", depth=3)})
    assert isinstance(cfg.model, Namespace) and cfg.model.depth == 3


@pytest.mark.parametrize("choice", ["transformer_lm_gpt", "transformer_lm/transformer_lm_gpt"])
def test_sizes_under_the_names_of_fairseqs_files(choice):
    cfg = compose(overrides=[f"model={choice}", "task=language_modeling", "model.dropout=0.3"], check=False)
    assert (cfg.model._name, cfg.model.decoder_embed_dim, cfg.model.dropout) == ("transformer_lm_gpt", 768, 0.3)
    with pytest.raises(ConfigError, match=r"'transformer_lm_gtp'; did you mean '(transformer_lm_)?gpt"):
        compose(overrides=[f"model={choice.replace('gpt', 'gtp')}"], check=False)
