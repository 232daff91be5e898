"""Tables as people have them: what comes out is what was put in, or one line that says where and what to do."""

import csv
import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairseq.errors import ConfigError, DataError
from fairseq.own_data.tables import read_table

CELLS = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), max_size=12)


def table_of(tmp_path, text, name="train.csv", **options):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_table(path, ["text", "label"], **options)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=5))
def test_csv_gives_back_what_a_spreadsheet_wrote(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("csv") / "train.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    table = read_table(path, ["text", "label"])
    found = list(zip(table.columns["text"], table.columns["label"], strict=True))
    assert found == [tuple(cell if cell.strip() else None for cell in row) for row in rows]


def test_quotes_delimiters_and_line_breaks_in_fields(tmp_path):
    table = table_of(tmp_path, '\ufefftext,label,\r\n"a, ""b""\nc",yes,1\r\n\r\n,no,2\r\n')
    assert table.columns == {"text": ['a, "b"\nc', None], "label": ["yes", "no"]}
    assert table.places == ["line 2", "line 5"]


def test_a_tsv_file_has_no_quotes_unless_asked_for(tmp_path):
    text = 'text\tlabel\n"a\tyes\n'
    assert table_of(tmp_path, text, "train.tsv").columns["text"] == ['"a']
    with pytest.raises(DataError, match=r"line 3: unexpected end of data; a quote in a field is written twice|line 2"):
        table_of(tmp_path, text, "train.tsv", quotes=True)
    with pytest.raises(DataError, match=r"line 2: 3 fields, 2 in the header; give --quotes"):
        table_of(tmp_path, 'text\tlabel\n"a\tb"\tyes\n', "train.tsv")


def test_compressed_and_cut(tmp_path):
    text = gzip.compress(b"text\tlabel\na\tyes\nb\tno\n")
    assert table_of(tmp_path, text, "train.tsv.gz", first=1).columns["text"] == ["a"]
    with pytest.raises(DataError, match=r"cannot read .*train\.tsv\.gz"):
        table_of(tmp_path, text[:-9], "train.tsv.gz")


def test_long_fields(tmp_path):
    assert len(table_of(tmp_path, f"text,label\n{'a' * 300_000},yes\n").columns["text"][0]) == 300_000
    assert csv.field_size_limit() == 131072  # the library's setting is left as it was


@pytest.mark.parametrize("whole", [False, True])
def test_json(tmp_path, whole):
    rows = [{"text": "a\nb", "label": True, "other": []}, {"text": None, "label": 2}, {"label": 0.5, "text": " "}]
    text = json.dumps(rows, indent=1) if whole else "\n".join(map(json.dumps, rows)) + "\n\n"
    table = table_of(tmp_path, text, "train.json")
    assert table.columns == {"text": ["a\nb", None, None], "label": ["true", "2", "0.5"]}
    assert table.places[1] == ("row 2" if whole else "line 2")


def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {"text": ["a", None, "c"], "label": [1, 2, None], "other": [[], [], []]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "train.parquet")
    table = read_table(tmp_path / "train.parquet", ["text", "label"])
    assert table.columns == {"text": ["a", None, "c"], "label": ["1", "2", None]}
    assert read_table(tmp_path / "train.parquet", ["text"], first=2).places == ["row 1", "row 2"]
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"cannot read .*bad\.parquet"):
        read_table(tmp_path / "bad.parquet", ["text"])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("train.csv", "text,lable\na,b\n", "has no column 'label', but text, lable; did you mean 'lable'"),
        ("train.csv", "text;label\na;b\n", "separated by ';': give --delimiter ';'"),
        ("train.csv", "text,label,label\na,b,c\n", "has 2 columns 'label'; rename"),
        ("train.csv", "text,label\na,b\nc\n", "line 3: 1 fields, 2 in the header"),
        ("train.csv", 'text,label\n"a"b,c\n', "line 2: .* a quote in a field is written twice"),
        ("train.csv", "text,label\n", "has no examples"),
        ("train.csv", "", "has no column 'text', but none at all"),
        ("train.csv", b"text,label\na,b\n\xff,c\n", "is not UTF-8"),
        ("train.jsonl", '{"text": "a"}\n', "has no column 'label', but text"),
        (
            "train.jsonl",
            '{"text": "a", "label": 1}\n{"text": []}\n',
            r"line 2: 'text' is \[\], neither text nor a number",
        ),
        ("train.jsonl", '{"text": "a", "label": 1}\n[1]\n', "line 2: expected an object"),
        ("train.jsonl", '{"text": "a", "text": "b", "label": 1}\n', "the key 'text' is there twice"),
        ("train.jsonl", '{"text": "a", "label": 1}\nnot\n', "line 2: no JSON object"),
        ("train.jsonl", '{"text": "\\ud800", "label": 1}\n', "half of a surrogate pair"),
        ("train.jsonl", "", "has no examples"),
    ],
)
def test_what_cannot_be_used_is_one_line(tmp_path, name, text, message):
    with pytest.raises(DataError, match=message) as caught:
        table_of(tmp_path, text, name)
    assert str(tmp_path / name) in str(caught.value)


def test_kinds_of_files(tmp_path):
    with pytest.raises(ConfigError, match=r"the name of a table ends in \.csv"):
        table_of(tmp_path, "", "train.xlsx")
    with pytest.raises(DataError, match="there is no file"):
        read_table(tmp_path / "train.csv", ["text"])
    with pytest.raises(ConfigError, match="--delimiter takes one character"):
        table_of(tmp_path, "text,label\n", delimiter="::")
