"""fairseq-graph: reports of a model in a Python file and of a checkpoint, and one line for what cannot be read."""

import gzip
import json
import sys
from pathlib import Path

import pytest

from fairseq_cli import graph

CODE = """
from torch import nn
not_a_model = 3
def jsc_tiny():
    return nn.Sequential(nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 5), nn.ReLU())
def of_size(features):
    return nn.Linear(features, 5)
def wrong():
    return 3
"""
INPUT = ("--input", "input:float32[8,16]")
FIXTURES = Path(__file__).parents[1] / "fixtures" / "release"


@pytest.fixture
def code(tmp_path: Path) -> Path:
    folder = tmp_path / "a folder ü"
    folder.mkdir()
    (folder / "model.py").write_text(CODE)
    (folder / "q.toml").write_text("[passes.prune]")
    return folder / "model.py"


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object) -> str:
    monkeypatch.setattr(sys, "argv", ["fairseq-graph", *map(str, words)])
    graph.cli_main()
    return capsys.readouterr().out


def test_report_of_a_python_file(monkeypatch, capsys, code: Path) -> None:
    out = run(monkeypatch, capsys, "report", f"{code}:jsc_tiny", *INPUT)
    assert out.splitlines()[0].split() == ["opcode", "name", "target", "args", "kwargs"]
    data = json.loads(run(monkeypatch, capsys, "report", f"{code}:jsc_tiny", *INPUT, "--json"))
    assert data["counts"] == {"placeholder": 1, "get_attr": 0, "call_function": 0, "call_method": 0, "call_module": 4,
                              "output": 1}  # fmt: skip
    assert data["layer_types"] == {"BatchNorm1d": 1, "ReLU": 2, "Linear": 1} and len(data["nodes"]) == 6
    without = json.loads(run(monkeypatch, capsys, "shapes", f"{code}:jsc_tiny", "--json"))
    assert without["counts"] == data["counts"] and {row["out"] for row in without["nodes"]} == {""}


def test_types_shapes_parameters_and_operations(monkeypatch, capsys, code: Path, tmp_path: Path) -> None:
    model = f"{code}:jsc_tiny"
    assert "BatchNorm1d" in run(monkeypatch, capsys, "types", model, *INPUT)
    shapes = json.loads(run(monkeypatch, capsys, "shapes", model, *INPUT, "--json"))["nodes"]
    assert shapes[3] == {"name": "_2", "in": "0 = [s0, 16]", "out": "[s0, 5]", "dtype": "float32"}
    rows = json.loads(run(monkeypatch, capsys, "params", model, "--json"))["parameters"]
    assert [row["parameters"] for row in rows] == [32, 85, 117] and rows[-1]["trainable"] == 117
    total = json.loads(run(monkeypatch, capsys, "flops", model, *INPUT, "--json"))["total"]
    assert total == {"macs": 8 * 16 * 5, "flops": 2 * 8 * 16 * 5, "bitops": 8 * 16 * 5 * 1024}
    target = tmp_path / "shapes.txt"
    assert run(monkeypatch, capsys, "shapes", model, *INPUT, "--out", target) == ""
    assert target.read_text().startswith("name")


@pytest.mark.parametrize("name", ["float", "int8_integer", "cpt_4_8_packed"])
def test_checkpoints_have_the_same_operations_in_float_and_in_integers(
    monkeypatch, capsys, caplog, name: str, tmp_path
) -> None:
    """What runs is counted: the classification head that the criterion asks for, and no head over the vocabulary."""
    path = tmp_path / f"{name}.pt"
    path.write_bytes(gzip.decompress((FIXTURES / f"{name}.pt.gz").read_bytes()))
    data = json.loads(run(monkeypatch, capsys, "flops", path, "--json"))
    assert data["total"]["macs"] == 94912  # of tokens 2 x 11
    heads = {row["name"]: row["macs"] for row in data["nodes"] if "head_" in row["name"]}
    head = "classification_heads_sentence_classification_head"
    assert heads == {f"{head}_dense": 2 * 16 * 16, f"{head}_out_proj": 2 * 16 * 2}
    assert "not used in the first call: classification_heads" not in caplog.text
    bits = {row["bits"] for row in data["nodes"]}
    assert bits == ({"32 x 32"} if name == "float" else {"32 x 32", "8 x 8"})


