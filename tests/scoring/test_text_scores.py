"""chrF, word error rate and the tokenizer of scorers; the tokenizer's values are fairseq 0.12's."""

import sys

import pytest
import torch

from fairseq.data import Dictionary
from fairseq.dataclass.scoring import WerConfig
from fairseq.errors import ConfigError
from fairseq.scoring import build_scorer
from fairseq.scoring.tokenizer import EvaluationTokenizer
from fairseq.scoring.wer import WerScorer, edit_distance

SENTENCES = ["Hello, World!  It's a   test - (yes) .", "a , b ... c", "Ünï ¿qué? 3.5"]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ["Hello , World ! It's a test - ( yes ) .", "a , b . . . c", "Ünï ¿qué ? 3.5"]),
        ({"tokenizer_type": "none"}, SENTENCES),
        (
            {"tokenizer_type": "none", "punctuation_removal": True},
            ["Hello, World! It's a test (yes)", "a b c", "Ünï ¿qué? 3.5"],
        ),
        (
            {"tokenizer_type": "intl", "punctuation_removal": True, "character_tokenization": True, "lowercase": True},
            ["h e l l o ▁ w o r l d ▁ i t ▁ s ▁ a ▁ t e s t ▁ y e s", "a ▁ b ▁ c", "ü n ï ▁ q u é ▁ 3 . 5"],
        ),
    ],
)
def test_tokenizer(settings, expected):
    assert [EvaluationTokenizer(**settings).tokenize(text) for text in SENTENCES] == expected


def test_an_unknown_tokenizer():
    with pytest.raises(ConfigError, match="unknown tokenizer '13b'"):
        EvaluationTokenizer("13b")


@pytest.mark.parametrize(
    ("first", "second", "distance"), [("", "", 0), ("abc", "", 3), ("kitten", "sitting", 3), ("flaw", "lawn", 2)]
)
def test_edit_distance(first, second, distance):
    assert edit_distance(first, second) == edit_distance(second, first) == distance


def test_word_error_rate():
    scorer = WerScorer(WerConfig(wer_tokenizer="13a", wer_lowercase=True, wer_remove_punct=True))
    scorer.add_string("The cat sat.", "the cat sat")
    scorer.add_string("one two three", "one too three four")
    assert scorer.result_string() == "WER: 33.33" and scorer.score() == pytest.approx(100 * 2 / 6)
    assert build_scorer("wer", Dictionary()).result_string() == "WER: 0.00"


def test_chrf_is_that_of_sacrebleu():
    import sacrebleu

    scorer = build_scorer("chrf", Dictionary())
    scorer.add_string("the cat sat", "a cat sat down")
    expected = sacrebleu.corpus_chrf(["a cat sat down"], [["the cat sat"]])
    assert scorer.score() == expected.score > 0 and scorer.result_string() == str(expected)


def test_meteor_averages_what_nltk_gives(monkeypatch):
    """The library is a stand-in here: the data that it needs is not installed."""
    from types import SimpleNamespace

    seen = []

    def single_meteor_score(reference, output):
        seen.append((reference, output))
        return 0.25 if len(seen) == 1 else 0.75

    stand_in = SimpleNamespace(single_meteor_score=single_meteor_score)
    monkeypatch.setitem(sys.modules, "nltk.translate.meteor_score", stand_in)
    monkeypatch.setitem(sys.modules, "nltk.translate", SimpleNamespace(meteor_score=stand_in))
    monkeypatch.setitem(sys.modules, "nltk", SimpleNamespace())
    scorer = build_scorer("meteor", None)
    assert scorer.score() == 0.0
    scorer.add_string("the cat", "a cat")
    scorer.add_string("x", "x")
    assert scorer.score() == 0.5 and seen == [(["the", "cat"], ["a", "cat"]), (["x"], ["x"])]
    stand_in.single_meteor_score = lambda *unused: (_ for _ in ()).throw(LookupError("wordnet"))
    with pytest.raises(ConfigError, match=r"python -m nltk\.downloader wordnet"):
        scorer.result_string()


def test_bert_score_is_the_mean_f1(monkeypatch):
    from types import SimpleNamespace

    def score(outputs, references, lang):
        assert (outputs, references, lang) == (["a cat", "x"], ["the cat", "x"], "en")
        return None, None, torch.tensor([0.5, 1.0])

    monkeypatch.setitem(sys.modules, "bert_score", SimpleNamespace(score=score))
    scorer = build_scorer("bert_score", None)
    scorer.add_string("the cat", "a cat")
    scorer.add_string("x", "x")
    assert scorer.result_string() == "BERTScore: 0.7500"


@pytest.mark.parametrize(
    ("name", "module", "line"),
    [
        ("meteor", "nltk.translate.meteor_score", "scoring=meteor needs the package nltk: pip install nltk"),
        ("bert_score", "bert_score", "scoring=bert_score needs the package bert-score: pip install bert-score"),
    ],
)
def test_libraries_that_are_missing(name, module, line, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=line):
        build_scorer(name, None)
