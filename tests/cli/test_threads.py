"""Commands let waiting threads sleep; the library leaves the environment alone."""

import os
import subprocess
import sys

import pytest

from fairseq_cli.threads import SETTINGS, sleep_while_waiting


def python(*argv: str, **settings: str) -> subprocess.CompletedProcess:
    environ = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    return subprocess.run([sys.executable, *argv], env={**environ, **settings}, capture_output=True, text=True)


@pytest.mark.skipif(sys.platform != "linux", reason="GNU's OpenMP, which torch has on Linux, shows its settings")
@pytest.mark.parametrize("given, policy", [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "active"}, "ACTIVE")])
def test_a_command_sets_the_policy_before_torch_reads_it(given, policy, tmp_path):
    words = ["-m", "fairseq_cli.validate", str(tmp_path), "--task", "sentence_prediction", "--path", "none.pt"]
    done = python(*words, OMP_DISPLAY_ENV="true", **given)
    assert "none.pt" in done.stderr and f"OMP_WAIT_POLICY = '{policy}'" in done.stderr


def test_importing_the_library_changes_nothing():
    code = "import os; before = dict(os.environ); import fairseq.trainer, fairseq.quantization, fairseq_cli.train; "
    done = python("-c", code + "assert dict(os.environ) == before")
    assert done.returncode == 0, done.stderr


def test_what_the_user_has_chosen_stays(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    for name in SETTINGS:
        environ = {name: "given"}
        sleep_while_waiting(environ)
        assert environ == {name: "given"}
    environ = {"PATH": "/bin"}
    sleep_while_waiting(environ)
    assert environ == {"PATH": "/bin", "OMP_WAIT_POLICY": "passive"}


def test_nothing_is_set_where_it_would_come_too_late(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", object())
    environ = {}
    sleep_while_waiting(environ)
    assert environ == {}
