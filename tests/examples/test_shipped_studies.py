"""Every study that is shipped: its cells, and what each row's commands are configured with."""

from pathlib import Path

import pytest

from fairseq.dataclass.initialize import compose
from fairseq.studies.braces import fill
from fairseq.studies.config_reader import read_config
from fairseq.studies.grid import expand
from fairseq.studies.study_config import HYDRA_COMMANDS
from fairseq.training.quantize import config_of

ROOT = Path(__file__).resolve().parents[2]
SWEEPS = sorted((ROOT / "examples/studies").glob("*.yaml"))
CPT = ROOT / "examples/roberta/studies/cpt_glue.yaml"


def composed(cell, folder):
    """The words of a cell's commands under Hydra, and their configs."""
    for step in cell.steps:
        if step.command in HYDRA_COMMANDS:
            folders = dict.fromkeys(("here", "cell", "after", "prune", "plan"), str(folder))
            words = [fill(word, folders, hydra=True) for word in step.words]
            yield words, compose(step.config_name, step.config_dir, words, check=False)


@pytest.mark.parametrize("path", [*SWEEPS, CPT], ids=lambda path: path.stem)
def test_rows_can_be_run(path, monkeypatch, tmp_path):
    (tmp_path / "plan.yaml").write_text("preset: int8")  # which a cell of sensitivity.yaml writes
    monkeypatch.chdir(ROOT)
    study = read_config(path)
    cells = expand(study)
    assert study.control in study.rows and len(study.seeds) > 1
    for row in study.rows:
        cell = next(cell for cell in cells if cell.row == row)
        for words, cfg in composed(cell, tmp_path):
            asked = any(word.startswith("quantization=") and not word.endswith("=none") for word in words)
            assert config_of(cfg.quantization).is_on == asked, (row, words)
            assert cfg.task.data.startswith(("study-data/", "cpt-glue-data/"))


@pytest.mark.parametrize("folder", ["imdb", "rte", "sst_2", "embedded"])
def test_tasks_of_sweeps(folder, monkeypatch):
    monkeypatch.chdir(ROOT)
    base, more = (compose(name, ROOT / "examples/studies/tasks" / folder, check=False) for name in ("base", "more"))
    assert (
        more.optimization.max_update < base.optimization.max_update
        and more.optimization.lr[0] < base.optimization.lr[0]
    )
    assert more.model == base.model and more.task == base.task
    given = compose(
        "more", ROOT / "examples/studies/tasks" / folder, ["checkpoint.finetune_from_model=a.pt"], check=False
    )
    assert given.checkpoint.finetune_from_model == "a.pt"


def test_the_study_of_cyclic_precision():
    study = read_config(CPT)
    cells = expand(study)
    assert set(study.dimensions["task"]) == {"embedded", "cola", "sst_2", "sts_b", "rte"} and study.seeds == (1, 2, 3)
    metrics = {cell.dimensions["task"]: cell.metric for cell in cells}
    assert metrics["cola"] == "mcc" and metrics["sts_b"] == "pearson_and_spearman" and metrics["rte"] == "accuracy"
    for size in ("reduced", "full"):
        for task in study.dimensions["task"]:
            cfg = compose(task, ROOT / "examples/roberta/studies" / size, check=False)
            assert cfg.checkpoint.best_checkpoint_metric == metrics[task]
    frozen = [cell for cell in cells if cell.row.startswith("frozen")]
    assert {cell.dimensions["task"] for cell in frozen} == {
        "cola",
        "sst_2",
        "sts_b",
        "rte",
    }  # nothing to freeze elsewhere