@pytest.mark.parametrize(
    "words, message",
    [
        (("report", "{code}:jsc_tinny"), "unknown name 'jsc_tinny' in {code}; did you mean 'jsc_tiny'?"),
        (("report", "{code}:not_a_model"), "neither an nn.Module nor a function that makes one, but int"),
        (("report", "{code}:wrong"), "gives int, no nn.Module"),
        (("report", "{folder}/nothing.py:model"), "no file"),
        (("report", "no_such_package.models:build"), "no module 'no_such_package'"),
        (("report", "{folder}/nothing.pt"), "no model"),
        (("report", "{folder}"), "not a folder of transformers"),
        (("shapes", "{code}:jsc_tiny", "--input", "inputt:float32[8,16]"), "did you mean 'input'?"),
        (("shapes", "{code}:jsc_tiny", "--input", "input:float23[8,16]"), "did you mean 'float32'?"),
        (("shapes", "{code}:jsc_tiny", "--input", "input[8,16]"), "must be NAME:DTYPE[SHAPE]"),
        (("shapes", "{code}:jsc_tiny", *INPUT, "--input", "input:int64[2]"), "input 'input' is given 2 times; give"),
        (("shapes", "{code}:jsc_tiny", "--input", "input:float32[8,17]"), "cannot be traced, in '0', a BatchNorm1d"),
        (("shapes", "{code}:jsc_tiny", *INPUT, "--leaf", "7"), "unknown module '7' in the leaves"),
        (("flops", "{code}:jsc_tiny"), "trace it with inputs, such as --input 'input:float32[2,16]'"),
        (("verify", "{code}:jsc_tiny", *INPUT, "--num-bits", "99"), "at least 1 and at most 32, got 99"),
        (("verify", "{code}:jsc_tiny"), "say what to run it on, such as --input 'input:float32[2,16]'"),
        (("report", "{code}"), "name what makes the model, {code}:jsc_tiny, one of jsc_tiny, wrong, of_size"),
        (("verify", "{code}", "--data", "somewhere"), "name what makes the model, {code}:jsc_tiny"),
        (
            ("report", "{folder}/q.toml"),
            "is a configuration, no model; fairseq-graph transform --config {folder}/q.toml",
        ),
    ],
)
def test_one_line_for_what_is_wrong(monkeypatch, capsys, code: Path, words, message: str) -> None:
    words = [str(word).format(code=code, folder=code.parent) for word in words]
    monkeypatch.setattr(sys, "argv", ["fairseq-graph", *words])
    with pytest.raises(SystemExit) as end:
        graph.cli_main()
    captured = capsys.readouterr()
    assert end.value.code not in (0, None) and not captured.out
    assert captured.err.count("\n") == 1 and message.format(code=code, folder=code.parent) in captured.err


def test_shapes_without_inputs_say_how_to_give_them(monkeypatch, capsys, code: Path) -> None:
    out = run(monkeypatch, capsys, "shapes", f"{code}:jsc_tiny")
    assert "no shapes are known without inputs; give them, such as --input 'input:float32[2,16]'" in out


def test_a_file_imports_its_neighbours(monkeypatch, capsys, tmp_path: Path) -> None:
    """While it is loaded and while its callable runs; files of two folders each have their own."""
    path = list(sys.path)
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "net_of_test.py").write_text(
            "import blocks_of_test\ndef build():\n    import late_of_test\n"
            "    return blocks_of_test.nn.Linear(blocks_of_test.SIZE, late_of_test.SIZE)"
        )
        (folder / "blocks_of_test.py").write_text(f"from torch import nn\nSIZE = {number}")
        (folder / "late_of_test.py").write_text(f"SIZE = {number + 5}")
    try:
        for number in (1, 2):
            model = f"{tmp_path / str(number)}/net_of_test.py:build"
            out = run(monkeypatch, capsys, "params", model, "--json")
            assert json.loads(out)["parameters"][-1]["parameters"] == (number + 1) * (number + 5)
        assert sys.path == path
    finally:
        for name in ("net_of_test", "blocks_of_test", "late_of_test"):
            sys.modules.pop(name, None)


QUANTIZED = """
from torch import nn
from fairseq.quantization import quantize_model
def before():
    return nn.Sequential(nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 5), nn.ReLU())
def after():
    return quantize_model(before(), "w4")
def longer():
    return nn.Sequential(*before(), nn.Linear(5, 5))
"""


