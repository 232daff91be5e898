"""fairseq-formats: lists every registered format, prints its values, and finds the errors that are known."""

import gzip
import json
import math
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from fairseq.checkpoint_tools.matrices import matrices
from fairseq.errors import ConfigError
from fairseq.quantization.analysis.format_comparison import (
    Comparison,
    _label_places,
    compare,
    descriptions,
    random_data,
    table,
)
from fairseq.quantization.formats import FORMATS, QParams, build_format
from fairseq_cli import formats


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object) -> str:
    monkeypatch.setattr(sys, "argv", ["fairseq-formats", *map(str, words)])
    formats.cli_main()
    return capsys.readouterr().out


def fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object) -> str:
    monkeypatch.setattr(sys, "argv", ["fairseq-formats", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        formats.cli_main()
    captured = capsys.readouterr()
    assert end.value.code not in (0, None) and captured.err.count("\n") == 1 and not captured.out
    return captured.err


def test_list(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = run(monkeypatch, capsys, "list", "--json", tmp_path / "list.json")
    listed, _, legend = out.partition("\n\n")
    assert max(map(len, out.splitlines())) <= 125
    assert "minifloat of exponent_bits=5 mantissa_bits=2 top=ieee saturating=False\n" in listed
    assert [line.split()[0] for line in listed.splitlines()[1:]] == list(FORMATS)
    assert all(word in legend for word in ("ties", "inward", "outward", "backward", "plain", "clipped", "tanh"))
    rows = {row["format"]: row for row in json.loads((tmp_path / "list.json").read_text())}
    assert rows["ternary"]["bits_per_value"] == 2 and rows["log"]["fields"] == "steps_per_octave=1"
    for row in descriptions():
        assert row.bits and row.zero and row.overflow and row.ties and row.backward == "plain", row.format


def test_values(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    out = run(monkeypatch, capsys, "values", "log", "--num-bits", 3)
    assert out.split() == ["-1", "-0.5", "-0.25", "0", "0.25", "0.5", "1"]
    out = run(monkeypatch, capsys, "values", '{"format": "codebook", "values": [2, -1, 0.25]}')
    assert out.split() == ["-1", "0.25", "2"]


BLOCKS = {"mxfp8": 126 * 2 + 1, "mxfp6": 63, "mxfp4": 15, "nvfp4": 15, "mxint8": 255}


@pytest.mark.parametrize("name", FORMATS.names())
def test_values_of_every_format(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Of presets and aliases too: ascending, one a line, each once, and all: whatever is rounded is one of them."""
    number_format = build_format(name)
    least, most = number_format.min_bits, min(8, number_format.max_bits)
    for bits in sorted({least, (least + most) // 2, most}):
        fixed = number_format.fixed_bits is not None
        lines = run(monkeypatch, capsys, "values", name, *([] if fixed else ["--num-bits", bits])).splitlines()
        found = [float(line) for line in lines]
        assert found == sorted(set(found)), bits
        low, high = number_format.code_range(bits)
        assert len(found) == high - low + 1 <= 2**bits
        assert len(found) == BLOCKS.get(name, len(found))
        exact = number_format.values(bits)
        if number_format.needs_statistic:  # rounds to levels of two scales, or behind a threshold
            continue
        one = torch.ones((), dtype=torch.float64)
        qparams = QParams(one, 0 * one, low, high)
        x = torch.linspace(1.1 * exact[0].item(), 1.1 * exact[-1].item(), 4001, dtype=torch.float64)
        rounded = number_format.fake_quantize(torch.cat([x, exact]), qparams)
        levels = set(exact.tolist())
        assert set(rounded[rounded.isfinite()].tolist()) == levels


def test_compare(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rows = compare(random_data())
    assert {row.format for row in rows} == set(FORMATS)
    assert {row.data for row in rows} == {"normal", "laplace", "student-t", "outliers"}
    on_normal = {(row.format, row.num_bits): row for row in rows if row.data == "normal"}
    # of a normal distribution these are known: 10 log10(1 / (1 - 2 / pi)); 6 dB a bit
    assert on_normal["binary", 1].sqnr == pytest.approx(4.396, abs=0.05)
    assert on_normal["symmetric", 8].sqnr - on_normal["symmetric", 4].sqnr == pytest.approx(25.1, abs=1)
    assert on_normal["log", 8].sqnr > 13.8 and on_normal["ternary", 2].sqnr > 7
    assert on_normal["binary", 1].bits_per_value == pytest.approx(1 + 32 / (256 * 1024))
    assert on_normal["log", 4].zeros > 1 > on_normal["log", 8].zeros
    lines = table(rows).splitlines()
    assert len({len(line) for line in lines}) == 1 and lines[0].startswith("data")


def test_compare_says_what_has_no_scale(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("fairseq.quantization.analysis.format_comparison.SHAPE", (4, 32))
    words = ["compare", "--formats", "mxfp4", "fp4_e2m1", '{"format": "fp8_e4m3", "scaled": true}']
    lines = run(monkeypatch, capsys, *words).splitlines()
    note = lines.index("") + 1
    assert lines[note].startswith("cast as they are, without a scale") and lines[note + 1] == "fp4_e2m1"
    spec = lines[note + 2].split("'")[1]  # what it says can be run
    assert "fp4_e2m1(scaled=True)" in run(monkeypatch, capsys, "compare", "--formats", spec)
    assert "without a scale" not in run(monkeypatch, capsys, "compare", "--formats", "mxfp4", spec)


def test_compare_a_checkpoint(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    weights = {"a": torch.randn(40, 30), "b": torch.full((8, 4), 0.5), "bias": torch.randn(4)}
    monkeypatch.setattr("fairseq.checkpoint_utils.load_checkpoint_to_cpu", lambda path: {"model": weights})
    pytest.importorskip("matplotlib")
    words = ["compare", "--checkpoint", "model.pt", "--granularity", "channel", "--num-bits", 4]
    out = run(monkeypatch, capsys, *words, "--json", tmp_path / "c.json", "--png", tmp_path / "c.png")
    rows = {row["format"]: row for row in json.loads((tmp_path / "c.json").read_text())}
    assert set(rows) == set(FORMATS) and {row["data"] for row in rows.values()} == {"model.pt"}
    assert rows["binary"]["bits_per_value"] == pytest.approx((1232 + 48 * 32) / 1232)
    assert out.splitlines()[1].startswith("model.pt") and (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("file", "granularity"),
    [
        ("release/float.pt.gz", "tensor"),
        ("release/formats_packed.pt.gz", "channel"),
        ("hf/roberta/model.safetensors", "group:8"),
        ("hf/bert_classifier", "tensor"),
    ],
)
def test_compare_real_files(
    file: str, granularity: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A checkpoint, a packed one, a safetensors file and a Hugging Face folder, at granularities that blocks ignore."""
    path = Path(__file__).resolve().parents[1] / "fixtures" / file
    if path.suffix == ".gz":
        (tmp_path / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
        path = tmp_path / path.stem
    chosen = ["mxfp4", '{"format": "block_fp", "width": 5}', "ternary", "symmetric"]
    words = ["compare", "--checkpoint", path, "--granularity", granularity, "--num-bits", 4, "--formats", *chosen]
    out = run(monkeypatch, capsys, *words, "--json", tmp_path / "out.json")
    rows = {row["format"]: row for row in json.loads((tmp_path / "out.json").read_text())}
    assert set(rows) == {"mxfp4", "block_fp(width=5)", "ternary", "symmetric"}
    assert [line.split()[0] for line in out.splitlines()[1:]] == [path.name] * 4
    assert rows["block_fp(width=5)"]["sqnr"] > rows["mxfp4"]["sqnr"] > rows["ternary"]["sqnr"] > 3
    numbers = matrices(str(path))
    blocks = sum(tensor.shape[0] * math.ceil(tensor[0].numel() / 32) for tensor in numbers)
    count = sum(tensor.numel() for tensor in numbers)
    assert rows["mxfp4"]["bits_per_value"] == pytest.approx(4 + 8 * blocks / count)  # shorter blocks counted as such


def test_labels_of_the_plot_keep_their_distance() -> None:
    rows = [
        Comparison("x", f"f{index}", 8, 8 + index / 100, sqnr, 0, 0, 0, 0)
        for index, sqnr in enumerate([30, 30, 29.9, 5])
    ]
    places = list(_label_places(rows, distance=1.0))
    assert [y for _, _, y in places] == [30, 29, 28, 5] and all(x > 8.03 for _, x, _ in places)


def test_errors(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "did you mean 'ternary'" in fails(monkeypatch, capsys, "values", "ternery")
    assert "say how many by --num-bits" in fails(monkeypatch, capsys, "values", "symmetric")
    assert "8 bits or fewer, not 12" in fails(monkeypatch, capsys, "values", "symmetric", "--num-bits", 12)
    assert "is no JSON" in fails(monkeypatch, capsys, "values", "{format: log}")
    assert "granularity" in fails(monkeypatch, capsys, "compare", "--granularity", "row")
    assert "none.pt" in fails(monkeypatch, capsys, "compare", "--checkpoint", tmp_path / "none.pt")
    for name in ("bad.pt", "bad.safetensors"):
        (tmp_path / name).write_bytes(b"no checkpoint")
        assert f"{name} is damaged" in fails(monkeypatch, capsys, "compare", "--checkpoint", tmp_path / name)
    assert "neither model.safetensors" in fails(monkeypatch, capsys, "compare", "--checkpoint", tmp_path)
    save_file({"bias": torch.ones(3)}, tmp_path / "vectors.safetensors")
    assert "no matrix" in fails(monkeypatch, capsys, "compare", "--checkpoint", tmp_path / "vectors.safetensors")
    assert "num_bits 77: none of" in fails(monkeypatch, capsys, "compare", "--num-bits", 77)
    assert "did you mean 'mxfp8'" in fails(monkeypatch, capsys, "compare", "--formats", "mxfp9")
    with pytest.raises(ConfigError, match=r"nan: a tensor of shape \(1, 2\) holds infinities or NaN"):
        compare({"nan": [torch.tensor([[1.0, float("nan")]])]})
    (tmp_path / "out.json").touch()
    assert "--overwrite" in fails(monkeypatch, capsys, "list", "--json", tmp_path / "out.json")
    with pytest.raises(ConfigError, match="there are no numbers but 0"):
        compare({"zeros": [torch.zeros(3, 4)]})
