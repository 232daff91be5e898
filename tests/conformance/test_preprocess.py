"""fairseq-preprocess writes the same bytes as fairseq 0.12's, whatever the number of workers."""

import json
from pathlib import Path

import pytest
from preprocess_cases import CASES, arguments, digests, write_corpus

from fairseq import options
from fairseq.data.binarize import FileBinarizer, VocabularyDatasetBinarizer
from fairseq.data.dictionary import Dictionary
from fairseq.data.indexed_dataset import MMapIndexedDataset
from fairseq.errors import DataError, FairseqError
from fairseq_cli import preprocess

EXPECTED = json.loads((Path(__file__).parents[1] / "fixtures" / "preprocess" / "expected.json").read_text())


def run(words: list[str]) -> None:
    preprocess.main(options.get_preprocessing_parser().parse_args(words))


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    write_corpus(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("case", CASES)
def test_bytes_are_those_of_fairseq(corpus, case):
    if "{given}" in CASES[case]:
        run(arguments("pairs"))
    run(arguments(case))
    assert digests(corpus / case) == EXPECTED[case]


@pytest.fixture
def small_pieces(monkeypatch):
    """Files of a few bytes are cut, too."""
    monkeypatch.setattr("fairseq.data.file_work.SMALLEST_PIECE", 1)


def test_bytes_do_not_depend_on_workers(corpus, small_pieces):
    for workers in ("1", "3"):
        run([*arguments("aligned")[:-1], f"aligned{workers}", "--workers", workers])
    assert digests(corpus / "aligned1") == digests(corpus / "aligned3") == EXPECTED["aligned"]


def test_messages(corpus, caplog):
    with caplog.at_level("INFO", "fairseq_cli.preprocess"):
        run(arguments("labels"))
    assert [record.getMessage() for record in caplog.records][1:] == [
        "[None] Dictionary: 8 types",
        "[None] train.label: 120 sents, 240 tokens, 0.0% replaced (by <unk>)",
        "[None] Dictionary: 8 types",
        "[None] valid.label: 40 sents, 80 tokens, 0.0% replaced (by <unk>)",
        "Wrote preprocessed data to labels",
    ]
    assert "Wrote preprocessed data" in (corpus / "labels" / "preprocess.log").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only-source", "--trainpref", "nowhere"], "no file nowhere"),
        (["--trainpref", "train", "--source-lang", "en"], "--target-lang is missing"),
        (["--only-source", "--validpref", "valid.en"], "--trainpref is missing"),
        (["--only-source", "--trainpref", "latin1"], "byte 3 is not UTF-8"),
        (["--only-source", "--trainpref", "train.en", "--srcdict", "nodict.txt"], "nodict.txt"),
        (["--only-source", "--trainpref", "train.en", "--dataset-impl", "huffman"], "huffman"),
        ([*arguments("pairs")[:-2], "--joined-dictionary", "--srcdict", "a", "--tgtdict", "b"], "not both"),
        ([*arguments("pairs")[:-2], "--alignfile", "train.en"], "an alignment is a list of pairs"),
    ],
)
def test_mistakes_end_in_one_line(corpus, words, message):
    (corpus / "latin1").write_bytes("na\u00efve\n".encode("latin-1").join([b"a", b""]))
    with pytest.raises(FairseqError, match=message) as caught:
        run([*words, "--destdir", "bin"])
    assert "\n" not in str(caught.value)
    assert not list(corpus.glob("bin/*.pt*")) and not list(corpus.glob("bin/*.part*"))


def test_an_existing_dictionary_is_not_overwritten(corpus):
    run(arguments("labels"))
    with pytest.raises(DataError, match=r"labels/dict.txt exists"):
        run(arguments("labels"))


def test_a_failing_worker_leaves_no_pieces(corpus, small_pieces):
    (corpus / "bad.align").write_text("0-0\n" * 50 + "1-x\n" * 50)
    for lang in ("en", "de"):
        (corpus / f"bad.{lang}").write_text("a b\n" * 100)
    with pytest.raises(DataError, match="1-x"):
        run(
            [
                "-s",
                "en",
                "-t",
                "de",
                "--trainpref",
                "bad",
                "--align-suffix",
                "align",
                "--destdir",
                "bin",
                "--workers",
                "2",
            ]
        )
    names = sorted(path.name for path in (corpus / "bin").iterdir())
    assert not [name for name in names if "align" in name]


def test_small_files_are_read_in_this_process(corpus, monkeypatch):
    monkeypatch.setattr("fairseq.data.file_work.ProcessPoolExecutor", None)
    run([*arguments("aligned"), "--workers", "3"])
    assert digests(corpus / "aligned") == EXPECTED["aligned"]


@pytest.mark.parametrize("at_once", [1, 7])
def test_bytes_do_not_depend_on_how_many_ids_are_written_at_once(corpus, monkeypatch, at_once):
    monkeypatch.setattr("fairseq.data.binarize._IDS_AT_ONCE", at_once)
    monkeypatch.setattr("fairseq.data.dictionary_file._LINES_AT_ONCE", at_once)
    run(arguments("pairs"))
    assert digests(corpus / "pairs") == EXPECTED["pairs"]


def test_lines_of_a_binarizer_of_ones_own(corpus):
    class Backwards(VocabularyDatasetBinarizer):
        def binarize_line(self, line, summary):
            return super().binarize_line(line, summary).flip(0)

    (corpus / "two").write_text("a b\nb\n")
    dictionary = Dictionary()
    ids = {word: dictionary.add_symbol(word) for word in "ab"}
    summary = FileBinarizer.multiprocess_dataset("two", "mmap", Backwards(dictionary), "out", len(dictionary))
    assert [item.tolist() for item in MMapIndexedDataset("out")] == [[2, ids["b"], ids["a"]], [2, ids["b"]]]
    assert (summary.num_seq, summary.num_tok) == (2, 5)


def test_an_id_that_does_not_fit_is_named(corpus):
    (corpus / "numbers").write_text("1 2\n99999999999\n")
    binarizer = VocabularyDatasetBinarizer(Dictionary(), already_numberized=True)
    with pytest.raises(DataError, match="99999999999 does not fit"):
        FileBinarizer.multiprocess_dataset("numbers", "mmap", binarizer, "out", 100)
    assert not list(corpus.glob("out*"))
