"""Whole runs whose side outputs cannot be written: they end well, with the same losses, and say once what failed."""

import logging
import os

import pytest
import torch

from fairseq.logging import progress_bar
from fairseq.logging.side_outputs import LogFile

FULL = "/dev/full"


@pytest.fixture(autouse=True)
def no_log_file_stays():
    yield
    for handler in [h for h in progress_bar.logger.handlers if isinstance(h, LogFile)]:
        progress_bar.logger.removeHandler(handler)


@pytest.mark.skipif(not os.path.exists(FULL), reason="no /dev/full on this system")
def test_a_run_without_any_side_output(runs, tmp_path):
    pytest.importorskip("tensorboard")
    runs.trained("whole", "--quantization", "cpt_4_8")
    folder = runs.folder / "run"
    folder.mkdir()
    (folder / "history.jsonl").symlink_to(FULL)
    (folder / "quantization_plan.json").mkdir()
    (tmp_path / "tb").write_text("no folder")
    flags = ("--quantization", "cpt_4_8", "--log-file", FULL, "--tensorboard-logdir", tmp_path / "tb")
    result = runs.trained("run", *flags)
    for name in ("history.jsonl", "quantization_plan.json", f"the log {FULL}", "TensorBoard"):
        (line,) = [line for line in result.out.splitlines() if "cannot write" in line and name in line]
        assert line.startswith("WARNING")
    assert "Traceback" not in result.err + result.out
    one, two = (runs.checkpoint(name)["model"] for name in ("whole", "run"))
    assert all(torch.equal(value, two[key]) for key, value in one.items())


@pytest.mark.parametrize("damage", [b"\xff\xfe\n", b"[" * 100_000 + b"\n"], ids=["not UTF-8", "deeply nested"])
def test_a_damaged_history_does_not_block_a_resume(damage, runs):
    runs.trained("run", "--max-epoch", "1")
    with open(runs.folder / "run" / "history.jsonl", "ab") as file:
        file.write(damage)
    runs.trained("run")
    runs.trained("whole")
    assert runs.losses("run") == runs.losses("whole")


def test_the_log_level_of_a_warning_is_kept(runs):
    """Hydra's and our own handlers stay what they are: only their failures are reported in another way."""
    handler = logging.StreamHandler()
    handler.setLevel(logging.ERROR)
    logging.getLogger().addHandler(handler)
    try:
        runs.trained("run", "--max-update", "1")
    finally:
        logging.getLogger().removeHandler(handler)
    assert handler.level == logging.ERROR and "handleError" in vars(handler)
