"""The grammar: one function per paradigm, each returning a minimal pair (grammatical, ungrammatical) as pieces.

The two members differ in one word, or (negative polarity) in the order of the same words. Number and gender of every
noun are drawn independently, so no word alone tells the label: a linear model over word counts stays close to chance.

>>> import random
>>> pair = PARADIGMS["agreement_pp"](Speaker(TRAIN_WORDS, random.Random(3)))
>>> print(*pair, sep=chr(10))
the mirror ##s by the bench were strange
the mirror ##s by the bench was strange
"""

import random
from collections.abc import Callable

from fairseq.data.acceptability.lexicon import (
    ADJECTIVES,
    ENDINGS,
    IRREGULAR,
    MEN,
    PREPOSITIONS,
    TRAIN_WORDS,
    WOMEN,
    Words,
)

__all__ = ["PARADIGMS", "TRAIN_WORDS", "Pair", "Speaker"]

Pair = tuple[str, str]


class Speaker:
    """Draws words and phrases from the words of one split."""

    def __init__(self, words: Words, rng: random.Random):
        self.words = words
        self.rng = rng

    def coin(self) -> bool:
        return self.rng.random() < 0.5

    def adjective(self) -> str:
        """An adjective in front of a noun, or nothing."""
        return self.rng.choice(ADJECTIVES) + " " if self.rng.random() < 0.3 else ""

    def person(self, plural: bool) -> str:
        if self.rng.random() < 0.15:
            return self.rng.choice(IRREGULAR)[plural]
        return self.rng.choice(self.words.animate) + (" ##s" if plural else "")

    def thing(self, plural: bool) -> str:
        return self.rng.choice(self.words.things) + (" ##s" if plural else "")

    def compound(self, gender: str, plural: bool) -> str:
        return f"{self.rng.choice(self.words.compounds)} {ENDINGS[gender][plural]}"

    def the(self, noun: str) -> str:
        return f"the {self.adjective()}{noun}"

    def the_person(self, plural: bool) -> str:
        return self.the(self.person(plural))

    def the_thing(self, plural: bool) -> str:
        return self.the(self.thing(plural))

    def acts(self, plural: bool) -> str:
        """A transitive verb that agrees with a subject of this number."""
        return self.rng.choice(self.words.transitive) + ("" if plural else " ##s")

    def relative(self, plural: bool) -> str:
        """A relative clause on a head of this number, with a noun of either number in it."""
        other = self.coin()
        if self.coin():
            return f"who {self.acts(plural)} {self.the_person(other)}"
        return f"who {self.the_person(other)} {self.acts(other)}"

    def predicates(self, animate: bool) -> Pair:
        """One predicate in the singular and in the plural."""
        kind = self.rng.choice(["is", "was", "has", "verb"] if animate else ["is", "was", "has"])
        if kind == "verb":
            stem = self.rng.choice(self.words.intransitive)
            return f"{stem} ##s", stem
        rest = self.the_thing(self.coin()) if kind == "has" else self.rng.choice(ADJECTIVES)
        return f"{kind} {rest}", f"{dict(zip(('is', 'was', 'has'), ('are', 'were', 'have'), strict=True))[kind]} {rest}"

    def gendered(self) -> tuple[str, bool]:
        """A singular noun whose ending shows its gender; True for feminine."""
        if self.rng.random() < 0.2:
            return f"{self.rng.choice(self.words.feminine)} ##ess", True
        feminine = self.coin()
        return self.compound("woman" if feminine else "man", plural=False), feminine


REFLEXIVES = ("himself", "herself")
PARADIGMS: dict[str, Callable[[Speaker], Pair]] = {}


def _paradigm(function: Callable[[Speaker], Pair]) -> Callable[[Speaker], Pair]:
    PARADIGMS[function.__name__] = function
    return function


def _pair(before: str, choices: tuple[str, ...], right: bool, after: str = "") -> Pair:
    good, bad = (" ".join(f"{before} {choices[i]} {after}".split()) for i in (right, not right))
    return good, bad


@_paradigm
def agreement_simple(speaker: Speaker) -> Pair:
    """the old doctors smile / *smiles"""
    plural, animate = speaker.coin(), speaker.coin()
    subject = speaker.the_person(plural) if animate else speaker.the_thing(plural)
    return _pair(subject, speaker.predicates(animate), plural)


@_paradigm
def agreement_pp(speaker: Speaker) -> Pair:
    """the keys near the cabinet are / *is old"""
    plural, animate = speaker.coin(), speaker.coin()
    subject = speaker.the_person(plural) if animate else speaker.the_thing(plural)
    attractor = f"{speaker.rng.choice(PREPOSITIONS)} {speaker.the_thing(speaker.coin())}"
    return _pair(f"{subject} {attractor}", speaker.predicates(animate), plural)


@_paradigm
def agreement_two_attractors(speaker: Speaker) -> Pair:
    """the keys near the cabinet behind the door are / *is old"""
    plural = speaker.coin()
    attractors = [f"{speaker.rng.choice(PREPOSITIONS)} {speaker.the_thing(speaker.coin())}" for _ in range(2)]
    return _pair(" ".join([speaker.the_thing(plural), *attractors]), speaker.predicates(animate=False), plural)


