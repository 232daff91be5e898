"""fairseq-doctor: one screen of 80 columns that says what is there, what is missing, and what is wrong."""

import json
import sys

from packaging.requirements import Requirement

from fairseq import doctor, required
from fairseq.native import library
from fairseq_cli.doctor import cli_main


def run(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["fairseq-doctor", *words])
    code = 0
    try:
        cli_main()
    except SystemExit as stop:
        code = stop.code
    return code, capsys.readouterr().out


def test_one_screen_of_80_columns(monkeypatch, capsys):
    code, out = run(monkeypatch, capsys)
    lines = out.splitlines()
    assert code == 0 and len(lines) <= 30 and max(map(len, lines)) <= 80
    for label in (
        "project",
        "packages",
        "processor",
        "compiler",
        "kernels",
        "GPU",
        "cache",
        "features",
        *doctor.EXTRAS,
    ):
        assert any(line.split()[:1] == [label] for line in lines), label
    assert lines[-1] == "no problems"


def test_json(monkeypatch, capsys):
    code, out = run(monkeypatch, capsys, "--json")
    found = json.loads(out)
    assert code == 0 and found["problems"] == [] and set(found["missing"]) == set(doctor.EXTRAS)


def test_what_is_missing_for_which_feature(monkeypatch):
    versions = {"onnx": None, "matplotlib": "3.0", "onnxruntime": "99"}
    real = required.version
    monkeypatch.setattr(required, "version", lambda name: versions.get(name, real(name)))
    found = doctor.examine()
    assert found.extras["onnx"] == ["onnx"] and found.extras["plot"] == ["matplotlib"] and not found.problems
    assert "onnx        needs onnx" in found.text() and "pip install 'fairseq-any-precision[" in found.text()


def test_packages_that_are_too_old_or_missing_are_problems(monkeypatch, capsys):
    real = required.version
    monkeypatch.setattr(required, "version", lambda name: {"hydra-core": "1.4.0", "tqdm": None}.get(name, real(name)))
    monkeypatch.setattr(required, "PYTHON", (4, 0))
    code, out = run(monkeypatch, capsys)
    assert code == 1 and max(map(len, out.splitlines())) <= 80
    out = " ".join(out.split())
    assert (
        "hydra-core is 1.4.0, <1.4,>=1.3.2 is needed" in out and "tqdm is missing" in out and "is older than 4.0" in out
    )


def test_no_compiler_and_no_cache(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "below"))
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    found = doctor.examine()
    assert found.rows["compiler"].startswith("none: torch's operations")
    assert found.rows["kernels"].startswith("0 of ")
    assert any("cannot be written" in problem and "is no folder" in problem for problem in found.problems)


def test_every_kernel_and_extra_is_known():
    declared = set(doctor.EXTRAS)
    markers = [str(requirement.marker) for requirement in required.requirements() if requirement.marker]
    named = {marker.split('"')[1] for marker in markers}
    assert named - declared <= {"dev", "docs"} and declared <= named
    assert {path.stem for path in doctor._kernel_files()} >= {"norm", "gemm", "codecs", "arena"}


def test_requirements_of_an_installed_project():
    plain, extra = Requirement("torch>=2.6"), Requirement('onnx>=1.16; extra == "onnx"')
    assert required.belongs(plain, None) and not required.belongs(plain, "onnx")
    assert required.belongs(extra, "onnx") and not required.belongs(extra, None) and not required.belongs(extra, "plot")


def test_compiling_says_what_fails(monkeypatch):
    monkeypatch.setattr(library, "library", lambda name, folder, linked: None if name == "gemm" else object())
    assert dict(doctor.compile_kernels())["gemm"] is False


def test_an_environment_in_which_nothing_can_be_imported(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "fairseq.doctor", None)
    monkeypatch.delattr("fairseq.doctor", raising=False)
    code, out = run(monkeypatch, capsys)
    assert code == 1 and out.startswith("PROBLEM     the project cannot be imported: ") and out.count("\n") == 1
    real = required.version
    monkeypatch.setattr(required, "version", lambda name: "2.6.0" if name == "torch" else real(name))
    code, out = run(monkeypatch, capsys)
    assert code == 1 and out.startswith("PROBLEM     torch is 2.6.0, >=")
