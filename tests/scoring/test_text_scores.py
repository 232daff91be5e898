"""chrF, word error rate and the tokenizer of scorers; the tokenizer's values are fairseq 0.12's."""

import pytest

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
