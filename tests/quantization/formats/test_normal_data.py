"""Errors on normal data of deviation 0.04, as weights of a transformer have it: the bars, and the documents' table."""

from pathlib import Path

import pytest

from fairseq.quantization.analysis.format_comparison import Comparison, compare, random_data
from fairseq.quantization.formats import FORMATS, FormatSpec, build_format

OTHERS: list[FormatSpec] = [
    {"format": "fixed_point", "width": 8, "frac_width": "half"},
    {"format": "fp8_e4m3", "scaled": True},
    {"format": "fp4_e2m1", "scaled": True},
]


@pytest.fixture(scope="module")
def rows() -> dict[tuple[str, int], Comparison]:
    data = {"normal": random_data()["normal"]}
    return {(row.format, row.num_bits): row for row in compare(data, [*FORMATS, *OTHERS])}


@pytest.mark.parametrize(
    ("name", "decibels"),
    [("block_fp", 43), ("mxint8", 42.3), ("fp8_e4m3", 31), ("mxfp8_e4m3", 30.5), ("fixed_point", 36.5), ("apot", 34),
     ("minifloat_denorm", 25.5), ("block_minifloat", 31.4), ("log", 14), ("block_log", 14), ("symmetric", 38.5)],
)  # fmt: skip
def test_formats_of_8_bits_are_at_least_so_close(
    name: str, decibels: float, rows: dict[tuple[str, int], Comparison]
) -> None:
    assert decibels <= rows[name, 8].sqnr < decibels + 1


def test_half_of_the_bits_behind_the_point_loses_weights(rows: dict[tuple[str, int], Comparison]) -> None:
    half = rows[str(build_format(OTHERS[0])), 8]
    assert half.sqnr == pytest.approx(6.9, abs=0.2) and half.zeros == pytest.approx(56, abs=1)


def test_the_table_of_the_documents_is_what_is_measured(
    rows: dict[tuple[str, int], Comparison], repository: Path
) -> None:
    text = (repository / "docs" / "formats.md").read_text(encoding="utf-8")
    section = text.partition("## Error on normal data\n")[2].partition("\n## ")[0]
    lines = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| `")]
    written = {(name.strip("`"), int(bits)): tuple(map(float, numbers)) for name, bits, *numbers in lines}
    assert set(written) == set(rows)
    for key, (per_value, sqnr, zeros) in written.items():
        row = rows[key]
        assert per_value == pytest.approx(row.bits_per_value, abs=0.006), key
        assert sqnr == pytest.approx(row.sqnr, abs=0.06) and zeros == pytest.approx(row.zeros, abs=0.06), key
