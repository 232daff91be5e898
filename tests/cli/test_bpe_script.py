"""examples.roberta.multiprocessing_bpe_encoder: line by line, parallel files, empty lines."""

import importlib.util

import pytest
from glue_files import make_bpe


@pytest.fixture
def encode(repository, tmp_path, monkeypatch):
    path = repository / "examples" / "roberta" / "multiprocessing_bpe_encoder.py"
    spec = importlib.util.spec_from_file_location("multiprocessing_bpe_encoder", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    bpe = make_bpe(tmp_path / "bpe")
    files = ["--encoder-json", str(bpe / "encoder.json"), "--vocab-bpe", str(bpe / "vocab.bpe")]

    def run(*words):
        monkeypatch.setattr("sys.argv", ["x", *files, *words])
        module.main()

    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").write_text("this\n  the cat \n\nend", encoding="utf-8")
    (tmp_path / "b").write_text("one\n\nthree\nfour\n", encoding="utf-8")
    return run


def test_keeps_every_line_where_asked_to(encode, tmp_path):
    encode("--inputs", "a", "--outputs", "a.bpe", "--keep-empty")
    lines = (tmp_path / "a.bpe").read_text().split("\n")
    assert len(lines) == 5 and lines[2] == "" and lines[4] == ""
    assert lines[0].split()[0] == "256"  # th
    assert lines[1].split()[0] == "256" and len(lines[1].split()) == len("the cat") - 1


def test_a_line_that_is_empty_in_one_file_goes_from_all(encode, tmp_path, capsys):
    encode("--inputs", "a", "b", "--outputs", "a.bpe", "b.bpe")
    assert len((tmp_path / "a.bpe").read_text().splitlines()) == len((tmp_path / "b.bpe").read_text().splitlines()) == 2
    assert "[num_filtered_EMPTY] filtered 2 lines" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--inputs", "a", "b", "--outputs", "c"], "2 --inputs need as many --outputs, not 1"),
        (["--inputs", "nowhere", "--outputs", "c"], "cannot open nowhere"),
    ],
)
def test_mistakes_end_in_one_line(encode, capsys, words, message):
    with pytest.raises(SystemExit):
        encode(*words)
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1