def test_diff_matches_by_name(monkeypatch, capsys, tmp_path: Path) -> None:
    code = tmp_path / "two.py"
    code.write_text(QUANTIZED)
    data = json.loads(run(monkeypatch, capsys, "diff", f"{code}:before", f"{code}:after", *INPUT, "--json"))
    assert [(row["name"], row["after"]) for row in data["nodes"] if row["changed"]] == [
        ("2", "QLinear (weight: 4 bits symmetric)")
    ]
    assert {row["type"]: (row["total"], row["changed"], row["unchanged"]) for row in data["histogram"]} == {
        "BatchNorm1d": (1, 0, 1), "Linear": (1, 1, 0), "ReLU": (2, 0, 2)
    }  # fmt: skip
    out = run(monkeypatch, capsys, "diff", f"{code}:before", f"{code}:longer", *INPUT)
    (new,) = (line.split() for line in out.splitlines() if line.startswith("4 "))
    assert new == ["4", "call_module", "-", "Linear", "True"]
    same = json.loads(run(monkeypatch, capsys, "diff", f"{code}:after", f"{code}:after", *INPUT, "--json"))
    assert not any(row["changed"] for row in same["nodes"]) and len(same["nodes"]) == 4


def test_diff_says_which_weights_differ(monkeypatch, capsys, tmp_path: Path) -> None:
    code = tmp_path / "fused.py"
    code.write_text("""
import torch
from torch import nn
def one():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 5))
def other():
    model = one()
    model[0].weight.data.mul_(2)
    model[1].running_mean.add_(1)
    return model
""")
    data = json.loads(run(monkeypatch, capsys, "diff", f"{code}:one", f"{code}:other", *INPUT, "--json"))
    assert (data["other_weights"], data["with_weights"]) == (["0", "1"], 3)
    assert not any(row["changed"] for row in data["nodes"])
    assert "Other weights: 2 of 3 modules that have any (0, 1)" in run(
        monkeypatch, capsys, "diff", f"{code}:one", f"{code}:other", *INPUT
    )
    same = run(monkeypatch, capsys, "diff", f"{code}:one", f"{code}:one", *INPUT)
    assert "Other weights" not in same


@pytest.mark.parametrize("ending", ["svg", "png"])
def test_draw(monkeypatch, capsys, tmp_path: Path, ending: str) -> None:
    code, picture = tmp_path / "two.py", tmp_path / f"graph.{ending}"
    code.write_text(QUANTIZED)
    run(monkeypatch, capsys, "draw", f"{code}:after", *INPUT, "--out", picture)
    content = picture.read_bytes()
    assert content.startswith(b"\x89PNG" if ending == "png" else b"<?xml")
    if ending == "svg":
        text = content.decode()
        assert text.count("QLinear 2") == 1 and "4 x 32 bits" in text and "#f4a582" in text  # of 4 bits


def test_profile_of_a_python_file(monkeypatch, capsys, code: Path, tmp_path: Path) -> None:
    model, table, picture = f"{code}:jsc_tiny", tmp_path / "profile.csv", tmp_path / "profile.png"
    words = ("profile", model, *INPUT, "--batches", 2, "--match", "relu")
    stats = ("--stat", "range_quantile:quantile=0.97", "--stat", "histogram:bins=8", "--stat", "variance_precise")
    out = run(monkeypatch, capsys, *words, *stats, "--csv", table, "--png", picture)
    assert [line for line in out.splitlines() if line and " " not in line] == [
        "range_quantile", "histogram", "variance_precise"
    ]  # fmt: skip
    lines = table.read_text().splitlines()
    assert len(lines) == 5 and "range_quantile.max" in lines[0] and picture.read_bytes().startswith(b"\x89PNG")
    rows = json.loads(run(monkeypatch, capsys, *words, *stats, "--json"))["rows"]
    assert [(row["module"], row["tensor"]) for row in rows] == [("1", "input"), ("1", "output"), ("3", "input"),
                                                                ("3", "output")]  # fmt: skip
    assert rows[0]["statistics"]["range_quantile"]["count"] == 2 * 8 * 16
    weights = json.loads(run(monkeypatch, capsys, "profile", model, "--only", "weights", "--json"))["rows"]
    assert [row["tensor"] for row in weights] == ["weight", "bias", "weight", "bias"]


