"""fairseq-hydra-train around the training itself: folders, logs, sweeps, return values, errors, start-up."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from fairseq.errors import ConfigError, TrainingError
from fairseq_cli import hydra_train, train

RUN = "task:\n  _name: masked_lm\n  data: wiki-bin\nmodel: roberta\noptimizer: adam\n"


@pytest.fixture
def launch(tmp_path, monkeypatch):
    """A folder to start in, with `conf/run.yaml`; what training would be given is recorded instead of trained with."""
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "run.yaml").write_text(RUN)
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield tmp_path
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def trained(launch, monkeypatch):
    configs = []

    def record(cfg):
        logging.getLogger("fairseq_cli.train").info(f"training with seed {cfg.common.seed}")
        configs.append(cfg)
        return float(cfg.common.seed)

    monkeypatch.setattr(train, "main", record)
    return configs


def start(*words):
    return hydra_train.run(
        hydra_train.hydra_main, ["--config-dir", "conf", "--config-name", "run", *words], "hydra_train"
    )


def run_dirs(launch: Path, kind: str = "outputs") -> list[Path]:
    return sorted((launch / kind).glob("*/*"))


# ---- one job


def test_job_gets_the_finished_config_and_returns_its_best_score(launch, trained):
    assert start("common.seed=3") == 3.0
    cfg = trained[0]
    assert cfg.task.seed == 3 and cfg.model.max_positions == 1024 and "hydra" not in cfg
    assert cfg.task.data == "wiki-bin" and Path.cwd() == launch


def test_default_save_dir_lies_in_the_run_dir_with_hydras_files_and_the_log(launch, trained):
    start("model.dropout=0.3")
    (run_dir,) = run_dirs(launch)
    assert trained[0].checkpoint.save_dir == str(run_dir / "checkpoints")
    assert OmegaConf.load(run_dir / ".hydra" / "config.yaml").model.dropout == 0.3
    assert OmegaConf.load(run_dir / ".hydra" / "overrides.yaml") == ["model.dropout=0.3"]
    assert "[fairseq_cli.train][INFO] - training with seed 1" in (run_dir / "hydra_train.log").read_text()


def test_saved_config_runs_again(launch, trained):
    start("model.dropout=0.3", "hydra.run.dir=first")
    start_again = ["--config-dir", "first/.hydra", "--config-name", "config", "hydra.run.dir=second"]
    hydra_train.run(hydra_train.hydra_main, start_again, "hydra_train")
    assert trained[1].model == trained[0].model
    assert trained[1].checkpoint.save_dir == str(launch / "second" / "checkpoints")


@pytest.mark.parametrize("word,place", [("checkpoints", "checkpoints"), ("a/b", "a/b"), ("/tmp/x", "/tmp/x")])
def test_given_save_dir_is_relative_to_the_launch_folder(launch, trained, word, place):
    start(f"checkpoint.save_dir={word}")
    assert os.path.abspath(trained[0].checkpoint.save_dir) == str(launch / place)


def test_home_folder_in_paths(launch, trained, monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    start("task.data=~/a:~/b", "common.tensorboard_logdir=~/tb")
    assert trained[0].task.data == "/home/someone/a:/home/someone/b"
    assert trained[0].common.tensorboard_logdir == "/home/someone/tb"


def test_chdir_changes_no_path(launch, trained):
    (launch / "model.pt").touch()
    words = ["task.data=a/b:c/d", "checkpoint.restore_file=model.pt", "checkpoint.finetune_from_model=x/y.pt"]
    start("hydra.job.chdir=true", "hydra.run.dir=here", "checkpoint.save_dir=ckpt", *words)
    cfg = trained[0]
    assert cfg.task.data == f"{launch}/a/b:{launch}/c/d"
    assert cfg.checkpoint.restore_file == f"{launch}/model.pt" and cfg.checkpoint.save_dir == f"{launch}/ckpt"
    assert cfg.checkpoint.finetune_from_model == f"{launch}/x/y.pt"


def test_reset_logging_uses_fairseqs_layout(launch, trained, capsys):
    start("common.reset_logging=true")
    assert " | INFO | fairseq_cli.train | training with seed 1" in capsys.readouterr().out
    assert "training with seed" not in (run_dirs(launch)[0] / "hydra_train.log").read_text()


# ---- sweeps


def test_sweep_runs_each_combination_in_a_folder_of_its_own(launch, trained):
    (batch,) = start("-m", "common.seed=4,5", "optimizer=adam,sgd", "common.log_file=log.txt")
    assert [(cfg.common.seed, cfg.optimizer._name) for cfg in trained] == [
        (4, "adam"),
        (4, "sgd"),
        (5, "adam"),
        (5, "sgd"),
    ]
    assert [job.return_value for job in batch] == [4.0, 4.0, 5.0, 5.0]  # what sweepers optimise
    folders = run_dirs(launch, "multirun")[0]
    assert [cfg.checkpoint.save_dir for cfg in trained] == [str(folders / str(n) / "checkpoints") for n in range(4)]
    assert [cfg.common.log_file for cfg in trained] == [str(folders / str(n) / "log.txt") for n in range(4)]


def test_given_relative_save_dir_of_a_sweep_lies_in_each_jobs_folder(launch, trained):
    start("-m", "common.seed=4,5", "checkpoint.save_dir=mine", "hydra.sweep.dir=sweep")
    assert [cfg.checkpoint.save_dir for cfg in trained] == [str(launch / "sweep" / n / "mine") for n in "01"]


def test_sweep_into_one_absolute_folder_is_warned_about(launch, trained, capsys):
    start("-m", "common.seed=4,5", f"checkpoint.save_dir={launch}/one")
    assert f"all jobs of this sweep save to {launch}/one, over each other" in capsys.readouterr().out
    start("-m", "common.seed=4,5", f"checkpoint.save_dir={launch}/${{hydra:job.num}}")
    assert "over each other" not in capsys.readouterr().out
    assert [cfg.checkpoint.save_dir for cfg in trained[2:]] == [f"{launch}/0", f"{launch}/1"]


def test_sweep_over_a_mandatory_key(launch, trained):
    (launch / "conf" / "run.yaml").write_text(RUN.replace("wiki-bin", "???"))
    start("-m", "task.data=a,b")
    assert [cfg.task.data for cfg in trained] == ["a", "b"]


def test_sweep_checks_each_job(launch, trained):
    with pytest.raises(ConfigError, match="unknown optimizer 'adm'"):
        start("-m", "optimizer=adam,adm")
    assert not trained  # before the first job starts


def test_choosing_the_sweeper(launch, trained):
    start("hydra/sweeper=basic", "hydra.mode=MULTIRUN", "common.seed=1,2")
    assert len(trained) == 2
    with pytest.raises(ConfigError, match=r"unknown hydra/sweeper 'optuna'.*hydra-optuna-sweeper"):
        start("-m", "hydra/sweeper=optuna")


def test_suppressed_crash_lets_the_sweep_go_on(launch, monkeypatch, capsys):
    def crash(cfg):
        if cfg.common.seed == 1:
            raise RuntimeError("out of luck")
        return 0.5

    monkeypatch.setattr(train, "main", crash)
    (batch,) = start("-m", "common.seed=1,2", "common.suppress_crashes=true")
    assert [job.return_value for job in batch] == [None, 0.5]
    assert "Crashed! out of luck" in capsys.readouterr().out
    with pytest.raises(RuntimeError, match="out of luck"):
        start()


# ---- endings


def ending(capsys, *argv) -> tuple[int, str]:
    with pytest.raises(SystemExit) as end:
        hydra_train.cli_main(list(argv))
    return end.value.code, capsys.readouterr().err


def test_errors_of_training_end_in_one_line(launch, monkeypatch, capsys):
    def fail(cfg):
        raise TrainingError("loss is NaN at update 3")

    monkeypatch.setattr(train, "main", fail)
    assert ending(capsys, "--config-dir", "conf", "--config-name", "run") == (1, "error: loss is NaN at update 3\n")


@pytest.mark.parametrize("place", ["conf/run.yaml/x", "${oc.env:CONFIG_TEST_NONE}"])
def test_run_dir_that_cannot_be(launch, trained, capsys, place):
    code, line = ending(capsys, "--config-dir", "conf", "--config-name", "run", f"hydra.run.dir={place}")
    assert code == 2 and line.startswith("error: cannot set up the run's folder, hydra.run.dir: ")
    assert line.count("\n") == 1 and not trained


def test_missing_key_ends_before_a_folder_is_made(launch, trained, capsys):
    code, line = ending(capsys, "--config-dir", "conf", "--config-name", "run", "task.data=???")
    assert code == 2 and line.startswith("error: task.data is missing") and line.count("\n") == 1
    assert not (launch / "outputs").exists() and not trained


@pytest.mark.parametrize(
    "argv,line",
    [
        (["-config-dir", "conf"], "-config-dir has one dash; write --config-dir"),
        (["--max-epoch", "3"], "--max-epoch is a flag of fairseq-train; here write optimization.max_epoch=VALUE"),
        (["--confg-name", "rte"], "unknown option --confg-name; did you mean --config-name?"),
        (["--cfg", "jobs"], "argument --cfg/-c: invalid choice: 'jobs' (choose from 'job', 'hydra', 'all')"),
        (["--cfg", "job", "-m"], "choose one of --multirun and --cfg"),
        (["--resolve"], "--resolve goes with --cfg"),
    ],
)
def test_wrong_options(launch, capsys, argv, line):
    code, error = ending(capsys, *argv)
    assert code == 2 and error.startswith(f"error: {line}") and error.count("\n") == 1


def test_options_and_settings_in_any_order(launch, trained):
    hydra_train.run(
        hydra_train.hydra_main,
        ["common.seed=9", "--config-name", "run", "+common.log_interval=5", "-cd", "conf", "model.dropout=0.4"],
        "hydra_train",
    )
    cfg = trained[0]
    assert (cfg.common.seed, cfg.common.log_interval, cfg.model.dropout) == (9, 5, 0.4)


# ---- looking without running


def test_cfg_prints_yaml_that_is_the_config(launch, trained, capsys):
    start("--cfg", "job", "model.dropout=0.3")
    printed = OmegaConf.create(capsys.readouterr().out)
    assert printed.model.dropout == 0.3 and printed.common.seed == 1 and "hydra" not in printed
    start("--cfg", "job", "-p", "task", "--resolve", "common.seed=5")
    assert "seed: 5" in capsys.readouterr().out
    assert not trained and not (launch / "outputs").exists()


def test_info_and_version(launch, trained, capsys):
    start("--info", "searchpath")
    assert str(launch / "conf") in capsys.readouterr().out
    start("--version")
    assert capsys.readouterr().out.strip()
    assert not trained


# ---- start-up


def test_help_starts_without_torch(tmp_path):
    code = "import sys, fairseq_cli.hydra_train as h; h.cli_main(['--help']); assert 'torch' not in sys.modules"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "usage: fairseq-hydra-train" in output and "max_update" in output


def test_composing_imports_no_torch():
    code = (
        "import sys; from fairseq.dataclass.initialize import compose; "
        "compose(overrides=['task=masked_lm', 'task.data=x', 'model=roberta', 'optimizer=adam']); "
        "from fairseq import options; import fairseq.dataclass.utils; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
