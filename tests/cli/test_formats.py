"""fairseq-formats: lists every registered format, prints its values, and finds the errors that are known."""

import json
import sys
from pathlib import Path

import pytest
import torch

from fairseq.errors import ConfigError
from fairseq.quantization.analysis.format_comparison import compare, descriptions, random_data, representable, table
from fairseq.quantization.formats import FORMATS, build_format
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
    assert [line.split()[0] for line in out.splitlines()[1:]] == list(FORMATS)
    rows = {row["format"]: row for row in json.loads((tmp_path / "list.json").read_text())}
    assert rows["ternary"]["bits_per_value"] == 2 and rows["log"]["fields"] == "steps_per_octave=1"
    for row in descriptions():
        assert row.bits and row.zero and row.overflow and row.backward == "plain", row.format


def test_values(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    out = run(monkeypatch, capsys, "values", "log", "--num-bits", 3)
    assert out.split() == ["-1", "-0.5", "-0.25", "0", "0.25", "0.5", "1"]
    out = run(monkeypatch, capsys, "values", '{"format": "codebook", "values": [2, -1, 0.25]}')
    assert out.split() == ["-1", "0.25", "2"]
    for name in FORMATS:
        number_format = build_format(name)
        bits = number_format.fixed_bits or min(8, number_format.max_bits)
        found = representable(name, bits)
        assert found == sorted(found) and len(set(found)) == len(found) <= 2**bits, name


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


def test_errors(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "did you mean 'ternary'" in fails(monkeypatch, capsys, "values", "ternery")
    assert "say how many by --num-bits" in fails(monkeypatch, capsys, "values", "symmetric")
    assert "8 bits or fewer, not 12" in fails(monkeypatch, capsys, "values", "symmetric", "--num-bits", 12)
    assert "is no JSON" in fails(monkeypatch, capsys, "values", "{format: log}")
    assert "granularity" in fails(monkeypatch, capsys, "compare", "--granularity", "row")
    assert "none.pt" in fails(monkeypatch, capsys, "compare", "--checkpoint", tmp_path / "none.pt")
    (tmp_path / "out.json").touch()
    assert "--overwrite" in fails(monkeypatch, capsys, "list", "--json", tmp_path / "out.json")
    with pytest.raises(ConfigError, match="there are no numbers but 0"):
        compare({"zeros": [torch.zeros(3, 4)]})