def test_profile_of_a_quantized_checkpoint(monkeypatch, capsys, tmp_path: Path) -> None:
    path = tmp_path / "int8.pt"
    path.write_bytes(gzip.decompress((FIXTURES / "int8_integer.pt.gz").read_bytes()))
    rows = json.loads(run(monkeypatch, capsys, "profile", path, "--batches", 2, "--json"))["rows"]
    assert {row["tensor"] for row in rows} >= {"weight", "output", "before", "after", "error"}
    errors = {row["module"]: row["statistics"]["error"] for row in rows if row["tensor"] == "error"}
    assert len(errors) > 10 and all(error["bits"] == "8" and error["sqnr"] > 15 for error in errors.values())


@pytest.mark.parametrize(
    "words, message",
    [
        (("--match", "lineer"), "no module has the type 'lineer'; the nearest: Linear"),
        (("--stat", "range_quantil"), "did you mean 'range_quantile'?"),
        (("--stat", "range_quantile:q=0.9"), "unknown setting 'q' in statistic range_quantile"),
        (("--stat", "range_quantile:quantile=x"), "needs a number"),
        (("--batches", "0"), "must be at least 1"),
        (("--data", "somewhere"), "--data or --input, not both"),
        (("--csv", "{folder}/none/profile.csv"), "there is no folder"),
        (("--csv", "{code}"), "is there already"),
    ],
)
def test_profile_says_in_one_line_what_is_wrong(monkeypatch, capsys, code: Path, words, message: str) -> None:
    test_one_line_for_what_is_wrong(monkeypatch, capsys, code, ("profile", "{code}:jsc_tiny", *INPUT, *words), message)


def test_verify_passes_and_fails(monkeypatch, capsys, code: Path, tmp_path: Path) -> None:
    code.write_text(
        CODE
        + """
from fairseq.quantization import quantize_model
def quantized():
    return quantize_model(jsc_tiny(), "mxfp8")
def bypassed():
    model = quantized()
    model[2].forward = lambda x: nn.functional.linear(x, model[2].weight, model[2].bias)
    return model
"""
    )
    table = tmp_path / "verified.csv"
    out = run(monkeypatch, capsys, "verify", f"{code}:quantized", *INPUT, "--out", table)
    assert out.splitlines()[-1] == "passed: 2 tensors on their grids, 1 layers equal to their references"
    assert [line.partition(",")[0] for line in table.read_text().splitlines()] == ["row", "tensor", "tensor", "layer"]
    with pytest.raises(SystemExit) as exit:
        run(monkeypatch, capsys, "verify", f"{code}:bypassed", *INPUT, "--json")
    found = capsys.readouterr()
    assert exit.value.code == 1 and json.loads(found.out)["passed"] is False
    assert found.err == (
        "error: verification failed: 2: bypassed, its quantizer 2.weight rounds nothing (and 1 more failure)\n"
    )
    with pytest.raises(SystemExit) as exit:
        run(monkeypatch, capsys, "verify", f"{code}:jsc_tiny", *INPUT)
    assert exit.value.code == 1 and "the Sequential has no quantizers" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["int8_integer", "learned", "formats_packed"])
def test_verify_of_checkpoints(monkeypatch, capsys, name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.pt"
    path.write_bytes(gzip.decompress((FIXTURES / f"{name}.pt.gz").read_bytes()))
    data = json.loads(run(monkeypatch, capsys, "verify", path, "--data", FIXTURES / "data", "--json"))
    assert data["passed"] and len(data["layers"]) >= 12 and all(row["calls"] for row in data["layers"])
    assert {row["stored"] for row in data["tensors"] if row["role"] == "weight"} == {"packed" in name}


@pytest.mark.parametrize(
    "words, message",
    [
        ((), "say what to run it on, such as --input "),
        ((*INPUT, "--num-bits", 0), "--num-bits must be at least 1 and at most 32, got 0"),
        ((*INPUT, "--data", "somewhere"), "--data or --input, not both"),
        ((*INPUT, "--out", "{code}"), "is there already"),
    ],
)
def test_verify_says_in_one_line_what_is_wrong(monkeypatch, capsys, code: Path, words, message: str) -> None:
    test_one_line_for_what_is_wrong(monkeypatch, capsys, code, ("verify", "{code}:jsc_tiny", *words), message)
