"""Which examples a development set gets when there is no file of one.

Each class gives its share, so that rare ones are in both parts. Within a class, examples go by a hash of their text and
the seed: the same texts give the same split, whatever the order of the rows, and rows with the same text stay together,
so that nothing that is scored was trained on.

>>> texts = [("good",), ("bad",), ("fine",), ("good",)]
>>> held_out(texts, ["a", "a", "a", "a"], share=0.25, seed=1)
[1]
"""

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Sequence

from fairseq.errors import DataError


def held_out(texts: Sequence[tuple[str, ...]], classes: Sequence[Hashable], share: float, seed: int) -> list[int]:
    """Rows of the development set, in order.

    Args:
        texts: the texts of each row.
        classes: of each row; one and the same for a regression.
        share: of the rows of each class, rounded; a class with one text only stays in the training set.

    Raises:
        DataError: there would be no example in one of the parts.
    """
    rows_of: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for row, text in enumerate(texts):
        rows_of[text].append(row)
    groups: dict[Hashable, list[tuple[bytes, list[int]]]] = defaultdict(list)
    for text, rows in rows_of.items():
        groups[classes[rows[0]]].append((_hash(text, seed), rows))
    chosen: list[int] = []
    for members in groups.values():
        members.sort(key=lambda member: member[0])
        wanted = round(share * sum(len(rows) for _, rows in members))
        taken = 0
        for _, rows in members[:-1]:  # one text at least is trained on
            if taken + len(rows) <= wanted:
                chosen += rows
                taken += len(rows)
    if not chosen or len(chosen) == len(texts):
        raise DataError(
            f"{len(texts)} examples with {len(rows_of)} different texts are too few to hold out {share:g} of each "
            "class; give a development set by --valid, or a larger --valid-share"
        )
    return sorted(chosen)


def _hash(text: tuple[str, ...], seed: int) -> bytes:
    digest = hashlib.blake2b(str(seed).encode(), digest_size=16)
    for part in text:
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.digest()
