"""run.json and train.log, what reports read of a run."""

import json
import logging

import pytest

from fairseq.pages.run_data import read_run
from fairseq.trainer import Trainer


def record(runs, name="run"):
    return json.loads((runs.folder / name / "run.json").read_bytes())


def log(runs, name="run"):
    return (runs.folder / name / "train.log").read_text()


def test_a_run_keeps_its_settings_costs_and_log(runs):
    handlers = logging.getLogger().handlers[:]
    result = runs.trained("run", "--max-epoch", "1", "--quantization", "int8")
    assert logging.getLogger().handlers == handlers
    kept = record(runs)
    assert kept["state"] == "done" and kept["starts"] == 1 and kept["num_updates"] == max(runs.losses("run"))
    assert kept["config"]["optimization"]["max_epoch"] == 1 and kept["command"].endswith("--quantization int8")
    changed = {f"{each['place']}.{each['key']}": (each["value"], each["usual"]) for each in kept["changed"]}
    assert changed["quantization.preset"] == ("int8", "none") and changed["optimization.lr"] == ([0.01], [0.25])
    assert "common.seed" not in changed
    assert kept["bitops"]["quantized"] > 0 and kept["peak_memory"]["cpu"] > 2**20
    assert kept["parameters"]["trained"] == kept["parameters"]["total"] > 1000
    assert kept["best"] == {"metric": "accuracy", "value": max(result.value or 0, kept["best"]["value"])}
    lines = [line.split(" | ", 1)[1] for line in result.out.splitlines() if "num_updates" in line and "| " in line]
    assert lines and all(line in log(runs) for line in lines)
    assert "quantization plan" in log(runs)  # from before it was known that the run may begin
    page = read_run("run", runs.folder / "run")  # for the page of a report, nothing is missing
    assert (
        page.missing == [] and page.state() == "done" and page.is_quantized and page.usual["dataset.batch_size"] is None
    )


def test_parts_of_a_run_are_one_record_and_a_new_run_begins_another(runs):
    runs.trained("run", "--max-epoch", "1")
    first = record(runs)
    runs.trained("run", "--max-epoch", "2")
    assert record(runs)["starts"] == 2 and record(runs)["started"] == first["started"]
    assert log(runs).count("done training") == 2
    resets = [f"--reset-{what}" for what in ("optimizer", "dataloader", "meters", "lr-scheduler")]
    runs.trained("other", "--max-epoch", "1")
    start = runs.folder / "other" / "checkpoint_last.pt"
    runs.trained("run", "--max-epoch", "1", "--restore-file", start, *resets)
    assert record(runs)["starts"] == 1 and log(runs).count("done training") == 1
    assert record(runs, "run/previous-1")["starts"] == 2 and log(runs, "run/previous-1").count("done training") == 2


@pytest.mark.parametrize(("error", "line"), [(ValueError("<b>\nno"), "ValueError: <b> no"), (KeyboardInterrupt(), "")])
def test_how_a_run_failed_is_kept(runs, monkeypatch, error, line):
    real = Trainer.train_step

    def fails(self, *args, **kwargs):
        if self.get_num_updates() == 3:
            raise error
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Trainer, "train_step", fails)
    if isinstance(error, ValueError):
        with pytest.raises(ValueError, match="no"):
            runs.train("run")
    else:
        assert runs.train("run").code == 130
    kept = record(runs)
    assert kept["state"] == ("failed" if line else "stopped") and kept["num_updates"] == 3
    assert line in kept["error"] and f"error: {line}" in log(runs)


def test_a_mistake_before_the_run_leaves_neither_file_nor_handler(runs):
    handlers = logging.getLogger().handlers[:]
    assert runs.train("run", "--restore-file", runs.data / "dict.txt", data=runs.folder / "none").code != 0
    assert logging.getLogger().handlers == handlers
    assert not list(runs.folder.glob("run/*.*"))


def test_a_log_that_the_caller_writes_there_is_left_to_it(runs):
    (runs.folder / "run").mkdir()
    own = logging.FileHandler(runs.folder / "run" / "train.log")
    logging.getLogger().addHandler(own)
    try:
        runs.trained("run", "--max-update", "2")
    finally:
        logging.getLogger().removeHandler(own)
        own.close()
    assert log(runs).count("done training") == 1
