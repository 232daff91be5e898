"""What conformance tests run: a command of ours in this process, or fairseq 0.12's as a process of its own."""

import importlib
import logging
import subprocess
import sys

import pytest
import torch


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
