"""Dictionaries: files, ids, errors. What fairseq does is compared in tests/conformance/test_data_cases.py."""

import io

import pytest
import torch

from fairseq.data import Dictionary, TruncatedDictionary
from fairseq.errors import DataError
from fairseq.tokenizer import tokenize_line


def load(text, **options):
    return Dictionary.load(io.StringIO(text), **options)


def test_file_round_trip_keeps_symbols_counts_and_order(tmp_path):
    path = tmp_path / "new" / "folder" / "dict.txt"
    text = "the 30\na b 7\n\u00fc 7\nmadeupword0000 0\n"
    load(text).save(str(path))
    assert path.read_text(encoding="utf-8") == text
    again = Dictionary.load(str(path))
    assert again.symbols == ["<s>", "<pad>", "</s>", "<unk>", "the", "a b", "\u00fc", "madeupword0000"]
    assert again.count[4:] == [30, 7, 7, 0]
    assert (again.bos(), again.pad(), again.eos(), again.unk(), again.nspecial) == (0, 1, 2, 3, 4)


def test_overwrite_flag_gives_the_later_line_the_symbol():
    d = load("a 1\nb 2\na 3 #fairseq:overwrite\n")
    assert d.index("a") == 6 and d.index("b") == 5 and d[4] == "a" and len(d) == 7


@pytest.mark.parametrize("text, line", [("a 1\nb 2\na 3\n", 3), ("a 1\n<unk> 3\n", 2)])
def test_duplicate_symbol_names_line_and_remedy(text, line):
    with pytest.raises(DataError, match=f"line {line}: duplicate symbol .*#fairseq:overwrite") as caught:
        load(text)
    assert isinstance(caught.value, RuntimeError)  # what fairseq raises


@pytest.mark.parametrize("bad", ["b", "", "b x", "b 1.5", "b\t3", "b 1 #fairseq:other"])
def test_malformed_line_names_file_and_line(tmp_path, bad):
    path = tmp_path / "dict.txt"
    path.write_text(f"a 1\n{bad}\nc 2\n", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        Dictionary.load(str(path))
    assert str(caught.value).startswith(f"{path}, line 2: expected '<symbol> <count>'") and "\n" not in str(
        caught.value
    )


def test_missing_unreadable_and_foreign_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no dictionary .*absent.txt") as caught:
        Dictionary.load(str(tmp_path / "absent.txt"))
    assert isinstance(caught.value, DataError)
    with pytest.raises(DataError, match="cannot read dictionary"):
        Dictionary.load(str(tmp_path))
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9 3\n")
    with pytest.raises(DataError, match=r"latin.txt is not UTF-8 \(byte 3\)"):
        Dictionary.load(str(tmp_path / "latin.txt"))


def test_windows_line_ends_are_accepted(tmp_path):
    (tmp_path / "dict.txt").write_bytes(b"a 1\r\nb 2\r\n")
    assert Dictionary.load(str(tmp_path / "dict.txt")).symbols[4:] == ["a", "b"]


def test_equality_is_that_of_ids():
    assert load("a 1\n") == load("a 2\n")
    assert load("a 1\nb 1\n") != load("b 1\na 1\n")
    assert load("a 1\n") != "a"


def test_update_pad_and_lookup():
    d = load("a 1\n")
    d.update(load("b 5\na 2\n"))
    assert d.symbols[4:] == ["a", "b"] and d.count[4:] == [3, 5]
    d.pad_to_multiple_(8)
    assert len(d) == 8 and d[7] == "madeupword0001" and d[99] == "<unk>" and d.index("zzz") == d.unk()
    assert "b" in d and "zzz" not in d and d.unk_string(True) == "<<unk>>"


def test_extra_special_symbols_are_not_saved():
    d = Dictionary(extra_special_symbols=["<lang>"])
    d.add_symbol("w", 3)
    out = io.StringIO()
    d.save(out)
    assert out.getvalue() == "w 3\n" and d.index("<lang>") == 4 and d.nspecial == 5


def test_encode_line_consumer_and_dummy_sentence():
    d, seen = load("a 1\nb 1\n"), []
    ids = d.encode_line("a c b", add_if_not_exist=False, consumer=lambda word, idx: seen.append((word, idx)))
    assert ids.dtype == torch.int32 and ids.tolist() == [4, 3, 5, 2]
    assert seen == [("a", 4), ("c", 3), ("b", 5)]
    dummy = d.dummy_sentence(20)
    assert dummy[-1] == d.eos() and dummy[:-1].min() > d.nspecial - 1 and dummy.max() < len(d)


def test_truncated_dictionary_reads_the_rest_as_unknown():
    d = TruncatedDictionary(load("a 1\nb 1\nc 1\n"), 6)
    assert len(d) == 6 and d[5] == "b" and d[6] == "<unk>" and isinstance(d, Dictionary)


@pytest.mark.parametrize("num_workers", [1, 3])
def test_words_of_a_file_are_counted_the_same_by_any_number_of_workers(tmp_path, monkeypatch, num_workers):
    monkeypatch.setattr("fairseq.data.file_work.SMALLEST_PIECE", 1)
    path = tmp_path / "text.txt"
    path.write_text("the a a b\n\nb b z\u00e4 \x85 x\u2028y\r\n" * 50 + "last", encoding="utf-8")
    d = Dictionary()
    Dictionary.add_file_to_dictionary(str(path), d, tokenize_line, num_workers)
    d.finalize(padding_factor=1)
    assert dict(zip(d.symbols, d.count, strict=True)) == {
        "<s>": 1, "<pad>": 1, "</s>": 152, "<unk>": 1, "b": 150, "a": 100, "the": 50, "x": 50, "y": 50, "z\u00e4": 50,
        "last": 1,
    }  # fmt: skip


def test_text_that_is_not_utf8_is_named(tmp_path):
    (tmp_path / "text.txt").write_bytes(b"abc\n\xff\n")
    with pytest.raises(DataError, match="byte 4 is not UTF-8"):
        Dictionary.add_file_to_dictionary(str(tmp_path / "text.txt"), Dictionary(), tokenize_line, 1)


def test_roberta_dictionary_loads(bpe_dir):
    d = Dictionary.load(str(bpe_dir / "dict.txt"))
    assert d.add_symbol("<mask>") == 50264
    assert d.encode_line("15496 995 0", add_if_not_exist=False).tolist() == [31414, 232, 328, 2]
