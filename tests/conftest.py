"""Shared fixtures: where the real data and the reference fairseq lie, with a skip that says why where they do not, and
how commands of both run.

- `FAIRSEQ_TEST_DATA`: a folder with `glue/` and `roberta-bpe/` (default: `shared/data` beside the repository).
- `FAIRSEQ_ORACLE`: a Python interpreter that has fairseq 0.12.3 installed; tests marked `oracle` run it as a process.
"""

import importlib
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).resolve().parent.parent
FIXTURES = Path(__file__).resolve().parent / "fixtures"

# Scripts that write fixtures need more packages than the tests; importing a plugin registers its components.
collect_ignore_glob = [
    "conformance/make_*.py",
    "quantization/make_*.py",
    "quantization/formats/make_*.py",
    "conformance/plugins/*",
    "fixtures/*.py",
    "*/fixtures/*",
]


def _shared_data() -> Path:
    return Path(os.environ.get("FAIRSEQ_TEST_DATA", REPOSITORY.parent / "shared" / "data"))


def _oracle() -> Path:
    return Path(os.environ.get("FAIRSEQ_ORACLE", REPOSITORY.parent / "oracle" / "bin" / "python"))


def _existing(path: Path, what: str) -> Path:
    if not path.exists():
        pytest.skip(f"{what} is not at {path} (set FAIRSEQ_TEST_DATA)")
    return path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not _oracle().exists():
        skip = pytest.mark.skip(reason="fairseq 0.12 is not installed (set FAIRSEQ_ORACLE to its Python interpreter)")
        for item in items:
            if "oracle" in item.keywords:
                item.add_marker(skip)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout's root."""
    return REPOSITORY


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """`tests/fixtures`."""
    return FIXTURES


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the real data sets, or a skip."""
    return _existing(_shared_data(), "real data")


@pytest.fixture(scope="session")
def glue_dir(shared_data: Path) -> Path:
    """GLUE's original TSV files, one folder a task, or a skip."""
    return _existing(shared_data / "glue", "GLUE")


@pytest.fixture(scope="session")
def bpe_dir(shared_data: Path) -> Path:
    """encoder.json, vocab.bpe and dict.txt of RoBERTa, or a skip."""
    return _existing(shared_data / "roberta-bpe", "RoBERTa's BPE")


@pytest.fixture(scope="session")
def oracle_python() -> Path:
    """A Python interpreter with fairseq 0.12.3; use it in tests marked `oracle` only."""
    return _oracle()


@pytest.fixture(scope="session")
def oracle_env() -> dict[str, str]:
    """The environment in which fairseq 0.12 runs on today's torch."""
    return {**os.environ, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}


@pytest.fixture
def ours(capfd, monkeypatch):
    """Runs our command in this process; returns what it printed."""

    def call(command, words):
        monkeypatch.setattr(sys, "argv", [command, *map(str, words)])
        root = logging.getLogger()
        handlers, level, threads = root.handlers[:], root.level, torch.get_num_threads()
        root.handlers[:] = []
        torch.set_num_threads(1)
        capfd.readouterr()
        try:
            importlib.import_module(f"fairseq_cli.{command}").cli_main()
        finally:
            root.handlers[:] = handlers
            root.setLevel(level)
            torch.set_num_threads(threads)
        return capfd.readouterr().out

    return call


@pytest.fixture
def theirs(oracle_python, oracle_env, tmp_path):
    """Runs fairseq 0.12's command; returns what it printed."""

    def call(command, words):
        line = [str(oracle_python), "-W", "ignore", "-m", f"fairseq_cli.{command}", *map(str, words)]
        done = subprocess.run(line, env=oracle_env, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-500:]
        return done.stdout

    return call
