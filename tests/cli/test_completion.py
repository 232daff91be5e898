"""fairseq-completion: what Tab gives, asked of the shells themselves where they are installed."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from fairseq_cli import completion
from fairseq_cli.completion_scripts import SHELLS

SCRIPTS = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["scripts"]


@pytest.fixture(scope="module")
def commands():
    return list(completion.commands())


def test_all_commands_are_there(commands):
    assert {command.name for command in commands} == set(SCRIPTS)
    for command in commands:
        assert command.options or command.parts, command.name


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("fairseq-predict --batch", ["--batch-size"]),
        ("fairseq-predict --compute ", ["auto", "integer", "simulate"]),
        ("fairseq-predict --data ", []),
        ("/bin/fairseq-graph di", ["diff"]),
        ("fairseq-graph diff --ov", ["--overwrite"]),
        ("fairseq-hydra-train quantization.eval_b", ["quantization.eval_bits="]),
        ("fairseq-hydra-train --config-n", ["--config-name"]),
        ("fairseq-train --task sentence_", ["sentence_prediction", "sentence_ranking"]),
        ("fairseq-train --save-d", ["--save-dir"]),
        ("fairseq-completion f", ["fish"]),
    ],
)
def test_bash(commands, words, wanted):
    call = 'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _fairseq "$1" 2> /dev/null; printf "%s\\n" "${COMPREPLY[@]}"'
    script = f"{SHELLS['bash'](commands)}\n{call}"
    done = subprocess.run(["bash", "-c", script, "bash", *words.split(" ")], capture_output=True, text=True, check=True)
    assert done.stdout.split() == wanted, done.stderr


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_can_read_it(commands, shell, tmp_path):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "script").write_text(SHELLS[shell](commands))
    subprocess.run([shell, "-n", str(tmp_path / "script")], check=True)


def test_fish_has_a_line_for_each_option(commands):
    lines = SHELLS["fish"](commands).splitlines()
    starts = (
        "complete -c fairseq-predict -l compute -x -a 'auto integer simulate' -d 'how a quantized model",
        "complete -c fairseq-graph -n '__fish_seen_subcommand_from diff' -l out -r",
    )
    for start in starts:
        assert any(line.startswith(start) for line in lines), start
    # quotes within descriptions are escaped, so that they come in pairs
    assert not [line for line in lines if line.replace("\\'", "").count("'") % 2]


def test_the_command(monkeypatch, capsys, commands):
    monkeypatch.setattr(sys, "argv", ["fairseq-completion", "bash"])
    monkeypatch.setattr(completion, "commands", lambda: commands)
    completion.cli_main()
    assert capsys.readouterr().out == SHELLS["bash"](commands) + "\n"
