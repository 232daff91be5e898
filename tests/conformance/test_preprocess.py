"""fairseq-preprocess writes the same bytes as fairseq 0.12's, whatever the number of workers."""

import json
from pathlib import Path

import pytest
from preprocess_cases import CASES, arguments, digests, write_corpus

from fairseq import options
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


def test_bytes_do_not_depend_on_workers(corpus):
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


def test_a_failing_worker_leaves_no_pieces(corpus):
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
