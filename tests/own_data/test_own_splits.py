"""What is held out: a share of each class, by text, whatever the order of the rows."""

import random

import pytest

from fairseq.errors import DataError
from fairseq.own_data.splits import held_out


def examples(count=400):
    draw = random.Random(1)
    texts = [(f"text {draw.randrange(300)}",) for _ in range(count)]
    return texts, ["rare" if number % 20 == 0 else "common" for number in range(count)]


def test_each_class_gives_its_share_and_no_text_is_on_both_sides():
    texts, classes = examples()
    chosen = held_out(texts, classes, 0.1, 1)
    assert 30 <= len(chosen) <= 40
    assert {classes[row] for row in chosen} == {"rare", "common"}
    kept = {texts[row] for row in set(range(len(texts))) - set(chosen)}
    assert not kept & {texts[row] for row in chosen}


def test_order_of_rows_does_not_matter_and_the_seed_does():
    texts = [(f"text {number}",) for number in range(200)]
    order = list(range(200))
    random.Random(2).shuffle(order)
    plain = {texts[row] for row in held_out(texts, ["a"] * 200, 0.1, 1)}
    assert plain == {texts[order[row]] for row in held_out([texts[row] for row in order], ["a"] * 200, 0.1, 1)}
    assert plain != {texts[row] for row in held_out(texts, ["a"] * 200, 0.1, 2)}


def test_a_class_of_one_text_is_trained_on_and_too_few_are_an_error():
    texts, classes = [("a",), ("b",), ("c",), ("d",)], ["x", "x", "x", "y"]
    assert classes[held_out(texts, classes, 0.5, 1)[0]] == "x"
    with pytest.raises(DataError, match=r"too few to hold out 0\.1"):
        held_out(texts, classes, 0.1, 1)
