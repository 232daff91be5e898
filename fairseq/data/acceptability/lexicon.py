"""The words of the embedded data set, and how a word is split into a stem and its endings.

Every fourth stem of an open class is held out: it occurs in the validation split only, and the words of the other
stems in the training split only. What carries number or gender is an ending with a token of its own (`##s`, `##man`,
`##woman`, `##ess`), as a subword vocabulary would have it, so a model can judge a sentence of words that it never saw
- if it learnt the rule and not the words. Irregular nouns, names, adjectives and function words are shared by both
splits.

>>> split_words("The postwomen near the cabinets are old.")
'the post ##women near the cabinet ##s are old'
>>> join_pieces("the post ##women near the cabinet ##s are old")
'The postwomen near the cabinets are old.'
"""

import re
from dataclasses import dataclass


def _words(text: str) -> list[str]:
    return text.split()


ANIMATE = _words(
    "doctor lawyer teacher singer dancer painter writer farmer banker driver pilot sailor soldier officer manager "
    "student neighbor customer visitor guest friend cousin parent uncle professor senator governor judge clown "
    "wizard robot monkey tiger dog cat bird rabbit goat cook nurse tailor baker builder plumber scholar tourist"
)
THINGS = _words(
    "cabinet table bench lamp key book letter picture fence window car truck bottle carpet mirror basket garden "
    "river mountain castle bridge tower island forest village road ladder hammer shovel bucket pillow blanket "
    "candle curtain poster magazine newspaper report statue wagon"
)
INTRANSITIVE = _words(
    "smile laugh sleep arrive wait work run swim sing talk listen leave return wander complain fall dream shout "
    "travel pray"
)
TRANSITIVE = _words(
    "admire see follow help trust greet know visit remember describe love hate call surprise thank warn praise "
    "avoid amuse defend"
)
COMPOUNDS = _words(
    "post police fisher sales chair noble gentle horse council states sports crafts country fire congress spokes "
    "business camera swords marks clans kins trades handy hunts news oars yachts door stunt anchor clergy "
    "assembly air mail laundry"
)
FEMININE = _words(
    "host lion heir baron priest poet shepherd steward author count viscount giant prophet patron peer mayor"
)

IRREGULAR = [("child", "children"), ("mouse", "mice"), ("goose", "geese"), ("person", "people")]
MEN = ["john", "paul", "george", "peter", "robert", "daniel", "thomas", "henry"]
WOMEN = ["mary", "anna", "susan", "helen", "laura", "emma", "alice", "nancy"]
ADJECTIVES = _words("old new big small red green heavy famous strange quiet loud clever tall young polite rich")
PREPOSITIONS = ["near", "behind", "beside", "by"]

FUNCTION_WORDS = _words(
    "the this that these those no who and is are was were has have thinks says ever arrived smiled waited left "
    "himself herself themselves"
)

ENDINGS = {"man": ("##man", "##men"), "woman": ("##woman", "##women")}
_NAMES = {*MEN, *WOMEN}
# words that look as if they had an ending
_WHOLE = {
    *ADJECTIVES,
    "is",
    "was",
    "has",
    "does",
    "this",
    "thinks",
    "says",
    "himself",
    "herself",
    "themselves",
    "thomas",
    "women",
    "woman",
}
_COMPOUND = re.compile(r"(.{2,}?)(wom[ae]n|m[ae]n)")
_SUFFIX = re.compile(r"(.{2,}?)(ess|s)")


@dataclass(frozen=True)
class Words:
    """The open-class stems of one split."""

    animate: list[str]
    things: list[str]
    intransitive: list[str]
    transitive: list[str]
    compounds: list[str]
    feminine: list[str]

    def stems(self) -> set[str]:
        return {stem for stems in vars(self).values() for stem in stems}


_CLASSES = (ANIMATE, THINGS, INTRANSITIVE, TRANSITIVE, COMPOUNDS, FEMININE)


def _held_out(index: int) -> bool:
    return index % 4 == 3


TRAIN_WORDS = Words(*[[stem for i, stem in enumerate(stems) if not _held_out(i)] for stems in _CLASSES])
VALID_WORDS = Words(*[[stem for i, stem in enumerate(stems) if _held_out(i)] for stems in _CLASSES])


def vocabulary() -> list[str]:
    """Every piece that a sentence of either split can have."""
    endings = ["##s", "##ess", *(form for forms in ENDINGS.values() for form in forms)]
    irregular = [form for forms in IRREGULAR for form in forms]
    shared = [*FUNCTION_WORDS, *PREPOSITIONS, *ADJECTIVES, *MEN, *WOMEN, *irregular, *endings]
    return sorted({*shared, *TRAIN_WORDS.stems(), *VALID_WORDS.stems()})


def split_words(text: str) -> str:
    """A sentence as the pieces that the model reads, separated by spaces."""
    return " ".join(_split(word) for word in text.lower().rstrip(".?").split())


def _split(word: str) -> str:
    if word in _WHOLE:
        return word
    match = _COMPOUND.fullmatch(word) or _SUFFIX.fullmatch(word)
    return f"{match[1]} ##{match[2]}" if match else word


def join_pieces(pieces: str) -> str:
    """The sentence that `pieces` stand for, with capitals and a full stop or question mark."""
    words = pieces.replace(" ##", "").split()
    mark = "?" if words[0] in ("is", "are", "was", "were") else "."
    words = [word.capitalize() if word in _NAMES or i == 0 else word for i, word in enumerate(words)]
    return " ".join(words) + mark
