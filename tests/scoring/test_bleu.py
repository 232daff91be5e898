"""BLEU equals fairseq 0.12's figures (taken from its output, with the data below)."""

from types import SimpleNamespace

import pytest
import torch

from fairseq.data.dictionary import Dictionary
from fairseq.errors import ConfigError
from fairseq.scoring import build_scorer

PAIRS = [
    ([1, 8, 3, 4, 6, 4, 4, 4, 6, 8, 5, 3, 2], [6, 7, 5, 3, 3, 5, 6, 5, 2, 1, 1]),
    ([5, 5, 8, 4, 2], [8, 6, 3, 4, 3, 8, 3, 4, 6]),
    ([8, 7, 5, 6, 2], [7, 4, 4, 8, 4, 4, 5, 4, 7]),
    ([4, 8, 5, 8, 7, 5, 8, 4, 2], [7, 6, 3, 4, 5, 7, 7, 5, 7, 2, 1, 1]),
    ([1, 3, 7, 3, 8, 6, 7, 2], [4, 5, 5, 8, 5, 4, 6, 8, 4, 4, 4]),
    ([4, 7, 7, 4, 5, 7, 4, 2], [8, 7, 8, 3]),
    ([5, 3, 3, 8, 8, 5, 8, 2], [7, 5, 5, 7, 3, 2, 1, 1]),
    ([4, 3, 6, 4, 4, 4, 2], [4, 5, 4, 4]),
    ([1, 7, 4, 4, 7, 2], [5, 4]),
    ([3, 7, 6, 4, 3, 2], [3, 6, 7, 2, 1, 1]),
    ([4, 4, 3, 7, 3, 4, 5, 2], [4, 8, 8, 5, 8, 7]),
    ([5, 8, 6, 3, 3, 4, 7, 6, 7, 8, 3, 2], [6, 3, 4]),
    ([1, 7, 6, 2], [3, 6, 3, 6, 5, 5, 5, 5, 2, 1, 1]),
    ([5, 3, 6, 5, 7, 5, 4, 3, 5, 4, 5, 2], [6, 7, 3, 8, 8, 5, 5, 3, 8, 8, 7]),
    ([3, 2], [5, 6, 3, 8, 3, 5, 5, 6, 4]),
    ([3, 4, 4, 6, 6, 7, 2], [7, 3, 6, 6, 7, 8, 2, 1, 1]),
    ([1, 4, 7, 2], [4, 6, 8, 8, 5, 7, 3]),
    ([4, 2], [3, 4, 4, 4, 6, 5]),
    ([6, 7, 2], [3, 7, 4, 2, 1, 1]),
    ([8, 4, 8, 6, 8, 7, 7, 5, 4, 5, 6, 2], [7, 4, 6, 5]),
]
TEXTS = [
    ("The cat sat on the mat, didn't it?", "The cat sat on a mat , didn't it ?"),
    ("Hello World again and again.", "hello world again, and again."),
]


@pytest.fixture
def scorer():
    return build_scorer("bleu", Dictionary())


def test_tokens(scorer):
    for reference, output in PAIRS:
        scorer.add(torch.tensor(reference), torch.tensor(output))
    expected = {1: 34.645669291338585, 2: 11.380532532148239, 3: 5.2999117588317555, 4: 0.0}
    assert {order: pytest.approx(scorer.score(order), rel=1e-6) for order in expected} == expected
    assert scorer.result_string(3) == "BLEU3 = 5.30, 34.6/3.7/1.1 (BP=1.000, ratio=1.095, syslen=127, reflen=116)"


def test_single_sentence(scorer):
    scorer.reset(one_init=True)
    scorer.add(torch.tensor([5, 6, 2]), torch.tensor([5, 7, 2]))
    assert scorer.result_string() == (
        "BLEU4 = 70.71, 50.0/50.0/100.0/100.0 (BP=1.000, ratio=1.000, syslen=2, reflen=2)"
    )
    scorer.reset()
    assert scorer.score() == 0.0 and scorer.result_string().startswith("BLEU4 = 0.00")


@pytest.mark.parametrize(
    "options, score",
    [
        ({}, 49.02250926110869),
        ({"sacrebleu_lowercase": True}, 55.52093295708874),
        ({"sacrebleu_char_level": True}, 85.5180684433547),
        ({"sacrebleu_tokenizer": "none"}, 23.20756391830854),
        ({"sacrebleu_tokenizer": "intl"}, 56.89534044568671),
    ],
)
def test_text(options, score):
    cfg = {"sacrebleu_tokenizer": "13a", "sacrebleu_lowercase": False, "sacrebleu_char_level": False, **options}
    scorer = build_scorer(SimpleNamespace(_name="sacrebleu", **cfg), None)
    for reference, output in TEXTS:
        scorer.add_string(reference, output)
    assert scorer.score() == pytest.approx(score, rel=1e-9)
    assert scorer.result_string().startswith(f"BLEU = {score:.2f}")


def test_unknown_names():
    with pytest.raises(ConfigError, match="did you mean 'sacrebleu'"):
        build_scorer("sacreblue", None)
    cfg = SimpleNamespace(sacrebleu_tokenizer="12a", sacrebleu_lowercase=False, sacrebleu_char_level=False)
    with pytest.raises(ConfigError, match="sacrebleu_tokenizer=12a"):
        build_scorer(SimpleNamespace(_name="sacrebleu", **vars(cfg)), None)