@_paradigm
def agreement_relative(speaker: Speaker) -> Pair:
    """the singers who the doctor admires smile / *smiles"""
    plural = speaker.coin()
    return _pair(f"{speaker.the_person(plural)} {speaker.relative(plural)}", speaker.predicates(animate=True), plural)


@_paradigm
def agreement_inside_relative(speaker: Speaker) -> Pair:
    """the singers who the doctor admires / *admire smile"""
    plural, inner = speaker.coin(), speaker.coin()
    stem = speaker.rng.choice(speaker.words.transitive)
    before = f"{speaker.the_person(plural)} who {speaker.the_person(inner)}"
    return _pair(before, (f"{stem} ##s", stem), inner, speaker.predicates(animate=True)[plural])


@_paradigm
def agreement_coordination(speaker: Speaker) -> Pair:
    """the singer admires the doctors and smiles / *smile"""
    plural = speaker.coin()
    before = f"{speaker.the_person(plural)} {speaker.acts(plural)} {speaker.the_person(speaker.coin())} and"
    return _pair(before, speaker.predicates(animate=True), plural)


@_paradigm
def agreement_question(speaker: Speaker) -> Pair:
    """are / *is the keys near the cabinet old"""
    plural = speaker.coin()
    verbs = ("is", "are") if speaker.coin() else ("was", "were")
    subject = f"{speaker.the_thing(plural)} {speaker.rng.choice(PREPOSITIONS)} {speaker.the_thing(speaker.coin())}"
    return _pair("", verbs, plural, f"{subject} {speaker.rng.choice(ADJECTIVES)}")


@_paradigm
def determiner_noun(speaker: Speaker) -> Pair:
    """the doctor admires these / *this old cabinets"""
    subject, plural = speaker.coin(), speaker.coin()
    noun = speaker.person(plural) if speaker.coin() else speaker.thing(plural)
    determiners = ("this", "these") if speaker.coin() else ("that", "those")
    before = f"{speaker.the_person(subject)} {speaker.acts(subject)}"
    return _pair(before, determiners, plural, f"{speaker.adjective()}{noun}")


@_paradigm
def anaphora_number(speaker: Speaker) -> Pair:
    """the postmen admire themselves / *himself"""
    plural, feminine = speaker.coin(), speaker.coin()
    subject = speaker.the(speaker.compound("woman" if feminine else "man", plural))
    return _pair(f"{subject} {speaker.acts(plural)}", (REFLEXIVES[feminine], "themselves"), plural)


@_paradigm
def anaphora_number_relative(speaker: Speaker) -> Pair:
    """the postmen who the doctor trusts admire themselves / *himself"""
    plural, feminine = speaker.coin(), speaker.coin()
    subject = speaker.the(speaker.compound("woman" if feminine else "man", plural))
    before = f"{subject} {speaker.relative(plural)} {speaker.acts(plural)}"
    return _pair(before, (REFLEXIVES[feminine], "themselves"), plural)


@_paradigm
def anaphora_gender(speaker: Speaker) -> Pair:
    """the hostess near the postman admires herself / *himself"""
    noun, feminine = speaker.gendered()
    place = f"{speaker.rng.choice(PREPOSITIONS)} {speaker.the(speaker.gendered()[0])}" if speaker.coin() else ""
    return _pair(f"{speaker.the(noun)} {place} {speaker.acts(plural=False)}", REFLEXIVES, feminine)


@_paradigm
def anaphora_gender_relative(speaker: Speaker) -> Pair:
    """the postman who the hostess trusts admires himself / *herself"""
    noun, feminine = speaker.gendered()
    other = speaker.the(speaker.gendered()[0])
    inner = f"{speaker.acts(plural=False)} {other}" if speaker.coin() else f"{other} {speaker.acts(plural=False)}"
    return _pair(f"{speaker.the(noun)} who {inner} {speaker.acts(plural=False)}", REFLEXIVES, feminine)


@_paradigm
def anaphora_name(speaker: Speaker) -> Pair:
    """mary admires herself / *himself"""
    feminine = speaker.coin()
    name = speaker.rng.choice(WOMEN if feminine else MEN)
    place = f"{speaker.rng.choice(PREPOSITIONS)} {speaker.the(speaker.gendered()[0])}" if speaker.coin() else ""
    return _pair(f"{name} {place} {speaker.acts(plural=False)}", REFLEXIVES, feminine)


@_paradigm
def anaphora_domain(speaker: Speaker) -> Pair:
    """the hostess thinks that the postman admires himself / *herself: the antecedent is in the same clause"""
    noun, feminine = speaker.gendered()
    matrix = speaker.rng.choice(WOMEN + MEN) if speaker.coin() else speaker.the(speaker.gendered()[0])
    before = f"{matrix} {speaker.rng.choice(['thinks', 'says'])} that {speaker.the(noun)} {speaker.acts(plural=False)}"
    return _pair(before, REFLEXIVES, feminine)


@_paradigm
def negative_polarity(speaker: Speaker) -> Pair:
    """no singer who the doctor trusts has ever smiled / *the singer who no doctor trusts has ever smiled"""
    plural, inner = speaker.coin(), speaker.coin()
    subject, other = speaker.person(plural), speaker.person(inner)
    participle = speaker.rng.choice(["arrived", "smiled", "waited", "left"])
    end = f"{speaker.acts(inner)} {'have' if plural else 'has'} ever {participle}"
    return f"no {subject} who the {other} {end}", f"the {subject} who no {other} {end}"
