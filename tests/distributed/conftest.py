"""Runs of `fairseq-train` in several processes, on the tiny task of tests/training."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _training() -> ModuleType:
    spec = importlib.util.spec_from_file_location("training_conftest", ROOT / "tests" / "training" / "conftest.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Group:
    """Starts commands in a folder; every one of them is a process of its own, as a user's is."""

    def __init__(self, data: Path, folder: Path, flags: list[str]):
        self.data, self.folder = data, folder
        self.flags = [*flags, "--dropout", "0", "--attention-dropout", "0", "--find-unused-parameters"]

    def start(self, *words: object) -> subprocess.Popen:
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        environ = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
        for name in ("FAIRSEQ_TRACEBACK", "RANK", "WORLD_SIZE"):
            environ.pop(name, None)
        return subprocess.Popen(
            [sys.executable, *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env=environ,
        )

    def train(self, name: str, *flags: object, data: object = None) -> list[object]:
        """The words after `python` of a run that saves in folder `name`."""
        return ["-m", "fairseq_cli.train", data or self.data, *self.flags, "--save-dir", name, *flags]

    def run(self, *words: object) -> subprocess.CompletedProcess:
        process = self.start(*words)
        try:
            out, err = process.communicate(timeout=90)
        finally:
            process.kill()
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.fixture(scope="module")
def group(tmp_path_factory) -> Group:
    training = _training()
    data = training.make_data(tmp_path_factory.mktemp("data") / "bin")
    return Group(data, tmp_path_factory.mktemp("runs"), training.FLAGS)


@pytest.fixture(scope="session")
def two_workers() -> Any:
    """See `_rows_of`."""
    return _rows_of


def _rows_of(script: str, folder: Path) -> Any:
    """The JSON of `script RANK 2 MEETING_FILE ROWS_FILE`, run with both ranks; both must end well."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    words = [str(folder / "meeting"), str(folder / "rows.json")]
    processes = [
        subprocess.Popen([sys.executable, str(Path(__file__).parent / script), str(rank), "2", *words], env=environ)
        for rank in range(2)
    ]
    try:
        codes = [process.wait(timeout=120) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert codes == [0, 0]
    return json.loads((folder / "rows.json").read_text())
