"""Commands notice another distribution that installs a package `fairseq`, and nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest

from fairseq_cli import entry, other_distributions
from fairseq_cli.other_distributions import warning


def installed(folder: Path, name: str, **files: str) -> None:
    metadata = folder / name
    metadata.mkdir(parents=True)
    for file, text in files.items():
        (metadata / file.replace("_json", ".json").replace("_txt", ".txt")).write_text(text)


@pytest.mark.parametrize(
    ("name", "files", "said"),
    [
        ("fairseq-0.12.2.dist-info", {"top_level_txt": "examples\nfairseq\nfairseq_cli\n"}, "fairseq 0.12.2"),
        ("fairseq_fixed-0.12.3.1.dist-info", {"RECORD": "fairseq/__init__.py,sha256=x,5\n"}, "fairseq-fixed 0.12.3.1"),
        ("fairseq-0.10.2-py3.8.egg-info", {"top_level_txt": "fairseq"}, "fairseq 0.10.2"),
    ],
)  # fmt: skip
def test_another_fairseq(tmp_path: Path, name: str, files: dict[str, str], said: str) -> None:
    installed(tmp_path, name, **files)
    line = warning([str(tmp_path), "/no/such/folder", str(tmp_path)])
    assert line is not None and line.count(said) == 1 and str(tmp_path) in line
    assert f"pip uninstall {said.split()[0]} fairseq-any-precision" in line


def test_a_link_to_a_checkout(tmp_path: Path) -> None:
    (tmp_path / "fairseq.egg-link").write_text("/home/me/fairseq\n.")
    assert "has fairseq (" in str(warning([str(tmp_path)]))


def test_nothing_to_notice(tmp_path: Path) -> None:
    installed(tmp_path, "fairseq_any_precision-1.0.dist-info", top_level_txt="fairseq\nfairseq_cli")
    installed(tmp_path, "fairseq2-0.8.1.dist-info", top_level_txt="fairseq2", RECORD="fairseq2/__init__.py,,")
    installed(tmp_path, "torch-2.13.0.dist-info", top_level_txt="torch")
    here = other_distributions.HOME.as_uri()
    installed(tmp_path, "fairseq-1.0.0.dist-info", top_level_txt="fairseq", direct_url_json=f'{{"url": "{here}"}}')
    assert warning([str(tmp_path), str(tmp_path / "archive.zip")]) is None


def test_the_project_is_called_so(repository: Path) -> None:
    assert f'name = "{other_distributions.DISTRIBUTION}"' in (repository / "pyproject.toml").read_text()


def test_a_command_says_it_in_one_line_and_once(tmp_path: Path, repository: Path, monkeypatch, capsys) -> None:
    installed(tmp_path, "fairseq-0.12.2.dist-info", top_level_txt="fairseq")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    run = entry.command(lambda: 5)
    assert run() == 5
    err = capsys.readouterr().err
    assert err.startswith("warning: this environment also has fairseq 0.12.2 ") and err.count("\n") == 1
    monkeypatch.setenv("RANK", "1")
    assert run() == 5 and capsys.readouterr().err == ""


def test_looking_imports_nothing_large(repository: Path) -> None:
    code = (
        "import sys; from fairseq_cli import other_distributions as o; o.warning(['/no/such/folder']); "
        "print([name for name in ('importlib.metadata', 'email', 'json', 'torch') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=repository, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
