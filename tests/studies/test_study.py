"""Studies from beginning to end, in this process."""

import csv
import multiprocessing
import os
import random
import shutil
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from fairseq.errors import ConfigError
from fairseq.studies import running
from fairseq.studies.claims import claim
from fairseq.studies.config_reader import from_text
from fairseq.studies.study import run_study
from fairseq.studies.study_folder import read_cell, read_study

TIMINGS = ("seconds", "peak_memory")


@pytest.fixture(autouse=True)
def one_thread():
    """Children of a fork compute with one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run(config_dir, folder, text, **options):
    """Runs a study; returns the names of the cells that failed, and what was said."""
    said: list[str] = []
    config = from_text(f"{{config_dir: '{config_dir}', config_name: tiny, metric: accuracy, {text}}}")
    failed = run_study(config, folder, say=said.append, **options)
    return [cell.name for cell in failed], said


@pytest.fixture
def study(config_dir, tmp_path):
    return lambda text, name="out", **options: run(config_dir, tmp_path / name, text, **options)


ROWS = "rows: {fp32: [quantization=none], int8: [quantization=int8]}, seeds: [1, 2, 3, 4, 5, 6], control: fp32"


@pytest.fixture(scope="module")
def whole(config_dir, tmp_path_factory):
    """A study of 12 cells that nothing disturbed: its folder, what was said, and its seconds."""
    folder = tmp_path_factory.mktemp("whole") / "out"
    start = time.perf_counter()
    failed, said = run(config_dir, folder, ROWS)
    assert failed == []
    return SimpleNamespace(folder=folder, said=said, seconds=time.perf_counter() - start)


@pytest.fixture
def copied(whole, tmp_path):
    """The folder of that study, to be changed."""
    shutil.copytree(whole.folder, tmp_path / "out")
    return tmp_path / "out"


def lines(folder: Path) -> list[dict[str, str]]:
    """results.csv, timings aside."""
    with (folder / "results.csv").open() as file:
        return [{k: v for k, v in line.items() if k not in TIMINGS} for line in csv.DictReader(file)]


def test_results(whole):
    out, said = whole.folder, whole.said
    assert said[0] == f"12 cells in {out}"
    assert sum("accuracy" in line for line in said) == 12
    assert "left)" in said[1] and "(12/12)" in said[-1]
    found = lines(out)
    assert [(line["row"], line["seed"], line["status"]) for line in found] == [
        (row, str(seed), "finished") for row in ("fp32", "int8") for seed in range(1, 7)
    ]
    assert list(found[0])[:4] == ["row", "seed", "status", "accuracy"]
    assert found[0]["relative_bitops"] == "1.0"
    assert 0 < float(found[6]["relative_product_bitops"]) < float(found[6]["relative_bitops"]) < 1
    assert (found[6]["row"], found[6]["num_updates"]) == ("int8", "4")
    table = (out / "table.md").read_text()
    assert "| fp32 |" in table and "100.0 %" in table and "In brackets: difference to fp32" in table
    for picture in ("bitops.png", "curves.png"):
        assert (out / picture).read_bytes().startswith(b"\x89PNG")
    assert (out / "index.html").read_text().count('class="cell"') == 12
    cell = read_study(out).cells[6]
    assert cell.folder.name == "int8-seed1" and (cell.folder / "checkpoint_last.pt").is_file()
    assert "| INFO | valid |" in cell.log_file.read_text()
    assert cell.attempts == 1 and cell.pid == os.getpid() and cell.start < cell.end


def test_a_study_that_has_finished_runs_nothing(study, copied, monkeypatch):
    before = lines(copied)
    monkeypatch.setattr(running, "run_training", None)
    failed, said = study(ROWS)
    assert (failed, lines(copied)) == ([], before)
    assert said == [f"12 cells in {copied}, 12 of them finished"]


def test_a_finished_cell_keeps_its_settings(study, copied):
    changed = ROWS.replace("quantization=int8", "quantization=int8, model.dropout=0.3")
    with pytest.raises(ConfigError, match=r"int8-seed1 has finished with other settings: model.dropout=0.3 is new"):
        study(changed)
    failed, _ = study(ROWS.replace("rows: {", "rows: {more: {set: [model.dropout=0.3], seeds: [1]}, "))
    assert failed == [] and len(lines(copied)) == 13  # more cells are welcome
    assert {cell.attempts for cell in read_study(copied).cells} == {1}


def test_failed_cells_are_listed_and_tried_again(study, tmp_path, config_dir):
    text = "rows: {a: [task.data=missing-bin], b: [], c: {set: ['model.dropout=0.{seed}'], after: a}}"
    failed, said = study(text)
    assert failed == ["a-seed1", "c-seed1"]
    found = {line["row"]: line for line in lines(tmp_path / "out")}
    assert found["a"]["last_line"].startswith("task.data=missing-bin: there is no input0/dict.txt")
    assert found["c"]["last_line"] == "a-seed1, which it starts from, failed"
    assert found["b"]["status"] == "finished"
    assert "- `a-seed1`: task.data=missing-bin" in (tmp_path / "out/table.md").read_text()
    assert any("a-seed1 failed" in line for line in said)
    log = tmp_path / "out/cells/a-seed1/train.log"
    assert log.read_text().splitlines()[-1].startswith("error: task.data=missing-bin")

    failed, _ = study(text.replace("missing-bin", f"{config_dir}/data"))
    assert failed == []
    assert read_cell(tmp_path / "out/cells/b-seed1").attempts == 1
    assert read_cell(tmp_path / "out/cells/a-seed1").attempts == 1  # other words: another run


def test_a_full_disk_is_a_failed_cell(study, tmp_path, monkeypatch):
    from fairseq.checkpoint import writing

    serialise = writing.serialise

    def full(obj, file):
        if "fp32" in str(getattr(file, "name", "")):
            raise OSError(28, "No space left on device")
        serialise(obj, file)

    monkeypatch.setattr(writing, "serialise", full)
    failed, _ = study(ROWS.replace("[1, 2, 3, 4, 5, 6]", "[1]"))
    assert failed == ["fp32-seed1"]
    assert "No space left on device" in read_cell(tmp_path / "out/cells/fp32-seed1").last_line
    assert read_cell(tmp_path / "out/cells/int8-seed1").status == "finished"


def test_an_unexpected_error_is_in_the_log(study, tmp_path, monkeypatch):
    def broken(*args, **options):
        raise KeyError("plugin")

    monkeypatch.setattr(running, "run_training", broken)
    failed, _ = study("rows: {a: []}")
    assert failed == ["a-seed1"]
    assert read_cell(tmp_path / "out/cells/a-seed1").last_line == "KeyError: 'plugin'"
    assert "Traceback" in (tmp_path / "out/cells/a-seed1/train.log").read_text()


def test_misspelt_words_cost_no_run(study, tmp_path):
    for text, message in (
        ("rows: {a: [], b: [model.dropuot=0.1]}", "b-seed1: unknown key 'dropuot'"),
        ("rows: {a: []}, dimensions: {x: {y: [], z: [optimizer=adan]}}", "a-z-seed1: .*adan"),
        (
            "rows: {a: {command: fairseq-trian}}",
            "a-seed1: unknown command 'fairseq-trian'; did you mean 'fairseq-train'",
        ),
    ):
        with pytest.raises(ConfigError, match=message):
            study(text)
    assert not (tmp_path / "out").exists()


def test_chains_and_rows_after_rows(study, tmp_path, config_dir):
    """Post-training quantization, quantization-aware training, and the control with as many more updates."""
    restored = (
        "'checkpoint.restore_file={after}/checkpoint_last.pt', checkpoint.reset_optimizer=true, "
        "checkpoint.reset_dataloader=true, checkpoint.reset_meters=true"
    )
    text = """
        rows: {
          fp32: [],
          more: {set: [RESTORED], after: fp32},
          int8: {after: fp32, steps: {
            ptq: {command: fairseq-quantize-checkpoint, set: [
              "{after}/checkpoint_last.pt", --quantization, int8, --data, DATA, --out, "{here}/int8.pt"]},
            hydra: {command: fairseq-hydra-validate, set: [
              "common_eval.path={ptq}/int8.pt", "task.data=DATA", common.cpu=true]},
            valid: {command: fairseq-validate, set: [DATA, --path, "{ptq}/int8.pt", --batch-size, "8", --cpu]},
            qat: [quantization=int8, RESTORED]}}},
        keep_checkpoints: none
    """
    name = "out with spaces"
    failed, _ = study(text.replace("RESTORED", restored).replace("DATA", f"'{config_dir}/data'"), name)
    cells = {cell.row: cell for cell in read_study(tmp_path / name).cells}
    assert failed == [], [cell.last_line for cell in cells.values()]
    assert cells["more"].after == "fp32-seed1"
    assert "Loaded checkpoint" in cells["more"].log_file.read_text()
    metrics = cells["int8"].metrics
    assert set(metrics) >= {"accuracy", "valid/accuracy", "qat/accuracy", "valid/loss"}
    assert metrics["accuracy"] == metrics["qat/accuracy"]
    assert 0 < cells["int8"].relative_bitops < 1
    assert [step.finished for step in cells["int8"].steps] == [True] * 4
    assert metrics["hydra/accuracy"] == metrics["valid/accuracy"]
    assert not list(tmp_path.rglob(".hydra"))
    assert not list((tmp_path / name).rglob("checkpoint*.pt"))


# -- several processes -----------------------------------------------------------------------------------------------


def begin(function, *args):
    process = multiprocessing.get_context("fork").Process(target=function, args=args)
    process.start()
    return process


def test_killed_at_random_moments(study, whole, tmp_path):
    moments = random.Random(time.time())
    for _ in range(10):
        process = begin(study, ROWS)
        time.sleep(moments.uniform(0, 1.5 * whole.seconds / 12))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    assert study(ROWS)[0] == []
    assert lines(tmp_path / "out") == lines(whole.folder)
    cells = read_study(tmp_path / "out").finished
    assert len({cell.name for cell in cells}) == 12
    assert sum(cell.attempts for cell in cells) <= 12 + 10  # no finished cell was repeated


def test_two_processes_share_a_study(study, tmp_path):
    text = "rows: {fp32: [], int8: [quantization=int8]}, seeds: [1, 2]"
    processes = [begin(study, text) for _ in range(2)]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    cells = read_study(tmp_path / "out").cells
    assert [cell.status for cell in cells] == ["finished"] * 4
    assert {cell.attempts for cell in cells} == {1}
    assert {cell.pid for cell in cells} == {process.pid for process in processes}


def test_a_claim_ends_with_its_process(tmp_path):
    def hold():
        with claim(tmp_path) as mine:
            assert mine
            (tmp_path / "held").touch()
            time.sleep(60)

    process = begin(hold)
    while not (tmp_path / "held").exists():
        time.sleep(0.01)
    with claim(tmp_path) as mine:
        assert not mine
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with claim(tmp_path) as mine:
        assert mine


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def running_cells(folder: Path) -> list:
    try:
        return [cell for cell in read_study(folder).cells if cell.status == "running"]
    except Exception:  # it is not laid out yet
        return []


@pytest.mark.slow
def test_workers_end_with_a_killed_study(study, tmp_path):
    process = begin(lambda: study("rows: {a: [], b: []}, common: [optimization.max_update=1000000]", jobs=2))
    deadline = time.monotonic() + 120
    while len(running_cells(tmp_path / "out")) < 2 and time.monotonic() < deadline:
        assert process.is_alive()
        time.sleep(0.1)
    workers = {cell.pid for cell in running_cells(tmp_path / "out")}
    assert len(workers) == 2 and process.pid not in workers
    assert all(map(alive, workers))
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(alive, workers))


@pytest.mark.slow
def test_submitit(study, tmp_path):
    failed, _ = study("rows: {a: [], b: []}, launcher: {timeout_min: 5}", launcher="submitit-local")
    assert failed == []
    cells = read_study(tmp_path / "out").finished
    assert len(cells) == 2
    assert len({cell.pid for cell in cells}) == 1 and cells[0].pid != os.getpid()  # one warm process
    with pytest.raises(ConfigError, match=r"launcher submitit-local: .*timeout_mni"):
        study("rows: {c: []}, launcher: {timeout_mni: 5}", "other", launcher="submitit-local")
