"""Balanced splits of minimal pairs, the same for the same seed on every machine.

The paradigms take turns; both members of a pair go to the same split, so the labels are exactly balanced within each
paradigm and the majority class scores 50 %. Each validation sentence has at least one held-out stem, hence no
sentence is in both splits.

>>> [sentence.label for sentence in generate("train", 6, seed=1)].count(1)
3
>>> generate("valid", 2, seed=1) == generate("valid", 2, seed=1)
True
"""

import random
from typing import NamedTuple

from fairseq.data.acceptability.lexicon import TRAIN_WORDS, VALID_WORDS, join_pieces
from fairseq.data.acceptability.paradigms import PARADIGMS, Speaker
from fairseq.errors import ConfigError

_MAX_FAILURES = 2000  # draws in a row that gave nothing new: the paradigm is used up
SPLITS = {"train": TRAIN_WORDS, "valid": VALID_WORDS}


class Sentence(NamedTuple):
    """One labelled sentence: `label` is 1 for grammatical; `pieces` is what the model reads."""

    paradigm: str
    label: int
    pieces: str

    @property
    def text(self) -> str:
        return join_pieces(self.pieces)


def generate(split: str, count: int, seed: int = 1) -> list[Sentence]:
    """`count` different sentences (an even number) in random order.

    Raises:
        ConfigError: for an odd or non-positive count, or one that the paradigms cannot fill with different sentences.
    """
    if count <= 0 or count % 2:
        raise ConfigError(f"{split}: {count} sentences; give a positive even number, since sentences come in pairs")
    words = SPLITS[split]
    rng = random.Random(f"acceptability/{split}/{seed}")
    speaker, held_out = Speaker(words, rng), words.stems() if split == "valid" else None
    names = list(PARADIGMS)
    sentences: dict[str, Sentence] = {}
    failures = 0
    while len(sentences) < count:
        name = names[len(sentences) // 2 % len(names)]
        good, bad = PARADIGMS[name](speaker)
        if good in sentences or bad in sentences or (held_out is not None and held_out.isdisjoint(good.split())):
            failures += 1
            if failures == _MAX_FAILURES:
                raise ConfigError(
                    f"{split}: no {count} different sentences to be had; ask for at most {len(sentences)}"
                )
            continue
        failures = 0
        sentences[good], sentences[bad] = Sentence(name, 1, good), Sentence(name, 0, bad)
    result = list(sentences.values())
    rng.shuffle(result)
    return result
