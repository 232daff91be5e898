"""Two plugins written for fairseq 0.12 run here unmodified and print what they print there (see plugin_cases.py)."""

import json
import os
import subprocess
import sys

import pytest
from make_plugin_fixtures import OUT
from plugin_cases import COMMANDS, words
from test_training_runs import check
from training_cases import printed

EXPECTED = json.loads(OUT.read_text())


def preprocess(line):
    from fairseq import options
    from fairseq_cli import preprocess

    preprocess.main(options.get_preprocessing_parser().parse_args(line))


def run(python, command, line, env, cwd):
    # a process of its own: what a plugin registers would stay
    line = [str(python), "-W", "ignore", "-m", f"fairseq_cli.{command}", *line]
    done = subprocess.run(line, env=env, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-1500:]
    return printed(done.stdout)


@pytest.mark.parametrize("name", COMMANDS)
def test_prints_what_it_prints_under_fairseq(name, tmp_path, repository):
    env = {**os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}
    lines = run(sys.executable, *words(name, tmp_path / "run", preprocess), env, tmp_path)
    check(lines, EXPECTED[name], exact=False)


@pytest.mark.oracle
@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_live(name, tmp_path, oracle_python, oracle_env):
    assert run(oracle_python, *words(name, tmp_path / "run", preprocess), oracle_env, tmp_path) == EXPECTED[name]
