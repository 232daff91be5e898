"""Each mistake is one line that says what, where, and what to do."""

from pathlib import Path

import pytest

from fairseq.dataclass.initialize import compose
from fairseq.errors import ConfigError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run.yaml").write_text(
        "task:\n  _name: sentence_prediction\n  data: ???\n"
        "model: roberta\noptimizer: adam\ncriterion: sentence_prediction\n"
    )
    (tmp_path / "broken.yaml").write_text("common:\n  seed: 1\n bad\n")
    (tmp_path / "scalar.yaml").write_text("common: 3\n")
    (tmp_path / "nameless.yaml").write_text("model:\n  dropout: 0.1\n")
    return tmp_path


@pytest.mark.parametrize(
    "words,line",
    [
        (["model.dropuot=0.3"], "unknown key 'dropuot' in model (roberta); did you mean 'dropout'?"),
        (["+model.dropuot=0.3"], "unknown key 'dropuot' in model (roberta); did you mean 'dropout'?"),
        (["optimisation.lr=1"], "unknown key 'optimisation' in the config; did you mean 'optimization'?"),
        (["dropout=0.3"], "unknown key 'dropout' in the config; did you mean 'model.dropout'?"),
        (["common.batch_size=3"], "unknown key 'batch_size' in common; did you mean 'dataset.batch_size'?"),
        (
            ["model.quantization=int8"],
            "unknown key 'quantization' in model (roberta); quantization is another group: write quantization=NAME",
        ),
        (["task.optimizer=adam"], "unknown key 'optimizer' in task (sentence_prediction); optimizer is another group"),
        (
            ["common.dataset=3"],
            "unknown key 'dataset' in common; dataset is another group: write dataset.KEY=VALUE",
        ),
        (["optimizer=adm"], "unknown optimizer 'adm'; did you mean 'adam'?"),
        (["optimizr=adam"], "unknown key 'optimizr' in the config; did you mean 'optimizer'?"),
        (["model.dropout=abc"], "model.dropout must be a number, not 'abc'"),
        (["model.encoder_layers=1.5"], "model.encoder_layers must be an integer, not 1.5"),
        (["common.fp16=maybe"], "common.fp16 must be true or false, not 'maybe'"),
        (["common.log_format=xml"], "common.log_format must be one of json, none, simple, tqdm, not 'xml'"),
        (["optimization.lr=[a]"], "optimization.lr must be a list of numbers, not ['a']"),
        (["common.seed=null"], "common.seed must be an integer, not None"),
        (["common=3"], "common must be a mapping of keys to values, not 3"),
        (["common.seed=${common.sed}"], "common.seed: Interpolation key 'common.sed' not found"),
        (
            [],
            "task.data is missing (folder with input0, label and, for pairs, input1, as fairseq-prepare-glue "
            "writes it); give it as task.data=VALUE",
        ),
        (["task.data"], "'task.data' is no setting; write KEY=VALUE (all keys: -h)"),
        (["hydra/launcher=slurm"], None),
        (["run_config=local"], "unknown key 'run_config' in the config"),
        (["common.seed=1,2"], None),
        (["common.seed=[1"], None),
    ],
)
def test_words(folder, words, line):
    with pytest.raises(ConfigError) as error:
        compose("run", folder, words)
    message = str(error.value)
    assert "\n" not in message and len(message) < 300
    if line is not None:
        assert message.startswith(line)
    else:
        assert words[0].split("=")[0].split("/")[0].split(".")[0] in message or "--multirun" in message


@pytest.mark.parametrize(
    "name,line",
    [
        ("runn", "no config 'runn' in {folder}; did you mean 'run'?"),
        ("xyz", "no config 'xyz' in {folder}; there are: broken, nameless, run, scalar"),
        ("broken", "broken.yaml in {folder}: line 3: "),
        ("scalar", "common must be a mapping of keys to values, not 3"),
        ("nameless", "model has keys (dropout) but no _name; choose with model._name=NAME: "),
    ],
)
def test_files(folder, name, line):
    with pytest.raises(ConfigError) as error:
        compose(name, folder)
    assert str(error.value).startswith(line.format(folder=folder)) and "\n" not in str(error.value)


def test_missing_folder():
    with pytest.raises(ConfigError, match="there is no config folder nowhere"):
        compose("x", "nowhere")


def test_nothing_chosen():
    with pytest.raises(ConfigError, match=r"no task is chosen; give task=NAME: .*sentence_prediction"):
        compose()


def test_option_missing_in_a_group(folder):
    (folder / "run_config").mkdir()
    (folder / "run_config" / "local.yaml").write_text("# @package _global_\n")
    with pytest.raises(ConfigError, match=r"unknown run_config 'locl'; did you mean 'local'\?"):
        compose("run", folder, ["run_config=locl"])


def test_launcher_settings_without_the_launcher(folder):
    (folder / "slurm.yaml").write_text("hydra:\n  launcher:\n    mem_gb: 10\n")
    with pytest.raises(ConfigError, match=r"slurm: hydra\.launcher\.mem_gb belongs to another launcher; choose it"):
        compose("slurm", folder)
