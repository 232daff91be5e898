"""The shipped configs: fairseq's values, except that each task selects on its own measure."""

from pathlib import Path

import pytest

from fairseq.dataclass.initialize import compose
from fairseq.dataclass.utils import to_container

ROBERTA = Path(__file__).resolve().parents[2] / "examples" / "roberta" / "config"
FAIRSEQ = Path(__file__).parent / "fixtures" / "fairseq_yaml"

# task -> (measure to select on, criterion keys that compute it)
MEASURES = {
    "cola": ("mcc", {"report_mcc"}),
    "mnli": ("accuracy", set()),
    "mrpc": ("acc_and_f1", {"report_acc_and_f1"}),
    "qnli": ("accuracy", set()),
    "qqp": ("acc_and_f1", {"report_acc_and_f1"}),
    "rte": ("accuracy", set()),
    "sst_2": ("accuracy", set()),
    "sts_b": ("pearson_and_spearman", {"report_pearson_and_spearman"}),
    "wnli": ("accuracy", set()),
}
GIVEN = ["task.data=D", "checkpoint.restore_file=R"]


@pytest.mark.parametrize("task", MEASURES)
def test_selects_on_the_tasks_own_measure(task):
    cfg = compose(task, ROBERTA / "finetuning", GIVEN)
    measure, reports = MEASURES[task]
    assert cfg.checkpoint.best_checkpoint_metric == measure and cfg.checkpoint.maximize_best_checkpoint_metric
    assert {key for key in cfg.criterion if key.startswith("report_") and cfg.criterion[key]} == reports


@pytest.mark.parametrize("task", sorted(set(MEASURES) - {"wnli"}))
def test_all_else_equals_fairseqs_file(task):
    ours = to_container(compose(task, ROBERTA / "finetuning", GIVEN))
    theirs = to_container(compose(task, FAIRSEQ, GIVEN))
    measure, reports = MEASURES[task]
    theirs["checkpoint"].update(best_checkpoint_metric=measure, maximize_best_checkpoint_metric=True)
    theirs["criterion"].update(dict.fromkeys(reports, True))
    if task == "mnli":  # both validation sets, where fairseq ends with an error about the one that nobody named
        theirs["dataset"]["valid_subset"] = "valid,valid1"
    assert ours == theirs


def test_pretraining_equals_fairseqs_file():
    ours = compose("base", ROBERTA / "pretraining", ["task.data=D"])
    assert to_container(ours) == to_container(compose("base", FAIRSEQ, ["task.data=D"]))


@pytest.mark.parametrize("kind,name", [("finetuning", "rte"), ("pretraining", "base")])
def test_local_runs_in_one_process(kind, name):
    cfg = compose(name, ROBERTA / kind, ["run_config=local", "task.data=D"])
    assert cfg.distributed_training.distributed_world_size == 1 and cfg.common.log_interval == 1
    assert cfg.dataset.num_workers == 0 and cfg.dataset.batch_size == 16


@pytest.mark.parametrize("path", sorted(ROBERTA.glob("*/run_config/slurm*.yaml")), ids=lambda path: path.stem)
def test_slurm_files_name_the_launcher_they_need(path):
    name = "rte" if path.parts[-3] == "finetuning" else "base"
    with pytest.raises(
        Exception, match=r"hydra\.launcher\.\w+ belongs to another launcher; choose it with hydra/launcher="
    ):
        compose(name, path.parent.parent, [f"run_config={path.stem}", "task.data=D"])
    assert "pip install hydra-submitit-launcher" in path.read_text()
