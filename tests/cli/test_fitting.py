"""Tables fit the terminal: nothing is lost, nothing is wider, and pipes get them as they are."""

import io
import os
import sys

from hypothesis import given, settings
from hypothesis import strategies as st

from fairseq.quantization.plan.table import align
from fairseq.text_table import text_table
from fairseq_cli.fitting import fitted, show

WORDS = st.text("abcxyz", min_size=1, max_size=20)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.integers(1, 5), st.integers(30, 60), st.data())
def test_no_line_is_wider_and_no_cell_is_lost(columns, rows, width, data):
    cells = data.draw(st.lists(st.lists(WORDS, min_size=columns, max_size=columns), min_size=rows, max_size=rows))
    names = [f"n{column}{'x' * data.draw(st.integers(0, 20))}" for column in range(columns)]
    text = align([dict(zip(names, row, strict=True)) for row in cells])
    found = fitted(text, width)
    assert max(map(len, found.split("\n"))) <= width
    assert found == text or set(text.split()) == set(found.split())


def test_wide_tables_are_cut_between_columns():
    rows = [{"layer": f"layers.{i}", **{f"kind_{k}": i * k for k in range(9)}} for i in range(3)]
    text = fitted(f"drop, by layer\n{text_table(rows)}", 40).split("\n")
    assert text[0] == "drop, by layer" and max(map(len, text)) <= 40
    assert [line.split() for line in text if line.startswith("layers.2")] == [
        ["layers.2", "0", "2", "4", "6"],
        ["layers.2", "8", "10", "12", "14"],
        ["layers.2", "16"],
    ]


def test_long_paths_get_lines_of_their_own():
    rows = [{"quantizer": f"encoder.layers.{i}.self_attn.q_proj.weight", "bits": "8", "SQNR": "31.2"} for i in range(2)]
    assert fitted(align(rows), 50).split("\n")[2:4] == ["encoder.layers.0.self_attn.q_proj.weight", "  8     31.2"]


def test_sentences_are_wrapped_and_pipes_get_all_as_it_is(monkeypatch, capsys):
    text = "a sentence of more than thirty characters\n\nshort"
    assert fitted(text, 30) == "a sentence of more than thirty\n  characters\n\nshort"
    show(text)
    assert capsys.readouterr().out == f"{text}\n"
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((30, 24)))
    show(text)
    assert terminal.getvalue() == f"{fitted(text, 30)}\n"
